//! Signing up: a job that makes account and workspace, watched by whoever holds the sign-up's token.

mod invited;
mod progress;
mod started;

use api_kit::{Accepted, Answer, ApiError, App, Body, Fails, Start, Visitor, unhurried};
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
    /// A payment method at Stripe: the subscription starts now, and charges it after the trial. Without one,
    /// and where payments are taken, the answer has a URL to say it.
    payment_method_id: Option<String>,
    /// Leaves the workspace without an example of a recordset.
    #[oai(default)]
    skip_seed: bool,
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

impl SignupAnswer {
    /// Waits for the job, for as long as a request may.
    async fn when_ready(app: &App, visitor: &Visitor, started: Started) -> Answer<Self> {
        if is_ready(app, visitor, &started, "signup_failed").await? {
            let delivered = signups::deliver(&app.database, &started.token).await?;
            Ok(Self::Done(Json(SignedUp::of(app, delivered)?)))
        } else {
            Ok(Self::OnItsWay(Json(started.into())))
        }
    }
}

/// See the module.
pub struct SignupApi;

#[OpenApi(prefix_path = "/auth/signup", tag = "Tag::Authentication")]
impl SignupApi {
    /// Sign up, and wait for the workspace
    ///
    /// Waits up to 30 seconds for the same job as the asynchronous sign-up, then answers with its links.
    #[oai(
        path = "/",
        method = "post",
        operation_id = "signup",
        transform = "unhurried",
        tag = "Fails::EmailTaken",
        tag = "Fails::SignupFailed",
        tag = "Fails::PaymentRefused"
    )]
    async fn signup(&self, app: Data<&App>, visitor: Visitor, signup: Body<Signup>) -> Answer<SignupAnswer> {
        let started = start(&app, &visitor, signup.0).await?;
        SignupAnswer::when_ready(&app, &visitor, started).await
    }

    /// Sign up, and watch the workspace being made
    ///
    /// The stream's last event carries the tokens. For 15 minutes the same tokens can also be read from the
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

    /// Look at a sign-up
    ///
    /// The same snapshot that the stream would send; with the tokens, once it is complete.
    #[oai(path = "/jobs/:job_id", method = "get", operation_id = "get_signup_job")]
    async fn status(&self, app: Data<&App>, job_id: Path<String>) -> Answer<Json<SignupEvent>> {
        let job = signups::job_of(&app.database.pool, &job_id).await?;
        let snapshot = app.hub.snapshot(job).await?.ok_or_else(ApiError::not_found)?;
        Ok(Json(SignupEvent::of(&app, &job_id, snapshot.event).await?))
    }

    /// Stream a sign-up's events
    ///
    /// Server-Sent Events; the last one carries the tokens. The job id alone admits.
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
