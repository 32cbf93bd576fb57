//! Accounts without a password yet: registration, activation, a new activation link.

use api_kit::{Answer, App, Body, Created, Fails, Visitor};
use domain::WorkspaceId;
use domain_accounts::users::{
    activation::{self, Activating},
    emails::{self, AccountEmail},
};
use jobs::Tx;
use poem::web::Data;
use poem_openapi::{Object, OpenApi, param::Query, payload::Json};

use super::{Done, LoggedIn, Tag};

/// A registration of an account.
#[derive(Debug, Object)]
struct Registration {
    /// Email address to sign in with.
    #[oai(validator(max_length = 254))]
    email: String,
    /// Full name.
    #[oai(validator(max_length = 200))]
    name: String,
}

/// The answer to a registration, the same for every address.
#[derive(Debug, Object)]
struct Registered {
    /// Email address that the message is sent to.
    email: String,
    /// Message for display.
    message: String,
}

/// An account to activate.
#[derive(Debug, Object)]
struct Activation {
    /// Token of the activation link.
    token: String,
    /// New password: at least as many characters as the lookup of the link answers.
    password: String,
}

/// The recipient of an email.
#[derive(Debug, Object)]
pub(super) struct Address {
    /// Email address of the account.
    #[oai(validator(max_length = 254))]
    pub email: String,
}

/// Routes of the section.
pub struct ActivationApi;

#[OpenApi(prefix_path = "/auth", tag = "Tag::Authentication")]
impl ActivationApi {
    /// Look up an activation link
    ///
    /// Answers the account and the workspace of the link, for filling in the form. A lookup does not use the link up.
    #[oai(path = "/activate", method = "get", operation_id = "get_activation", tag = "Fails::RecordNotFound")]
    async fn look(
        &self,
        app: Data<&App>,
        /// Id of the workspace that the link names; the nil id for an account without one.
        workspace_id: Query<WorkspaceId>,
        /// Token of the activation link.
        token: Query<String>,
    ) -> Answer<Json<Activating>> {
        Ok(Json(activation::look(&app.database.pool, workspace_id.0, &token).await?))
    }

    /// Activate an account
    ///
    /// Verifies the email address and signs its owner in. The password becomes that of the account; where it
    /// has one already, after a sign-up, the same password keeps the sessions, and another one ends them all,
    /// with the personal tokens, since the address belongs to the reader of its mailbox. A link can be used
    /// once and expires in 7 days, or when a newer one is sent; a refused password does not use it up.
    #[oai(
        path = "/activate",
        method = "post",
        operation_id = "activate_account",
        tag = "Fails::TokenInvalid"
    )]
    async fn activate(
        &self,
        app: Data<&App>,
        visitor: Visitor,
        activation: Body<Activation>,
    ) -> Answer<Json<LoggedIn>> {
        let Activation { token, password } = activation.0;
        let (opened, _) = activation::activate(&app.database, &token, password, &visitor.actor()).await?;
        LoggedIn::on(&app, &visitor, opened, None).await.map(Json)
    }

    /// Request another activation link
    ///
    /// Also for an account that has signed up but not verified its address. The answer is the same whether or not an
    /// account with this address can be activated; at most five links per hour are sent to an address.
    #[oai(path = "/activate/resend", method = "post", operation_id = "resend_activation")]
    async fn resend(&self, app: Data<&App>, visitor: Visitor, to: Body<Address>) -> Answer<Json<Done>> {
        let link = app.config.app_link("activate", &[]);
        let (kind, actor) = (AccountEmail::Activation, visitor.actor());
        let ask = async |tx: &mut Tx| emails::ask(tx, kind, &to.email, link, &actor).await;
        visitor.change_shared(&app, ask).await?;
        Ok(Json(Done::saying("If this address has an account to activate, a link will be sent to it.")))
    }

    /// Register an account without a workspace
    ///
    /// New clients sign up instead. The answer is the same whether or not the address has an account; the email to it
    /// tells the difference: a new account is activated by the link in it, where its password is chosen, and
    /// the owner of an existing account is informed of the attempt. A `password` is refused (422
    /// `parameter_unknown`), since the person who types an address need not own its mailbox.
    #[oai(path = "/register", method = "post", operation_id = "register")]
    async fn register(
        &self,
        app: Data<&App>,
        visitor: Visitor,
        registration: Body<Registration>,
    ) -> Answer<Created<Registered>> {
        let Registration { email, name } = registration.0;
        let (email, name) = emails::registration(&email, &name)?;
        let link = app.config.app_link("activate", &[]);
        let (kind, actor) = (AccountEmail::Welcome { name }, visitor.actor());
        let ask = async |tx: &mut Tx| emails::ask(tx, kind, email.as_str(), link, &actor).await;
        visitor.change_shared(&app, ask).await?;
        let message = "An email with the next steps will be sent to this address.".to_owned();
        Ok(Created(Registered { email: email.to_string(), message }))
    }
}
