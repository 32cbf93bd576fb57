//! Signing in and out.

use api_kit::{Answer, App, Body, Fails, SignedIn, Visitor};
use domain_accounts::sessions;
use jobs::Tx;
use poem::web::Data;
use poem_openapi::{Object, OpenApi, payload::Json};

use super::{Done, LoggedIn, Tag, Tokens};

/// Credentials to sign in with.
#[derive(Debug, Object)]
struct Login {
    /// Email address of the account.
    email: String,
    /// Password of the account.
    password: String,
    /// `device_token` of an earlier sign-in on this device; an invalid one is ignored.
    device_token: Option<String>,
}

/// A refresh of a session.
#[derive(Debug, Object)]
struct Refresh {
    /// Newest refresh token of the session.
    refresh_token: String,
}

/// Routes of the section.
pub struct SessionApi;

#[OpenApi(prefix_path = "/auth", tag = "Tag::Authentication")]
impl SessionApi {
    /// Sign in
    ///
    /// After five failures in an hour an address is locked for the client's network (an IPv4 address, an IPv6
    /// /64), for one minute at first and for up to 15 minutes with more failures, whether or not an account has
    /// the address; after 100 failures from all networks together, it is locked for all; after 50 failures from
    /// one network, that network is locked. During a lock, even the correct password is answered with 429
    /// `sign_in_locked` and `Retry-After`. A device that has signed in before and sends its `device_token` is
    /// counted separately: only its own five failures lock it.
    #[oai(path = "/login", method = "post", operation_id = "login", tag = "Fails::CredentialsInvalid")]
    async fn login(&self, app: Data<&App>, visitor: Visitor, login: Body<Login>) -> Answer<Json<LoggedIn>> {
        let Login { email, password, device_token } = login.0;
        let device = device_token.as_deref().and_then(|token| app.keys.check_device_token(token));
        let opened = sessions::sign_in(&app.database, &email, password, device, &visitor.actor()).await?;
        LoggedIn::on(&app, &visitor, opened, device).await.map(Json)
    }

    /// Refresh the tokens of a session
    ///
    /// Each refresh token is valid once. For 10 seconds after its use it answers the same successor again, for
    /// tabs that refresh at the same time and for lost answers. A later reuse ends its session at
    /// once, because two parties hold the token.
    #[oai(path = "/refresh", method = "post", operation_id = "refresh_tokens", tag = "Fails::TokenInvalid")]
    async fn refresh(&self, app: Data<&App>, refresh: Body<Refresh>) -> Answer<Json<Tokens>> {
        let opened = sessions::refresh(&app.database, &refresh.refresh_token).await?;
        Ok(Json(Tokens::of(&app, opened)?))
    }

    /// Sign out
    ///
    /// The session's tokens, and the tickets of its jobs' streams, become invalid at once.
    #[oai(path = "/logout", method = "post", operation_id = "logout")]
    async fn logout(&self, app: Data<&App>, caller: SignedIn) -> Answer<Json<Done>> {
        let end = async |tx: &mut Tx| sessions::end(tx, caller.session, &caller.actor()).await;
        caller.change_shared(&app, end).await?;
        Ok(Json(Done::saying("Signed out.")))
    }
}
