//! Authentication: contract section "Authentication" (W-AUTH). A sign-up is a job that every holder
//! of its token may watch; signing in opens a session; the rest of the section builds on the two.
//!
//! No answer reveals whether an address has an account: requests that name an address without proof of owning it are
//! answered alike, after the same work ([`domain_accounts::users::letters`]).

mod activation;
mod avatar;
mod clerk;
mod impersonation;
mod password;
mod profile;
mod session;
mod sessions;
mod signup;
mod tokens;

use api_kit::{ApiError, App, Credential, Visitor, avatar_url};
use chrono::{DateTime, Utc};
use domain::{SessionId, UserId, WorkspaceId, callers, throttle::Device};
use domain_accounts::{
    sessions::{Client, Opened},
    users::{self, User},
    workspaces::{self, Member, Membership},
};
use poem_openapi::{Object, OpenApi, Tags};
use uuid::Uuid;

pub(crate) use signup::{SignupStarted, is_ready};

#[derive(Tags)]
enum Tag {
    /// Sign-up, sign-in and sign-out, passwords and profiles.
    Authentication,
}

/// All routes of the section.
pub fn api() -> impl OpenApi + 'static {
    (
        signup::SignupApi,
        signup::StripeInviteApi,
        session::SessionApi,
        sessions::SessionsApi,
        activation::ActivationApi,
        password::PasswordApi,
        clerk::ClerkApi,
        impersonation::ImpersonationApi,
        profile::ProfileApi,
        avatar::AvatarApi,
        tokens::TokensApi,
    )
}

/// The tokens of a session.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct Tokens {
    /// Access token, for the `Authorization` header as `Bearer …`.
    access_token: String,
    /// Refresh token, valid for one refresh; a second use ends the session.
    refresh_token: String,
    /// Token type: always `bearer`.
    token_type: String,
    /// Lifetime of the access token in seconds.
    expires_in: u64,
}

impl Tokens {
    /// The tokens of a session just opened or refreshed.
    fn of(app: &App, opened: Opened) -> Result<Self, ApiError> {
        Self::as_of(app, opened, jobs::clock::now())
    }

    /// The tokens that a session has had since a moment.
    fn as_of(app: &App, opened: Opened, at: DateTime<Utc>) -> Result<Self, ApiError> {
        let lifetime = app.config.access_token_lifetime;
        let (access_token, expires_at) = app
            .keys
            .access_token_of(opened.user, opened.session, at, lifetime)
            .map_err(ApiError::internal)?;
        let left = (expires_at - jobs::clock::now()).to_std().unwrap_or_default();
        Ok(Self {
            access_token,
            refresh_token: opened.refresh_token,
            token_type: "bearer".to_owned(),
            expires_in: left.as_secs() + u64::from(left.subsec_millis() >= 500),
        })
    }
}

/// A newly opened session.
#[derive(Debug, Object)]
struct LoggedIn {
    #[oai(flatten)]
    tokens: Tokens,
    /// The signed-in user.
    user: User,
    /// Workspaces that the user may enter from this address.
    workspaces: Vec<Membership>,
    /// Id of the workspace last switched to; null if there is none, or the user may not enter it now.
    current_workspace_id: Option<WorkspaceId>,
    /// Device token, which marks this device as known at the next sign-in, so that wrong passwords from
    /// elsewhere do not lock it out. Valid for 180 days, and for nothing else.
    device_token: Option<String>,
}

impl LoggedIn {
    /// The answer to a sign-in on a device that may be known.
    async fn on(
        app: &App,
        visitor: &Visitor,
        opened: Opened,
        device: Option<Device>,
    ) -> Result<Self, ApiError> {
        let device = device.filter(|device| device.user == opened.user);
        let device = device.unwrap_or_else(|| Device { user: opened.user, id: Uuid::now_v7() });
        let token = app.keys.device_token(device).map_err(ApiError::internal)?;
        Ok(Self { device_token: Some(token), ..Self::of(app, visitor, opened).await? })
    }

    /// The answer to a sign-in.
    async fn of(app: &App, visitor: &Visitor, opened: Opened) -> Result<Self, ApiError> {
        let doors = Doors::of(app, visitor, opened.user, opened.session).await?;
        let Doors { user, workspaces, current_workspace_id } = doors;
        let tokens = Tokens::of(app, opened)?;
        Ok(Self { tokens, user, workspaces, current_workspace_id, device_token: None })
    }
}

/// A signed-in user and the workspaces to enter.
struct Doors {
    user: User,
    workspaces: Vec<Membership>,
    current_workspace_id: Option<WorkspaceId>,
}

impl Doors {
    async fn of(app: &App, visitor: &Visitor, user: UserId, session: SessionId) -> Result<Self, ApiError> {
        let pool = &app.database.pool;
        let found = users::find(pool, user).await?.ok_or_else(ApiError::token_invalid)?;
        let entered = callers::authorities(pool, Credential::Session(session), visitor.ip).await?;
        let workspaces = workspaces::entered(pool, &entered).await?;
        let current = workspaces::current(pool, user, &entered).await?;
        Ok(Self { user: shown(app, found), workspaces, current_workspace_id: current })
    }
}

/// Confirmation of a request.
#[derive(Debug, Object)]
struct Done {
    /// Message for display.
    message: String,
}

impl Done {
    fn saying(message: &str) -> Self {
        Self { message: message.to_owned() }
    }
}

/// A user as answers show it: with a link to the avatar image.
fn shown(app: &App, user: User) -> User {
    User { avatar_url: avatar_url(app, user.avatar_url), ..user }
}

/// A member as answers show it.
fn shown_member(app: &App, member: Member) -> Member {
    Member { avatar_url: avatar_url(app, member.avatar_url), ..member }
}

/// The client that a session records at its opening.
fn client(visitor: &Visitor) -> Client {
    Client::of(&visitor.actor())
}
