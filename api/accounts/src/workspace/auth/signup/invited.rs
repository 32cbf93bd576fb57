//! Sign-up with an invite, for a person who paid through Stripe without an account.

use api_kit::{Accepted, Answer, App, Body, Fails, Visitor, no_deadline};
use domain_accounts::{
    signups::{self, NewInvitedSignup, Started},
    stripe::invites::{self, Invite},
};
use jobs::Tx;
use poem::web::Data;
use poem_openapi::{Object, OpenApi, param::Path, payload::Json};

use super::{
    super::{Tag, client},
    SignupAnswer, SignupStarted, takes_payments,
};

/// A lookup of an invite.
#[derive(Debug, Object)]
struct InviteLookup {
    /// Email address given with the payment.
    email: String,
    /// Access code from the email about the payment, in any spelling.
    access_code: String,
}

/// An invite that was found.
#[derive(Debug, Object)]
struct FoundInvite {
    /// Invite code to sign up with. A secret.
    invite_code: String,
    #[oai(flatten)]
    invite: Invite,
}

/// A sign-up with an invite.
#[derive(Debug, Object)]
struct InvitedSignup {
    /// Invite code from the emailed link or a lookup.
    invite_code: String,
    /// Password: at least 10 characters, at most 1024. Optional with a `clerk_id`.
    password: Option<String>,
    /// Full name; the one known to Stripe if absent.
    full_name: Option<String>,
    /// Name of the new workspace; the company name known to Stripe if absent.
    company_name: Option<String>,
    /// User id at Clerk, for signing in by it.
    clerk_id: Option<String>,
    /// Whether to create the workspace without the example recordset.
    #[oai(default)]
    skip_seed: bool,
}

/// Routes of the section.
pub struct StripeInviteApi;

#[OpenApi(prefix_path = "/auth", tag = "Tag::Authentication")]
impl StripeInviteApi {
    /// Show an invite
    ///
    /// The code is the only credential. 410 once the invite has been used or has expired.
    #[oai(
        path = "/signup/stripe-invite/:invite_code",
        method = "get",
        operation_id = "get_stripe_invite",
        tag = "Fails::Gone"
    )]
    async fn get(&self, app: Data<&App>, invite_code: Path<String>) -> Answer<Json<Invite>> {
        takes_payments(&app)?;
        Ok(Json(invites::find(&app.database.pool, &invite_code).await?))
    }

    /// Find an invite by address and access code
    ///
    /// Answers 404 if either of the two is wrong, and 429 after too many wrong guesses.
    #[oai(
        path = "/lookup-invite",
        method = "post",
        operation_id = "lookup_invite",
        tag = "Fails::RecordNotFound",
        tag = "Fails::Gone"
    )]
    async fn look_up(
        &self,
        app: Data<&App>,
        visitor: Visitor,
        lookup: Body<InviteLookup>,
    ) -> Answer<Json<FoundInvite>> {
        takes_payments(&app)?;
        let ip = visitor.ip.map(|ip| ip.to_string());
        let InviteLookup { email, access_code } = &lookup.0;
        let (invite_code, invite) =
            invites::look_up(&app.database, email, access_code, ip.as_deref()).await?;
        Ok(Json(FoundInvite { invite_code, invite }))
    }

    /// Sign up with an invite, and wait for the workspace
    ///
    /// The account has the email address of the payment. Waits up to 30 seconds for the same job as the asynchronous
    /// sign-up; after that, answers with the job's links.
    #[oai(
        path = "/signup/stripe-invite",
        method = "post",
        operation_id = "signup_stripe_invite",
        transform = "no_deadline",
        tag = "Fails::RecordNotFound",
        tag = "Fails::EmailTaken",
        tag = "Fails::ClerkIdTaken",
        tag = "Fails::SignupFailed",
        tag = "Fails::Gone"
    )]
    async fn signup(
        &self,
        app: Data<&App>,
        visitor: Visitor,
        signup: Body<InvitedSignup>,
    ) -> Answer<SignupAnswer> {
        let started = start(&app, &visitor, signup.0).await?;
        SignupAnswer::when_ready(&app, &visitor, started).await
    }

    /// Sign up with an invite, and stream the creation of the workspace
    ///
    /// As the asynchronous sign-up: the stream's last event has the tokens.
    #[oai(
        path = "/signup/stripe-invite/async",
        method = "post",
        operation_id = "signup_stripe_invite_async",
        tag = "Fails::RecordNotFound",
        tag = "Fails::EmailTaken",
        tag = "Fails::ClerkIdTaken",
        tag = "Fails::Gone"
    )]
    async fn signup_async(
        &self,
        app: Data<&App>,
        visitor: Visitor,
        signup: Body<InvitedSignup>,
    ) -> Answer<Accepted<SignupStarted>> {
        Ok(Accepted(start(&app, &visitor, signup.0).await?.into()))
    }
}

async fn start(app: &App, visitor: &Visitor, signup: InvitedSignup) -> Answer<Started> {
    takes_payments(app)?;
    let InvitedSignup { invite_code, password, full_name, company_name, clerk_id, skip_seed } = signup;
    let new = NewInvitedSignup { invite_code, password, full_name, company_name, clerk_id, skip_seed };
    let new = signups::read_invited(&app.database.pool, new).await?;
    let (client, origin) = (client(visitor), visitor.actor().origin());
    let start = async |tx: &mut Tx| signups::start_invited(tx, new, &client, origin).await;
    visitor.change_shared(app, start).await
}
