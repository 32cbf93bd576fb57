//! Passwords: reset and change.

use api_kit::{Answer, App, Body, Fails, InPerson, Visitor};
use domain_accounts::users::{
    emails::{self, AccountEmail},
    passwords,
};
use jobs::Tx;
use poem::web::Data;
use poem_openapi::{Object, OpenApi, payload::Json};

use super::{Done, Tag, activation::Address};

/// A password reset by a link.
#[derive(Debug, Object)]
struct PasswordReset {
    /// Token of the link.
    token: String,
    /// New password.
    #[oai(rename = "password")]
    new: String,
}

/// A password change by the current password.
#[derive(Debug, Object)]
struct PasswordChange {
    /// Current password.
    current_password: String,
    /// New password.
    new_password: String,
}

/// Routes of the section.
pub struct PasswordApi;

#[OpenApi(prefix_path = "/auth", tag = "Tag::Authentication")]
impl PasswordApi {
    /// Request a link to reset the password
    ///
    /// Sends it by email if an account has the address; the answer is the same if not. A link can be used once
    /// and expires in an hour, or when a newer one is sent.
    #[oai(path = "/request-password-reset", method = "post", operation_id = "request_password_reset")]
    async fn request(&self, app: Data<&App>, visitor: Visitor, to: Body<Address>) -> Answer<Json<Done>> {
        let link = app.config.app_link("reset-password", &[]);
        let (kind, actor) = (AccountEmail::PasswordReset, visitor.actor());
        let ask = async |tx: &mut Tx| emails::ask(tx, kind, &to.email, link, &actor).await;
        visitor.change_shared(&app, ask).await?;
        Ok(Json(Done::saying("If this address has an account, a link will be sent to it.")))
    }

    /// Reset the password by a link
    ///
    /// Ends all sessions and revokes the user's personal tokens; the email about it lists the API keys that the user
    /// issued, which stay valid. An emailed link also verifies the address. A refused password does not use the
    /// link up.
    #[oai(
        path = "/reset-password",
        method = "post",
        operation_id = "reset_password",
        tag = "Fails::TokenInvalid"
    )]
    async fn reset(
        &self,
        app: Data<&App>,
        visitor: Visitor,
        reset: Body<PasswordReset>,
    ) -> Answer<Json<Done>> {
        let PasswordReset { token, new } = reset.0;
        let new = passwords::read_reset(&app.database.pool, &token, new).await?;
        let reset = async |tx: &mut Tx| passwords::reset(tx, &token, new, &visitor.actor()).await;
        visitor.change_shared(&app, reset).await?;
        Ok(Json(Done::saying("The password was changed. Sign in with the new one.")))
    }

    /// Change the password
    ///
    /// Ends all other sessions. Wrong current passwords count as failed sign-ins.
    #[oai(path = "/me/password", method = "post", operation_id = "change_password")]
    async fn change(
        &self,
        app: Data<&App>,
        caller: InPerson,
        change: Body<PasswordChange>,
    ) -> Answer<Json<Done>> {
        let PasswordChange { current_password, new_password } = change.0;
        let (user, session, actor) = (caller.user, caller.session, caller.actor());
        let passwords = (current_password, new_password);
        let new = passwords::read_change(&app.database, user, session, passwords, &actor).await?;
        let change = async |tx: &mut Tx| passwords::change(tx, user, session, new, &actor).await;
        caller.change_shared(&app, change).await?;
        Ok(Json(Done::saying("The password was changed, and every other session was signed out.")))
    }
}
