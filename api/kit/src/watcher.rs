//! `Watcher`: a client that may watch a job. A member sends a token and a workspace; `EventSource`,
//! which can't send headers, sends the ticket from the job's `stream_url`.

use std::net::IpAddr;

use chrono::Duration;
use domain::WorkspaceId;
use jobs::{Act, JobId, kinds, watch::Snapshot};
use poem::{Request, RequestBody};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaSecurityScheme, Registry},
};

use crate::{
    Access, Admitted, ApiError, App, ClientAddress, JobStream, JobsFilter, JobsStart, JobsStream, LogStream,
    Opens, Pass, Permission, ShownEvent, ShownJobEvent, Start, Ticket,
    caller::app,
    job_views::Kinds,
    permission::{Asked, admit, register_schemes},
    permissions,
};

permissions! { ViewJobs = "jobs:view" while behind }

/// The name of the ticket's scheme in the documents.
const TICKET: &str = "ticket";
/// Lifetime of a ticket after the end of its job.
const TICKET_AFTER_END: Duration = Duration::hours(1);

/// A client that may watch jobs; which ones is checked by [`Watcher::jobs`].
#[derive(Debug)]
pub struct Watcher(Way);

#[derive(Debug)]
enum Way {
    Member(Box<Access>),
    Ticket { app: Box<App>, ticket: Option<Box<Ticket>>, from: Option<IpAddr> },
}

/// Jobs that a watcher may see: see [`Watcher::jobs`].
#[derive(Debug, Clone, Copy)]
pub struct WatchedJobs<'a> {
    watcher: &'a Watcher,
    kinds: Kinds<'a>,
}

impl WatchedJobs<'_> {
    /// Opens the stream of a job's events.
    ///
    /// # Errors
    /// 404 for a job of another workspace or kind, 401 for a ticket that is invalid or has expired.
    pub async fn stream<E: ShownEvent>(&self, job: JobId, start: Start) -> Result<JobStream<E>, ApiError> {
        match &self.watcher.0 {
            Way::Member(access) => {
                let admit = |snapshot: &Snapshot| self.may_see(access, snapshot);
                JobStream::open_for(&access.app().hub, job, start, admit).await
            }
            Way::Ticket { app, .. } => {
                let admitted = self.admit_ticket(job).await?;
                let lives = |snapshot: &Snapshot| ticket_lives(snapshot).map(|()| admitted);
                JobStream::open_for(&app.hub, job, start, lives).await
            }
        }
    }

    /// Opens the stream of a job's log, after the line `after`.
    ///
    /// # Errors
    /// As for [`WatchedJobs::stream`].
    pub async fn log(&self, job: JobId, after: Option<i64>) -> Result<LogStream, ApiError> {
        let (app, admitted) = match &self.watcher.0 {
            Way::Member(access) => {
                let snapshot = access.app().hub.snapshot(job).await?.ok_or_else(ApiError::not_found)?;
                (access.app(), self.may_see(access, &snapshot)?)
            }
            Way::Ticket { app, .. } => (&**app, self.admit_ticket(job).await?),
        };
        LogStream::open(app, admitted, job, after).await
    }

    /// A job of another workspace doesn't exist; one of a feature asks for that feature's permission.
    fn may_see(&self, access: &Access, job: &Snapshot) -> Result<Admitted, ApiError> {
        if job.owner() != access.owner() || !self.kinds.include(&job.kind) {
            return Err(ApiError::not_found());
        }
        access.need_for(Act::View, &job.kind)?;
        Ok(access.admitted_to(&job.kind))
    }

    /// Admits a ticket for a job as if its credential had been sent in a header: from this address, into the job's
    /// workspace, by the permission by which it was given and those that the job's kind asks for.
    async fn admit_ticket(&self, job: JobId) -> Result<Admitted, ApiError> {
        let Way::Ticket { app, ticket: Some(ticket), from } = &self.watcher.0 else {
            return Err(ApiError::token_invalid());
        };
        if ticket.opens != Opens::Job(job) {
            return Err(ApiError::token_invalid());
        }
        let snapshot = app.hub.snapshot(job).await?.filter(|job| self.kinds.include(&job.kind));
        let snapshot = snapshot.ok_or_else(ApiError::not_found)?;
        ticket_lives(&snapshot)?;
        let workspace = snapshot.workspace.map(WorkspaceId).ok_or_else(ApiError::token_invalid)?;
        let also = kinds::needs(&snapshot.kind, Act::View);
        app.admissions.admit(pass(ticket, workspace, *from, also)).await
    }
}

