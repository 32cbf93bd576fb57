//! `Idempotency-Key`: a POST that is repeated has one effect and the same answer.
//!
//! The edge holds such a request's [`Attempt`]; when the caller is admitted, and not before, its body is read and the key
//! looked up ([`bind_caller`]), and the caller's access gets the [`Claim`]. The request's change ([`crate::write`]) begins with
//! it and leaves its finished transaction there; the edge renders the answer and commits both together. So there is an
//! answer to repeat if and only if there was an effect, wherever the process dies. Signing in, tokens of an operator that
//! sign in, uploads and streams are not repeated.
//!
//! A ticket ends with the credential that it was made for, and a repeated request may come with another
//! credential. So the tickets that this process has put into an answer are recorded beside it
//! ([`Claim::note`]), and replaced in the repeated answer. Text that only looks like a ticket is not touched:
//! clients write such text, too.

use std::{
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use bytes::Bytes;
use domain::{
    callers::{Authority, Credential},
    idempotency::{self, KeptTicket, KeyId, Remembered, RequestHash, Taken},
};
use futures::stream;
use jobs::{Act, Database, JobId, Tx};
use poem::{
    Body, Request, Response,
    error::ReadBodyError,
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
};
use serde_json::Value;

use crate::{ApiError, App, Opens, Ticket};

/// The header that names a request.
pub(crate) const HEADER: &str = "Idempotency-Key";

/// The code of a request whose key belongs to one that is still running.
pub(crate) const RUNNING: &str = "request_running";
/// Maximum length of a key.
const MAX_KEY: usize = 255;
/// Header of a repeated answer.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Routes that open a session: each of their answers has tokens of its own.
pub(crate) const SIGN_IN: &[&str] = &[
    "/api/v1/auth/login",
    "/api/v1/auth/refresh",
    "/api/v1/auth/activate",
    "/api/v1/auth/signup",
    "/api/v1/auth/signup/stripe-invite",
    "/api/v1/auth/clerk/check",
    "/api/v1/auth/impersonation/exchange",
];

/// The route of an operator's single-use token that opens a session: `/ops/users/{user_id}/impersonation`.
const HANDS_OUT: (&str, &str) = ("/ops/users/", "/impersonation");

/// Routes of external webhook events, each with an id by which it is taken once.
const WEBHOOK_EVENTS: &[&str] = &["/webhooks/stripe"];

/// One request with a key.
#[derive(Clone)]
struct Attempt(Arc<Inner>);

/// The exclusive right of an attempt, whose caller is known, to perform its request.
#[derive(Clone)]
pub(crate) struct Claim(Arc<Inner>, KeyId);

struct Inner {
    key: String,
    method: Method,
    path: String,
    body: BufferedBody,
    bound: OnceLock<(KeyId, Option<Holder>)>,
    /// The answer comes from another attempt.
    taken: OnceLock<Taken>,
    /// The transaction of its change, with all that belongs to it except the answer.
    changed: Mutex<Option<Tx>>,
    /// The tickets made for the answer.
    made: Mutex<Vec<MadeTicket>>,
}

/// The holder of tickets: a caller in a workspace, with the permissions there.
#[derive(Debug, Clone)]
pub(crate) struct Holder {
    pub(crate) credential: Credential,
    pub(crate) authority: Authority,
}

impl Holder {
    /// Checks that a job may be seen, by the permission with which its ticket was given and by those of its kind.
    fn may_see(&self, kind: &str, permission: &str) -> Result<(), ApiError> {
        let grants = self.authority.grants();
        grants.reach(permission).map_err(|reason| ApiError::forbidden(reason.of(permission)))?;
        Ok(grants.need_for_job(kind, Act::View)?)
    }
}

/// A ticket made for an answer.
pub(crate) struct MadeTicket {
    /// Value of the member.
    pub(crate) url: String,
    /// The part of the value before the ticket.
    pub(crate) path: String,
    /// Job that the ticket is valid for.
    pub(crate) job: JobId,
    /// Permission with which the ticket is given.
    pub(crate) permission: &'static str,
}

impl Claim {
    /// Begins the transaction of the request's change: the only one in which the request is in progress.
    ///
    /// # Errors
    /// An end to the request, when another attempt answers it; 500 for a second change, which could not be committed
    /// together with the first and the answer.
    pub(crate) async fn begin(&self, database: &Database) -> Result<Tx, ApiError> {
        if self.has_changed() {
            return Err(ApiError::internal("a request makes one change"));
        }
        let mut tx = database.begin().await?;
        if let Some(taken) = idempotency::claim(&mut tx, self.1).await? {
            let _ = self.0.taken.set(taken);
            return Err(running());
        }
        Ok(tx)
    }

    /// Leaves the transaction of the change to be committed together with the answer.
    pub(crate) fn leave(&self, tx: Tx) {
        *self.0.changed() = Some(tx);
    }

    /// Whether the change was made and is not committed yet: other connections don't see it.
    pub(crate) fn has_changed(&self) -> bool {
        self.0.changed().is_some()
    }

    /// Records a ticket that goes into the answer.
    pub(crate) fn note(&self, made: MadeTicket) {
        self.0.made.lock().unwrap_or_else(PoisonError::into_inner).push(made);
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Claim").field(&self.0.path).finish_non_exhaustive()
    }
}

impl Inner {
    fn changed(&self) -> MutexGuard<'_, Option<Tx>> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The body of a request with a key, which is read completely or not at all.
struct BufferedBody {
    most: usize,
    body: tokio::sync::Mutex<Option<Body>>,
    read: OnceLock<Read>,
}

#[derive(Clone)]
struct Read {
    bytes: Bytes,
    digest: RequestHash,
}

impl BufferedBody {
    fn new(body: Body, most: usize) -> Self {
        Self { most, body: tokio::sync::Mutex::new(Some(body)), read: OnceLock::new() }
    }

    /// The body; reads it at the first call.
    async fn read(&self) -> Result<Read, ReadBodyError> {
        let mut body = self.body.lock().await;
        if let Some(read) = self.read.get() {
            return Ok(read.clone());
        }
        let unread = body.take().ok_or_else(|| io::Error::other("the body could not be read before"))?;
        let bytes = unread.into_bytes_limit(self.most).await?;
        let digest = idempotency::digest(&bytes);
        Ok(self.read.get_or_init(|| Read { bytes, digest }).clone())
    }

    /// The digest of a body that was read: every armed request's is.
    async fn digest(&self) -> Result<RequestHash, ApiError> {
        Ok(self.read().await.map_err(ApiError::internal)?.digest)
    }
}

/// Whether requests to a path may have a key, as [`crate::document`] shows.
pub(crate) fn takes_key(method: &str, path: &str, is_upload: bool) -> bool {
    let path = path.trim_end_matches('/');
    let is_handed_out = path.starts_with(HANDS_OUT.0) && path.ends_with(HANDS_OUT.1);
    let has_its_own = SIGN_IN.contains(&path) || WEBHOOK_EVENTS.contains(&path) || is_handed_out;
    method.eq_ignore_ascii_case("post") && !is_upload && !has_its_own
}

/// The request's key.
fn key_of(request: &Request) -> Result<Option<String>, ApiError> {
    let Some(key) = request.headers().get(HEADER) else { return Ok(None) };
    let is_upload = request.content_type().is_some_and(|kind| kind.starts_with("multipart/"));
    if !takes_key(request.method().as_str(), request.uri().path(), is_upload) {
        return Ok(None);
    }
    let key = key.to_str().ok().map(str::trim).filter(|key| (1..=MAX_KEY).contains(&key.len()));
    key.map(|key| Some(key.to_owned()))
        .ok_or_else(|| ApiError::invalid(HEADER, format!("must be 1 to {MAX_KEY} visible ASCII characters")))
}

/// Answers a request by `inner`; with a key, only once.
///
/// # Errors
/// 409 while the same request is in progress elsewhere, 422 for a key that was used for another one.
pub(crate) async fn answer(
    app: Option<&App>,
    mut request: Request,
    inner: impl AsyncFnOnce(Request) -> Response,
) -> Result<Response, ApiError> {
    let (Some(app), Some(key)) = (app, key_of(&request)?) else { return Ok(inner(request).await) };
    let attempt = Attempt(Arc::new(Inner {
        key,
        method: request.method().clone(),
        path: request.uri().path_and_query().map_or_else(String::new, ToString::to_string),
        body: BufferedBody::new(request.take_body(), app.config.max_json_bytes),
        bound: OnceLock::new(),
        taken: OnceLock::new(),
        changed: Mutex::default(),
        made: Mutex::default(),
    }));
    request.set_body(attempt.body());
    request.set_data(attempt.clone());
    let response = inner(request).await;
    attempt.finalize(app, response).await
}

/// Binds the request to its caller; called by an extractor as soon as the caller is known. Answers the claim by which
/// the caller's access writes, where the request has a key.
///
/// # Errors
/// An end to the request, if it was answered before.
pub(crate) async fn bind_caller(
    request: &Request,
    database: &Database,
    who: &str,
    workspace: &str,
    holder: Option<Holder>,
) -> Result<Option<Claim>, ApiError> {
    let Some(Attempt(attempt)) = request.data::<Attempt>() else { return Ok(None) };
    attempt.body.read().await.map_err(|error| ApiError::of_body(&error))?;
    let key = KeyId::of(&[who, workspace, attempt.method.as_str(), &attempt.path, &attempt.key]);
    if attempt.bound.set((key, holder)).is_ok() && idempotency::find(database, key).await?.is_some() {
        let _ = attempt.taken.set(Taken::Answered);
        return Err(running());
    }
    // Of several extractors, the first has bound it.
    Ok(attempt.bound.get().map(|(key, _)| Claim(Arc::clone(attempt), *key)))
}

fn running() -> ApiError {
    ApiError::conflict(RUNNING, "a request with this Idempotency-Key is still running")
}

impl Attempt {
    /// The body for its reader: the bytes read before, or else all of it at once.
    fn body(&self) -> Body {
        let attempt = self.clone();
        Body::from_bytes_stream(stream::once(async move {
            attempt.0.body.read().await.map(|read| read.bytes).map_err(|error| match error {
                ReadBodyError::Io(error) => error,
                error => io::Error::new(io::ErrorKind::FileTooLarge, error),
            })
        }))
    }

    /// The answer: another attempt's, or this one's, which is stored together with its effect.
    async fn finalize(&self, app: &App, response: Response) -> Result<Response, ApiError> {
        let changed = self.0.changed().take();
        match (self.0.taken.get(), self.0.bound.get()) {
            (Some(Taken::Running), _) => Err(running()),
            (Some(Taken::Answered), Some(bound)) => self.replay(app, bound).await,
            // The change is rolled back, so that the request can be repeated.
            _ if response.status().is_server_error() => Ok(response),
            (_, Some(bound)) if is_remembered(&response) => {
                self.remember(app, changed, bound, response).await
            }
            _ => {
                if let Some(tx) = changed {
                    tx.commit().await?;
                }
                Ok(response)
            }
        }
    }

    async fn remember(
        &self,
        app: &App,
        changed: Option<Tx>,
        bound: &(KeyId, Option<Holder>),
        mut response: Response,
    ) -> Result<Response, ApiError> {
        let body = response.take_body().into_bytes().await.map_err(ApiError::internal)?;
        let answer = Remembered {
            request: self.0.body.digest().await?,
            status: response.status().as_u16(),
            tickets: self.tickets_in(&body),
            body: body.to_vec(),
        };
        let mut tx = match changed {
            Some(mut tx) => {
                tx.leave_workspace().await?;
                tx
            }
            None => app.database.begin().await?,
        };
        if !idempotency::remember(&mut tx, bound.0, &answer).await? {
            drop(tx);
            return self.replay(app, bound).await;
        }
        tx.commit().await?;
        response.set_body(body);
        Ok(response)
    }

    /// The stored answer, with valid tickets.
    async fn replay(&self, app: &App, (key, holder): &(KeyId, Option<Holder>)) -> Result<Response, ApiError> {
        let answer = idempotency::find(&app.database, *key).await?.ok_or_else(running)?;
        if answer.request != self.0.body.digest().await? {
            return Err(ApiError::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                "this Idempotency-Key was used for a request with another body",
            ));
        }
        let status = StatusCode::from_u16(answer.status).map_err(ApiError::internal)?;
        let mut response = Response::builder().status(status).header(REPLAYED, "true").finish();
        if !answer.body.is_empty() {
            let body = match holder {
                Some(holder) if !answer.tickets.is_empty() => renewed(app, holder, answer).await?,
                _ => answer.body,
            };
            response.set_body(body);
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        }
        Ok(response)
    }
}

impl Attempt {
    /// Positions of the tickets in the answer.
    fn tickets_in(&self, body: &[u8]) -> Vec<KeptTicket> {
        let made = std::mem::take(&mut *self.0.made.lock().unwrap_or_else(PoisonError::into_inner));
        let mut kept = Vec::new();
        if let (false, Ok(answer)) = (made.is_empty(), serde_json::from_slice(body)) {
            find(&answer, &mut String::new(), &made, &mut kept);
        }
        kept
    }
}

/// Name of every member that has a ticket.
const CARRIER: &str = "stream_url";

/// Finds the recorded tickets below a value of an answer.
fn find(value: &Value, pointer: &mut String, made: &[MadeTicket], kept: &mut Vec<KeptTicket>) {
    let mut below = |name: &str, value: &Value| {
        let length = pointer.len();
        pointer.push('/');
        pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
        match value {
            Value::String(url) if name == CARRIER => {
                if let Some(made) = made.iter().find(|made| made.url == *url) {
                    kept.push(KeptTicket {
                        member: pointer.clone(),
                        path: made.path.clone(),
                        job: made.job,
                        permission: made.permission.to_owned(),
                    });
                }
            }
            _ => find(value, pointer, made, kept),
        }
        pointer.truncate(length);
    };
    match value {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(place, item)| below(&place.to_string(), item));
        }
        Value::Object(members) => members.iter().for_each(|(name, member)| below(name, member)),
        _ => {}
    }
}

