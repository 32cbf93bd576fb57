//! Sign-up: a job that creates account and workspace, watched by the holder of the sign-up's token.

mod invited;
mod progress;
mod started;

use api_kit::{Accepted, Answer, ApiError, App, Body, Fails, Start, Visitor, no_deadline};
use domain_accounts::signups::{self, NewSignup, Started};
use jobs::Tx;
use poem::web::Data;
use poem_openapi::{
    ApiResponse, Object, OpenApi,
    param::{Header, Path, Query},
    payload::Json,
};

use super::{Tag, client};
pub use invited::StripeInviteApi;
use progress::{SignupEvent, SignupStream};
use started::{SignedUp, takes_payments};
pub(crate) use started::{SignupStarted, is_ready};

/// A sign-up.
#[derive(Debug, Object)]
struct Signup {
    /// Email address to sign in with.
    email: String,
    /// Password: at least 10 characters, at most 1024.
    password: String,
    /// Full name.
    full_name: String,
    /// Name of the new workspace.
    company_name: String,
    /// Id of a payment method at Stripe: the subscription starts now and charges it after the trial. Without one,
    /// where payments are enabled, the answer has a URL of a page to enter one.
    payment_method_id: Option<String>,
    /// Whether to create the workspace without the example recordset.
    #[oai(default)]
    skip_seed: bool,
}

/// The answer to a synchronous sign-up.
#[derive(ApiResponse)]
enum SignupAnswer {
    /// The account and its workspace.
    #[oai(status = 201)]
    Done(Json<SignedUp>),
    /// Links to the job, which is still running.
    #[oai(status = 202)]
    OnItsWay(Json<SignupStarted>),
}

impl SignupAnswer {
    /// Waits for the job, up to the limit of a request.
    async fn when_ready(app: &App, visitor: &Visitor, started: Started) -> Answer<Self> {
        if is_ready(app, visitor, &started, "signup_failed").await? {
            let delivered = signups::deliver(&app.database, &started.token).await?;
            Ok(Self::Done(Json(SignedUp::of(app, delivered)?)))
        } else {
            Ok(Self::OnItsWay(Json(started.into())))
        }
    }
}

/// Routes of the section.
pub struct SignupApi;

#[OpenApi(prefix_path = "/auth/signup", tag = "Tag::Authentication")]
impl SignupApi {
    /// Sign up, and wait for the workspace
    ///
    /// Waits up to 30 seconds for the same job as the asynchronous sign-up; after that, answers with the job's links.
    #[oai(
        path = "/",
        method = "post",
        operation_id = "signup",
        transform = "no_deadline",
        tag = "Fails::EmailTaken",
        tag = "Fails::SignupFailed",
        tag = "Fails::PaymentRefused"
    )]
    async fn signup(&self, app: Data<&App>, visitor: Visitor, signup: Body<Signup>) -> Answer<SignupAnswer> {
        let started = start(&app, &visitor, signup.0).await?;
        SignupAnswer::when_ready(&app, &visitor, started).await
    }

    /// Sign up, and stream the creation of the workspace
    ///
    /// The stream's last event has the tokens. For 15 minutes the same tokens can also be read from the
    /// status route, until the refresh token is used.
    #[oai(path = "/async", method = "post", operation_id = "signup_async", tag = "Fails::EmailTaken")]
    async fn signup_async(
        &self,
        app: Data<&App>,
        visitor: Visitor,
        signup: Body<Signup>,
    ) -> Answer<Accepted<SignupStarted>> {
        Ok(Accepted(start(&app, &visitor, signup.0).await?.into()))
    }

    /// Show a sign-up
    ///
    /// The same snapshot that the stream sends; with the tokens, once it is complete.
    #[oai(path = "/jobs/:job_id", method = "get", operation_id = "get_signup_job")]
    async fn status(&self, app: Data<&App>, job_id: Path<String>) -> Answer<Json<SignupEvent>> {
        let job = signups::job_of(&app.database.pool, &job_id).await?;
        let snapshot = app.hub.snapshot(job).await?.ok_or_else(ApiError::not_found)?;
        Ok(Json(SignupEvent::of(&app, &job_id, snapshot.event).await?))
    }

    /// Stream a sign-up's events
    ///
    /// Server-Sent Events; the last one has the tokens. The job id is the only credential.
    #[oai(
        path = "/jobs/:job_id/stream",
        method = "get",
        operation_id = "stream_signup_job",
        transform = "no_deadline"
    )]
    async fn stream(
        &self,
        app: Data<&App>,
        job_id: Path<String>,
        /// `seq` of the event after which to begin; 0 sends all retained events.
        since: Query<Option<i64>>,
        #[oai(name = "Last-Event-ID")] last_event_id: Header<Option<String>>,
    ) -> Answer<SignupStream> {
        let job = signups::job_of(&app.database.pool, &job_id).await?;
        let start = Start::asked(last_event_id.as_deref(), since.0);
        SignupStream::open(&app, job, &job_id, start).await
    }
}

async fn start(app: &App, visitor: &Visitor, signup: Signup) -> Answer<Started> {
    let Signup { email, password, full_name, company_name, payment_method_id, skip_seed } = signup;
    let mut new = NewSignup::parse(&email, password, &full_name, &company_name)?.skip_seed(skip_seed);
    if let Some(id) = payment_method_id {
        takes_payments(app)?;
        new = new.paid_with(&id)?;
    }
    let (new, client, origin) = (new.hashed().await?, client(visitor), visitor.actor().origin());
    let start = async |tx: &mut Tx| signups::start(tx, new, &client, origin).await;
    visitor.change_shared(app, start).await
}