impl Watcher {
    /// Jobs of these kinds: for the streams of the section that they belong to.
    #[must_use]
    pub fn jobs<'a>(&'a self, kinds: &'a [&'static str]) -> WatchedJobs<'a> {
        WatchedJobs { watcher: self, kinds: Kinds::Only(kinds) }
    }

    /// Jobs of every kind: for the streams of jobs in general.
    #[must_use]
    pub fn jobs_of_all_kinds(&self) -> WatchedJobs<'_> {
        WatchedJobs { watcher: self, kinds: Kinds::All }
    }

    /// Opens the stream of all jobs of this watcher's workspace.
    ///
    /// # Errors
    /// 401 for a ticket that is invalid or has expired.
    pub async fn open_all<E: ShownJobEvent>(
        &self,
        start: JobsStart,
        filter: JobsFilter,
    ) -> Result<JobsStream<E>, ApiError> {
        match &self.0 {
            Way::Member(access) => {
                let workspace = access.workspace.0;
                JobsStream::open(&access.app().hub, access.admitted(), workspace, start, filter).await
            }
            Way::Ticket { app, ticket, from } => {
                let ticket = ticket.as_deref().ok_or_else(ApiError::token_invalid)?;
                let Opens::JobsOf(workspace) = ticket.opens else { return Err(ApiError::token_invalid()) };
                let admitted = app.admissions.admit(pass(ticket, workspace, *from, &[])).await?;
                JobsStream::open(&app.hub, admitted, workspace.0, start, filter).await
            }
        }
    }
}

fn pass(
    ticket: &Ticket,
    workspace: WorkspaceId,
    from: Option<IpAddr>,
    also: &'static [&'static str],
) -> Pass {
    let permission = ticket.permission.clone().into_owned();
    Pass { credential: ticket.credential, workspace, from, permission, also }
}

/// Counts a request by ticket as one of the credential that it was made for.
async fn with_ticket(request: &Request, ticket: &str) -> Result<Way, ApiError> {
    let app = app(request)?;
    let ticket = app.keys.check_ticket(ticket).map(Box::new);
    match &ticket {
        Some(ticket) => app.rates.charge_ticket(&app.database, request, ticket.credential).await?,
        None => app.rates.charge_visitor(&app.database, request).await?,
    }
    let from = request.data::<ClientAddress>().map(|address| address.0);
    Ok(Way::Ticket { app: Box::new(app.clone()), ticket, from })
}

/// A job's ticket is valid until an hour after the job's end.
fn ticket_lives(job: &Snapshot) -> Result<(), ApiError> {
    if job.finished_at.is_some_and(|at| at + TICKET_AFTER_END < jobs::clock::now()) {
        return Err(ApiError::token_invalid());
    }
    Ok(())
}

impl<'a> ApiExtractor<'a> for Watcher {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        register_schemes(registry);
        registry.create_security_scheme(
            TICKET,
            MetaSecurityScheme {
                ty: "apiKey",
                description: Some(
                    "A ticket for one job or for all jobs of a workspace; part of a `stream_url`.",
                ),
                name: Some(TICKET),
                key_in: Some("query"),
                scheme: None,
                bearer_format: None,
                flows: None,
                openid_connect_url: None,
            },
        );
    }

    fn security_schemes() -> Vec<&'static str> {
        vec![ViewJobs::SCHEME, TICKET]
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let query = request.uri().query().unwrap_or_default();
        if let Some(ticket) = query.split('&').find_map(|pair| pair.strip_prefix("ticket=")) {
            return Ok(Self(with_ticket(request, ticket).await?));
        }
        let access = admit(request, Asked::of::<ViewJobs>()).await?;
        Ok(Self(Way::Member(Box::new(access))))
    }
}
