//! `Watcher`: whoever may watch a job. A member comes with a token and a workspace; `EventSource`,
//! which can't send headers, comes with the ticket from the job's `stream_url`.

use chrono::Duration;
use domain::callers;
use jobs::{Act, JobId, watch::Snapshot};
use poem::{Request, RequestBody};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaSecurityScheme, Registry},
};

use crate::{
    Access, ApiError, App, JobStream, LogStream, Permission, Shape, ShownEvent, Start,
    caller::app,
    permission::{Asked, admit, register_schemes},
    permissions,
};

permissions! { ViewJobs = "jobs:view" while behind }

/// The name of the ticket's scheme in the documents.
const TICKET: &str = "ticket";
/// How long after a job's end its ticket still is good.
const TICKET_AFTER_END: Duration = Duration::hours(1);

/// Whoever may watch a job; which one is asked with [`Watcher::open`].
#[derive(Debug)]
pub struct Watcher(Way);

#[derive(Debug)]
enum Way {
    Member(Box<Access>),
    Ticket { app: App, ticket: String },
}

impl Watcher {
    /// Opens the stream of a job that this watcher may see.
    ///
    /// # Errors
    /// 404 for a job of another workspace, 401 for a ticket that is not, or no longer, good.
    pub async fn open<E: ShownEvent>(
        &self,
        job: JobId,
        start: Start,
        shape: Option<Shape>,
    ) -> Result<JobStream<E>, ApiError> {
        match &self.0 {
            Way::Member(access) => {
                let may_see = |snapshot: &Snapshot| may_see(access, snapshot);
                JobStream::open(&access.app().hub, job, start, shape, may_see).await
            }
            Way::Ticket { app, ticket } => {
                admit_ticket(app, ticket, job).await?;
                JobStream::open(&app.hub, job, start, shape, ticket_lives).await
            }
        }
    }

    /// Opens the stream of the log of a job that this watcher may see, after the line `after`.
    ///
    /// # Errors
    /// As for [`Watcher::open`].
    pub async fn open_log(&self, job: JobId, after: Option<i64>) -> Result<LogStream, ApiError> {
        LogStream::open(self.admit(job).await?, job, after).await
    }

    async fn admit(&self, job: JobId) -> Result<&App, ApiError> {
        match &self.0 {
            Way::Member(access) => {
                let app = access.app();
                let snapshot = app.hub.snapshot(job).await?.ok_or_else(ApiError::not_found)?;
                may_see(access, &snapshot)?;
                Ok(app)
            }
            Way::Ticket { app, ticket } => {
                admit_ticket(app, ticket, job).await?;
                let snapshot = app.hub.snapshot(job).await?.ok_or_else(ApiError::not_found)?;
                ticket_lives(&snapshot)?;
                Ok(app)
            }
        }
    }
}

/// A job of another workspace doesn't exist; one of a feature asks for that feature's permission.
fn may_see(access: &Access, job: &Snapshot) -> Result<(), ApiError> {
    if job.workspace != Some(access.workspace.0) {
        return Err(ApiError::not_found());
    }
    access.need_for(Act::View, &job.kind)
}

/// Counts a look by ticket as one of the credential that it was made for.
async fn with_ticket(request: &Request, ticket: &str) -> Result<Way, ApiError> {
    let app = app(request)?;
    match app.keys.ticket_credential(ticket) {
        Some(credential) => app.rates.charge_ticket(&app.database, request, credential).await?,
        None => app.rates.charge_visitor(&app.database, request).await?,
    }
    Ok(Way::Ticket { app: app.clone(), ticket: ticket.to_owned() })
}

/// A ticket is good for its job, as long as the session that it was made for.
async fn admit_ticket(app: &App, ticket: &str, job: JobId) -> Result<(), ApiError> {
    let credential = app.keys.check_ticket(ticket, job).ok_or_else(ApiError::token_invalid)?;
    let is_alive = callers::is_alive(&app.database.pool, credential).await?;
    if is_alive { Ok(()) } else { Err(ApiError::token_invalid()) }
}

/// A ticket lives until an hour after its job's end, and dies with the session it was made for.
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
                description: Some("The ticket of one job, part of its `stream_url`."),
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
