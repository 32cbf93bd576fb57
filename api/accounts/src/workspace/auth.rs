//! Authentication: contract section "Authentication" (W-AUTH). Signing up is a job that anyone who
//! holds its token may watch; signing in opens a session; the rest of the section builds on the two.

mod session;
mod signup;
mod tokens;

use api_kit::{ApiError, App, Visitor};
use domain::sessions::{Client, Opened};
use poem_openapi::Object;

pub use session::SessionApi;
pub use signup::SignupApi;
pub use tokens::TokensApi;

/// The tokens of a session.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct Tokens {
    /// For the `Authorization` header, as `Bearer …`.
    access_token: String,
    /// Good for one refresh; used a second time, it ends the session.
    refresh_token: String,
    /// Always `bearer`.
    token_type: String,
    /// Seconds until the access token expires.
    expires_in: u64,
}

impl Tokens {
    /// The tokens of a session just opened or refreshed.
    fn of(app: &App, opened: Opened) -> Result<Self, ApiError> {
        let lifetime = app.config.access_token_lifetime;
        let (access_token, _) =
            app.keys.access_token(opened.user, opened.session, lifetime).map_err(ApiError::internal)?;
        Ok(Self {
            access_token,
            refresh_token: opened.refresh_token,
            token_type: "bearer".to_owned(),
            expires_in: lifetime.as_secs(),
        })
    }
}

/// What a session remembers of who opened it.
fn client(visitor: &Visitor) -> Client {
    Client { user_agent: visitor.user_agent.clone(), ip: visitor.ip.map(|ip| ip.to_string()) }
}
