//! Accounts that wait for their owner to choose a password: registering one, activating it, another link.

use api_kit::{Answer, App, Body, Created, Fails, Visitor};
use domain::WorkspaceId;
use domain_accounts::users::{
    activation::{self, Activating},
    letters::{self, AccountLetter},
};
use jobs::Tx;
use poem::web::Data;
use poem_openapi::{Object, OpenApi, param::Query, payload::Json};

use super::{Done, LoggedIn, Tag};

/// Who wants an account.
#[derive(Debug, Object)]
struct Registration {
    /// The address that they will sign in with.
    #[oai(validator(max_length = 254))]
    email: String,
    /// What they are called.
    #[oai(validator(max_length = 200))]
    name: String,
}

/// The answer to a registration, the same for every address.
#[derive(Debug, Object)]
struct Registered {
    /// The address that was written to.
    email: String,
    /// For people.
    message: String,
}

/// An account to activate.
#[derive(Debug, Object)]
struct Activation {
    /// The token of the link.
    token: String,
    /// The password that its owner has chosen: at least as many characters as the link's answer says.
    password: String,
}

/// To whom to write.
#[derive(Debug, Object)]
pub(super) struct Address {
    /// The account's address.
    #[oai(validator(max_length = 254))]
    pub email: String,
}

/// See the module.
pub struct ActivationApi;

#[OpenApi(prefix_path = "/auth", tag = "Tag::Authentication")]
impl ActivationApi {
    /// Look an activation link up
    ///
    /// Whom it is for and where it leads, to fill the form with. Looking doesn't use it up.
    #[oai(path = "/activate", method = "get", operation_id = "get_activation", tag = "Fails::RecordNotFound")]
    async fn look(
        &self,
        app: Data<&App>,
        /// The workspace that the link names; the nil id for an account without one.
        workspace_id: Query<WorkspaceId>,
        /// The token of the link.
        token: Query<String>,
    ) -> Answer<Json<Activating>> {
        Ok(Json(activation::look(&app.database.pool, workspace_id.0, &token).await?))
    }

    /// Activate an account
    ///
    /// Verifies the address and signs its owner in. The password becomes that of the account; where it has one already,
    /// after a sign-up, the same password keeps the sessions, and another one ends them all, with the personal tokens: the
    /// address belongs to who reads its mail. A link is good once, for 7 days, while no newer one was sent; a password
    /// that is refused doesn't use it up.
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

    /// Ask for another activation link
    ///
    /// Also for who has signed up and not verified the address yet. Answers the same whether or not somebody waits for
    /// one under that address; at most five are mailed there in an hour.
    #[oai(path = "/activate/resend", method = "post", operation_id = "resend_activation")]
    async fn resend(&self, app: Data<&App>, visitor: Visitor, to: Body<Address>) -> Answer<Json<Done>> {
        let link = app.config.app_link("activate", &[]);
        let (kind, actor) = (AccountLetter::Activation, visitor.actor());
        let ask = async |tx: &mut Tx| letters::ask(tx, kind, &to.email, link, &actor).await;
        visitor.change_shared(&app, ask).await?;
        Ok(Json(Done::saying("If an account with this address waits to be activated, a link is on its way.")))
    }

    /// Register an account without a workspace
    ///
    /// New clients sign up instead. Answers the same whether or not the address has an account, and tells
    /// whoever reads its mail: a new account is activated by the link there, where its password is chosen, and
    /// the owner of one that exists learns of the attempt. A `password` is refused (422
    /// `parameter_unknown`): the person who types an address need not be the one who reads its mail.
    #[oai(path = "/register", method = "post", operation_id = "register")]
    async fn register(
        &self,
        app: Data<&App>,
        visitor: Visitor,
        registration: Body<Registration>,
    ) -> Answer<Created<Registered>> {
        let Registration { email, name } = registration.0;
        let (email, name) = letters::registration(&email, &name)?;
        let link = app.config.app_link("activate", &[]);
        let (kind, actor) = (AccountLetter::Welcome { name }, visitor.actor());
        let ask = async |tx: &mut Tx| letters::ask(tx, kind, email.as_str(), link, &actor).await;
        visitor.change_shared(&app, ask).await?;
        let message = "A mail with all that is needed is on its way to this address.".to_owned();
        Ok(Created(Registered { email: email.to_string(), message }))
    }
}
