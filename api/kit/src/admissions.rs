//! Continued authorization. An answer that lasts (a stream, a long poll, a download) is authorized again every few
//! seconds, by the same function as a request: when its credential, its membership, its permissions or its
//! address is no longer valid, it ends and gives the reason. Answers that show jobs of several kinds follow which of
//! them their reader may view.
//!
//! One check per process covers all open answers, and streams of one credential in one workspace from one
//! address share an admission: a check costs a query for each kind of credential, however many streams there are.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::Duration,
};

use domain::{
    WorkspaceId,
    access::Held,
    callers::{self, Credential, Entry},
};
use jobs::{Act, Database, kinds, watch::Hub};
use poem::http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use uuid::Uuid;

use crate::{Access, ApiError};

/// Interval of the checks: well within a heartbeat.
const LOOK: Duration = Duration::from_secs(3);

/// Admissions of the open answers of this process.
#[derive(Clone)]
pub struct Admissions(Arc<Inner>);

struct Inner {
    database: Database,
    closing: CancellationToken,
    open: Mutex<HashMap<Key, Weak<Admission>>>,
}

type Key = (Uuid, WorkspaceId, Option<IpAddr>, String, &'static [&'static str]);

/// Kinds of job that a caller may not view.
pub(crate) type KindsDenied = Arc<kinds::Denied>;

/// The facts by which a caller was admitted, which are checked again.
#[derive(Debug, Clone)]
pub struct Pass {
    /// Credential of the request.
    pub credential: Credential,
    /// Workspace that the caller has entered.
    pub workspace: WorkspaceId,
    /// Client address.
    pub from: Option<IpAddr>,
    /// Permission of the route.
    pub permission: String,
    /// Further permissions that are needed: those for the content.
    pub also: &'static [&'static str],
}

struct Admission {
    pass: Pass,
    over: CancellationToken,
    why: OnceLock<Ended>,
    denied: watch::Sender<KindsDenied>,
}

/// The right to continue, as long as it lasts. Shared by all callers with the same pass.
#[derive(Clone)]
pub struct Admitted(Arc<Admission>);

/// Reason why an answer may not continue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The session has ended, the key or token was revoked or has expired.
    Credential,
    /// The account is no longer a member of the workspace.
    Membership,
    /// The address is not on the allowlist.
    Address,
    /// The workspace requires a more recent sign-in.
    SignIn,
    /// The role or the key has lost the permission.
    Permission,
    /// The workspace does not serve.
    Workspace,
}

impl Ended {
    /// The reason for which a pass ends; none while it is valid.
    fn of(entry: &Entry, pass: &Pass) -> Option<Self> {
        match entry {
            Entry::Open(_) | Entry::Behind(_) => {
                let is_admitted = entry.admits(&pass.permission)
                    && pass.also.iter().all(|permission| entry.admits(permission));
                (!is_admitted).then_some(Self::Permission)
            }
            Entry::Gone => Some(Self::Credential),
            Entry::SignedInTooLongAgo => Some(Self::SignIn),
            Entry::Nowhere | Entry::Outside => Some(Self::Membership),
            Entry::FromElsewhere => Some(Self::Address),
            Entry::NotReady => Some(Self::Workspace),
        }
    }

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Credential => "credential_revoked",
            Self::Membership => "membership_ended",
            Self::Address => "address_not_allowed",
            Self::SignIn => "sign_in_required",
            Self::Permission => "permission_removed",
            Self::Workspace => "workspace_not_ready",
        }
    }

    /// The last event of a stream that ends for this reason.
    pub(crate) fn event(self, job: Option<&Value>) -> String {
        let mut event =
            json!({ "status": "CLOSED", "reason": self.name(), "timestamp": jobs::clock::now_in_millis() });
        if let Some(job) = job {
            event["job_id"] = job.clone();
        }
        format!("data: {event}\n\n")
    }

    /// The error of a request that fails for this reason.
    #[must_use]
    pub fn refusal(self) -> ApiError {
        match self {
            Self::Credential => ApiError::token_invalid(),
            Self::SignIn => ApiError::sign_in_required(),
            // A workspace that the caller doesn't belong to must look like one that doesn't exist.
            Self::Membership => ApiError::not_found(),
            Self::Address => ApiError::forbidden("this address is not on the allowlist"),
            Self::Permission => ApiError::forbidden("the caller no longer has the required permission"),
            Self::Workspace => ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "workspace_not_ready",
                "the workspace is still being set up",
            ),
        }
    }
}

impl Admissions {
    /// Starts the checks, for the life of the process.
    #[must_use]
    pub fn start(database: Database, hub: &Hub) -> Self {
        let inner = Inner { database, closing: hub.until_closing(), open: Mutex::default() };
        let admissions = Self(Arc::new(inner));
        tokio::spawn(admissions.clone().look());
        admissions
    }