/// Answers about missing permissions or rate limits are not stored, so that a retry can succeed; nor are answers that
/// are not JSON.
fn is_remembered(response: &Response) -> bool {
    const PASSING: [StatusCode; 3] =
        [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::TOO_MANY_REQUESTS];
    let is_json = response.content_type().is_none_or(|kind| kind.starts_with("application/json"));
    is_json && !PASSING.contains(&response.status())
}

/// A stored answer with tickets for the present caller. Of a job that is no longer in the workspace only the path is
/// left.
///
/// # Errors
/// 403 for an answer that shows a job which the caller may no longer see.
async fn renewed(app: &App, holder: &Holder, answer: Remembered) -> Result<Vec<u8>, ApiError> {
    let mut body: Value = serde_json::from_slice(&answer.body).map_err(ApiError::internal)?;
    for KeptTicket { member, path, job, permission } in answer.tickets {
        let snapshot = app.hub.snapshot(job).await?;
        let theirs = snapshot.filter(|job| job.workspace == Some(holder.authority.workspace().0));
        let url = if let Some(shown) = theirs {
            holder.may_see(&shown.kind, &permission)?;
            let (opens, credential) = (Opens::Job(job), holder.credential);
            let ticket = Ticket { opens, credential, permission: permission.into(), expires: None };
            format!("{path}?ticket={}", app.keys.ticket(&ticket))
        } else {
            path
        };
        if let Some(value) = body.pointer_mut(&member) {
            *value = url.into();
        }
    }
    Ok(body.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tickets_are_found_where_they_were_put_and_nowhere_else() {
        let url = "/api/v1/jobs/1/stream?ticket=made";
        let (path, job) = ("/api/v1/jobs/1/stream".to_owned(), JobId::new());
        let made = [MadeTicket { url: url.to_owned(), path, job, permission: "jobs:view" }];
        let answer = json!({
            "name": url,
            "stream_url": url,
            "of_client": { "stream_url": "x?ticket=dead" },
            "items": [{ "a/b~c": { "stream_url": url } }],
        });
        let mut kept = Vec::new();
        find(&answer, &mut String::new(), &made, &mut kept);
        let mut members: Vec<_> = kept.iter().map(|ticket| ticket.member.as_str()).collect();
        members.sort_unstable();
        assert_eq!(members, ["/items/0/a~1b~0c/stream_url", "/stream_url"]);
        assert_eq!(answer.pointer(members[0]), Some(&json!(url)));
    }
}
