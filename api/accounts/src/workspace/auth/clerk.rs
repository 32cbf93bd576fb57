//! People who signed in with Clerk. Whoever asks shows the secret that the installation shares with them.

use api_kit::{Answer, ApiError, App, Body, Fails, Visitor};
use domain::WorkspaceId;
use domain_accounts::{
    users::{User, clerk},
    workspaces::Membership,
};
use poem::web::Data;
use poem_openapi::{Object, OpenApi, param::Header, payload::Json};

use super::{LoggedIn, Tag, Tokens};

/// Whom Clerk has signed in.
#[derive(Debug, Object)]
struct ClerkPerson {
    /// Their id at Clerk.
    #[oai(validator(min_length = 1, max_length = 200))]
    clerk_id: String,
    /// Their address, whose ownership Clerk has checked.
    email: Option<String>,
}

/// Whether they have an account here; if so, a session.
#[derive(Debug, Default, Object)]
#[oai(skip_serializing_if_is_none)]
struct ClerkCheck {
    /// Whether they do. The rest is there only then.
    exists: bool,
    /// For the `Authorization` header.
    access_token: Option<String>,
    /// Good for one refresh.
    refresh_token: Option<String>,
    /// Always `bearer`.
    token_type: Option<String>,
    /// Seconds until the access token expires.
    expires_in: Option<u64>,
    /// Who they are.
    user: Option<User>,
    /// The workspaces that they may enter, from this address.
    workspaces: Option<Vec<Membership>>,
    /// The workspace that they last switched to, if they may enter it.
    current_workspace_id: Option<WorkspaceId>,
}

impl From<LoggedIn> for ClerkCheck {
    fn from(LoggedIn { tokens, user, workspaces, current_workspace_id, .. }: LoggedIn) -> Self {
        let Tokens { access_token, refresh_token, token_type, expires_in } = tokens;
        Self {
            exists: true,
            access_token: Some(access_token),
            refresh_token: Some(refresh_token),
            token_type: Some(token_type),
            expires_in: Some(expires_in),
            user: Some(user),
            workspaces: Some(workspaces),
            current_workspace_id,
        }
    }
}

/// See the module.
pub struct ClerkApi;

#[OpenApi(prefix_path = "/auth/clerk", tag = "Tag::Authentication")]
impl ClerkApi {
    /// Tell whether a person signed in by Clerk has an account
    ///
    /// Known by their Clerk id, or the first time by their address, if it is verified here or nobody can sign in to the
    /// account yet; then this answers with a session. Never makes an account. Only for who shows the installation's `CLERK_SECRET`.
    #[oai(
        path = "/check",
        method = "post",
        operation_id = "check_clerk_user",
        tag = "Fails::TokenInvalid",
        tag = "Fails::AccountDeactivated"
    )]
    async fn check(
        &self,
        app: Data<&App>,
        visitor: Visitor,
        /// The secret that the installation was started with.
        #[oai(name = "X-Clerk-Secret")]
        secret: Header<Option<String>>,
        person: Body<ClerkPerson>,
    ) -> Answer<Json<ClerkCheck>> {
        admit(&app, secret.0.as_deref())?;
        let ClerkPerson { clerk_id, email } = person.0;
        let opened =
            clerk::sign_in(&app.database, clerk_id.trim(), email.as_deref(), &visitor.actor()).await?;
        Ok(Json(match opened {
            Some(opened) => LoggedIn::of(&app, &visitor, opened).await?.into(),
            None => ClerkCheck::default(),
        }))
    }
}

fn admit(app: &App, secret: Option<&str>) -> Result<(), ApiError> {
    let ours = app.config.clerk_secret.as_ref().ok_or_else(|| {
        ApiError::unavailable("clerk_not_configured", "this installation was started without CLERK_SECRET")
    })?;
    match secret {
        None => Err(ApiError::token_missing()),
        Some(secret) if ours.is(secret) => Ok(()),
        Some(_) => Err(ApiError::token_invalid()),
    }
}