    /// Adds a caller who was admitted just now, with the permissions that it has.
    #[must_use]
    pub fn enter(&self, pass: Pass, held: &Held) -> Admitted {
        let key = (pass.credential.id(), pass.workspace, pass.from, pass.permission.clone(), pass.also);
        let mut open = self.open();
        if let Some(known) = open.get(&key).and_then(Weak::upgrade)
            && known.why.get().is_none()
        {
            known.follow(held);
            return Admitted(known);
        }
        let over = self.0.closing.child_token();
        let denied = watch::Sender::new(Arc::new(held.kinds_denied(Act::View)));
        let admission = Arc::new(Admission { pass, over, why: OnceLock::new(), denied });
        open.insert(key, Arc::downgrade(&admission));
        drop(open);
        Admitted(admission)
    }

    /// Admits the holder of a pass without further proof, such as a ticket.
    ///
    /// # Errors
    /// When the pass is not valid or no longer valid.
    pub async fn admit(&self, pass: Pass) -> Result<Admitted, ApiError> {
        self.check(pass).await?.map_err(Ended::refusal)
    }

    /// The same, where the caller of this function answers an invalid pass itself.
    ///
    /// # Errors
    /// When the database can't be asked.
    pub async fn check(&self, pass: Pass) -> Result<Result<Admitted, Ended>, ApiError> {
        let entries = callers::still_admitted(&self.0.database.pool, &[pass.asked()]).await?;
        let entry = entries.into_iter().next().unwrap_or(Entry::Gone);
        Ok(match (Ended::of(&entry, &pass), entry.held()) {
            (None, Some(held)) => Ok(self.enter(pass, held)),
            (ended, _) => Err(ended.unwrap_or(Ended::Credential)),
        })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<Key, Weak<Admission>>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn look(self) {
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.0.closing.cancelled() => return,
            }
            let mut open = Vec::new();
            self.open().retain(|_, admission| {
                let admission = admission.upgrade();
                let is_open = admission.is_some();
                open.extend(admission);
                is_open
            });
            if open.is_empty() {
                continue;
            }
            let asked: Vec<_> = open.iter().map(|admission| admission.pass.asked()).collect();
            match callers::still_admitted(&self.0.database.pool, &asked).await {
                Ok(entries) => {
                    for (admission, entry) in open.iter().zip(&entries) {
                        if let Some(ended) = Ended::of(entry, &admission.pass) {
                            let _ = admission.why.set(ended);
                            admission.over.cancel();
                        } else if let Some(held) = entry.held() {
                            admission.follow(held);
                        }
                    }
                }
                // Nothing is revoked while the database is unreachable; the next check tries again.
                Err(error) => tracing::warn!(%error, "could not check the open streams"),
            }
        }
    }
}

impl Admission {
    /// Publishes to the followers which job kinds may be viewed now.
    fn follow(&self, held: &Held) {
        let now = held.kinds_denied(Act::View);
        self.denied.send_if_modified(|denied| {
            let is_other = **denied != now;
            if is_other {
                *denied = Arc::new(now);
            }
            is_other
        });
    }
}

impl Pass {
    fn asked(&self) -> callers::Admitted {
        let Self { credential, workspace, from, .. } = *self;
        callers::Admitted { credential, workspace, from }
    }
}

impl Admitted {
    /// Resolves when the answer must end: see [`Admitted::why`]; without a reason, the process is stopping.
    pub fn over(&self) -> WaitForCancellationFuture<'_> {
        self.0.over.cancelled()
    }

    /// The reason; none if the process is stopping.
    #[must_use]
    pub fn why(&self) -> Option<Ended> {
        self.0.why.get().copied()
    }

    /// The job kinds that may not be viewed, as they change.
    pub(crate) fn kinds_denied(&self) -> watch::Receiver<KindsDenied> {
        self.0.denied.subscribe()
    }
}

impl Access {
    /// The right to continue an answer that lasts, about jobs of any kind.
    #[must_use]
    pub fn admitted(&self) -> Admitted {
        self.enter(&[])
    }

    /// The same about one job of that kind.
    #[must_use]
    pub fn admitted_to(&self, kind: &str) -> Admitted {
        self.enter(kinds::needs(kind, Act::View))
    }

    fn enter(&self, also: &'static [&'static str]) -> Admitted {
        let pass = Pass {
            credential: self.caller.credential(),
            workspace: self.workspace,
            from: self.caller.visitor.ip,
            permission: self.permission.to_owned(),
            also,
        };
        self.app().admissions.enter(pass, self.held())
    }
}
