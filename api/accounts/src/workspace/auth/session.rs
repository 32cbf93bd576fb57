//! Signing in and out.

use api_kit::{Answer, App, Body, Fails, SignedIn, Visitor};
use domain_accounts::sessions;
use jobs::Tx;
use poem::web::Data;
use poem_openapi::{Object, OpenApi, payload::Json};

use super::{Done, LoggedIn, Tag, Tokens};

/// Who signs in.
#[derive(Debug, Object)]
struct Login {
    /// The account's address.
    email: String,
    /// Its password.
    password: String,
    /// What an earlier sign-in on this device answered as `device_token`; one that is not good counts for nothing.
    device_token: Option<String>,
}

/// A token to trade.
#[derive(Debug, Object)]
struct Refresh {
    /// The newest refresh token of the session.
    refresh_token: String,
}

/// See the module.
pub struct SessionApi;

#[OpenApi(prefix_path = "/auth", tag = "Tag::Authentication")]
impl SessionApi {
    /// Sign in
    ///
    /// After five failures in an hour an address is locked for the client's network (an IPv4 address, an IPv6 /64), for
    /// one minute at first and for up to 15 minutes as they go on, whether or not an account has it; after 100 from
    /// wherever, it is locked for all; after 50 failures from one network, that network is. While it is, even the right
    /// password is answered with 429 `sign_in_locked` and `Retry-After`. A device that has signed in before and sends its
    /// `device_token` is counted by itself: only its own five failures lock it.
    #[oai(path = "/login", method = "post", operation_id = "login", tag = "Fails::CredentialsInvalid")]
    async fn login(&self, app: Data<&App>, visitor: Visitor, login: Body<Login>) -> Answer<Json<LoggedIn>> {
        let Login { email, password, device_token } = login.0;
        let device = device_token.as_deref().and_then(|token| app.keys.check_device_token(token));
        let opened = sessions::sign_in(&app.database, &email, password, device, &visitor.actor()).await?;
        LoggedIn::on(&app, &visitor, opened, device).await.map(Json)
    }

    /// Trade a refresh token for new tokens
    ///
    /// Each refresh token is good once. For 10 seconds after that it answers the same successor again, for
    /// tabs that refresh at the same time and for lost answers. One that comes later ends its session at
    /// once, because two parties hold it.
    #[oai(path = "/refresh", method = "post", operation_id = "refresh_tokens", tag = "Fails::TokenInvalid")]
    async fn refresh(&self, app: Data<&App>, refresh: Body<Refresh>) -> Answer<Json<Tokens>> {
        let opened = sessions::refresh(&app.database, &refresh.refresh_token).await?;
        Ok(Json(Tokens::of(&app, opened)?))
    }

    /// Sign out
    ///
    /// The session's tokens, and the tickets of its jobs' streams, are worthless at once.
    #[oai(path = "/logout", method = "post", operation_id = "logout")]
    async fn logout(&self, app: Data<&App>, caller: SignedIn) -> Answer<Json<Done>> {
        let end = async |tx: &mut Tx| sessions::end(tx, caller.session, &caller.actor()).await;
        caller.change_shared(&app, end).await?;
        Ok(Json(Done::saying("Signed out.")))
    }
}
