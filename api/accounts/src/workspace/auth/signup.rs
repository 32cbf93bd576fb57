//! Signing up: a job that makes account and workspace, watched by whoever holds the sign-up's token.

mod progress;

use std::{sync::Arc, time::Duration};

use api_kit::{Accepted, Answer, ApiError, App, Body, Start, Tag, Visitor, unhurried, wait_for_end};
use domain::signups::{self, Delivered, NewSignup, Started};
use futures::FutureExt;
use jobs::watch::{Event, Snapshot, Status};
use poem::web::Data;
use poem_openapi::{
    ApiResponse, Object, OpenApi,
    param::{Header, Path, Query},
    payload::Json,
};
use uuid::Uuid;

use super::{Tokens, client};
use progress::{SignupEvent, SignupStream};

/// How long the synchronous sign-up waits for its job.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who wants an account.
#[derive(Debug, Object)]
struct Signup {
    /// The address that they will sign in with.
    email: String,
    /// At least 10 characters, at most 1024.
    password: String,
    /// What they are called.
    full_name: String,
    /// What their workspace will be called.
    company_name: String,
}

/// A sign-up on its way.
#[derive(Debug, Object)]
struct SignupStarted {
    /// Names the sign-up in its URLs. A secret: whoever has it gets the tokens.
    job_id: String,
    /// Its snapshot, for polling.
    status_url: String,
    /// Its events, for `EventSource`.
    stream_url: String,
}

/// An account with its first session.
#[derive(Debug, Object)]
struct SignedUp {
    #[oai(flatten)]
    tokens: Tokens,
    /// The new workspace.
    workspace_id: Uuid,
    /// What it is called.
    workspace_name: String,
}

/// What the synchronous sign-up answers.
#[derive(ApiResponse)]
enum SignupAnswer {
    /// The account is there.
    #[oai(status = 201)]
    Done(Json<SignedUp>),
    /// It takes longer: watch it.
    #[oai(status = 202)]
    OnItsWay(Json<SignupStarted>),
}

/// See the module.
pub struct SignupApi;

#[OpenApi(prefix_path = "/auth/signup", tag = "Tag::Authentication")]
impl SignupApi {
    /// Sign up, and wait for the workspace
    ///
    /// Waits up to 30 seconds for the same job as the asynchronous sign-up, then answers with its links.
    #[oai(path = "/", method = "post", operation_id = "signup", transform = "unhurried")]
    async fn signup(&self, app: Data<&App>, visitor: Visitor, signup: Body<Signup>) -> Answer<SignupAnswer> {
        let started = start(&app, &visitor, signup.0).await?;
        match wait_for_end(&app.hub, started.job, PATIENCE).await? {
            Some(end) if end.event.status == Status::Completed => {
                let delivered = signups::deliver(&app.database, &started.token).await?;
                Ok(SignupAnswer::Done(Json(SignedUp::of(&app, delivered)?)))
            }
            Some(end) => Err(failed(end)),
            None => Ok(SignupAnswer::OnItsWay(Json(started.into()))),
        }
    }

    /// Sign up, and watch the workspace being made
    ///
    /// The stream's last event carries the tokens. Within 15 minutes they can be had from the status
    /// route, too.
    #[oai(path = "/async", method = "post", operation_id = "signup_async")]
    async fn signup_async(
        &self,
        app: Data<&App>,
        visitor: Visitor,
        signup: Body<Signup>,
    ) -> Answer<Accepted<SignupStarted>> {
        Ok(Accepted(start(&app, &visitor, signup.0).await?.into()))
    }

    /// Look at a sign-up
    ///
    /// The same snapshot that the stream would send; with the tokens, once it is complete.
    #[oai(path = "/jobs/:job_id", method = "get", operation_id = "get_signup_job")]
    async fn status(&self, app: Data<&App>, job_id: Path<String>) -> Answer<Json<SignupEvent>> {
        let job = signups::job_of(&app.database.pool, &job_id).await?;
        let snapshot = app.hub.snapshot(job).await?.ok_or_else(ApiError::not_found)?;
        Ok(Json(SignupEvent::of(&app, &job_id, snapshot.event).await))
    }

    /// Stream a sign-up's events
    ///
    /// Server-Sent Events; the last one carries the tokens. Whoever has the job id may watch.
    #[oai(
        path = "/jobs/:job_id/stream",
        method = "get",
        operation_id = "stream_signup_job",
        transform = "unhurried"
    )]
    async fn stream(
        &self,
        app: Data<&App>,
        job_id: Path<String>,
        /// 0 sends all events that are kept.
        since: Query<Option<i64>>,
        #[oai(name = "Last-Event-ID")] last_event_id: Header<Option<String>>,
    ) -> Answer<SignupStream> {
        let job = signups::job_of(&app.database.pool, &job_id).await?;
        let start = Start::asked(last_event_id.as_deref(), since.0);
        let (of_app, token) = (app.clone(), job_id.0);
        let shape = Arc::new(move |event: Event| {
            let (app, token) = (of_app.clone(), token.clone());
            async move { SignupEvent::of(&app, &token, event).await.into_json() }.boxed()
        });
        SignupStream::open(&app.hub, job, start, shape).await
    }
}

async fn start(app: &App, visitor: &Visitor, signup: Signup) -> Answer<Started> {
    let Signup { email, password, full_name, company_name } = signup;
    let new = NewSignup::parse(&email, password, &full_name, &company_name)?;
    Ok(signups::start(&app.database, new, &client(visitor), visitor.actor().origin()).await?)
}

/// The job ended without an account.
fn failed(end: Snapshot) -> ApiError {
    let is_taken = end.error.is_some_and(|error| error["code"] == "email_taken");
    let code = if is_taken { "email_taken" } else { "signup_failed" };
    ApiError::conflict(code, end.event.error_message.as_deref().unwrap_or("the sign-up was stopped"))
}

impl From<Started> for SignupStarted {
    fn from(started: Started) -> Self {
        let status_url = format!("/api/v1/auth/signup/jobs/{}", started.token);
        Self { stream_url: format!("{status_url}/stream"), status_url, job_id: started.token }
    }
}

impl SignedUp {
    fn of(app: &App, delivered: Delivered) -> Answer<Self> {
        // A session that has just been opened can't be over.
        let opened = delivered.session.ok_or_else(ApiError::token_invalid)?;
        Ok(Self {
            tokens: Tokens::of(app, opened)?,
            workspace_id: delivered.workspace_id,
            workspace_name: delivered.workspace_name,
        })
    }
}
