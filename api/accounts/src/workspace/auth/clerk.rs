//! Users who signed in with Clerk. The caller presents the secret that the installation shares with it.

use api_kit::{Answer, ApiError, App, Body, Fails, Visitor};
use domain::WorkspaceId;
use domain_accounts::{
    users::{User, clerk},
    workspaces::Membership,
};
use poem::web::Data;
use poem_openapi::{Object, OpenApi, param::Header, payload::Json};

use super::{LoggedIn, Tag, Tokens};

/// A user signed in by Clerk.
#[derive(Debug, Object)]
struct ClerkPerson {
    /// User id at Clerk.
    #[oai(validator(min_length = 1, max_length = 200))]
    clerk_id: String,
    /// Email address, whose ownership Clerk has verified.
    email: Option<String>,
}

/// Whether the user has an account here and, if so, a session.
#[derive(Debug, Default, Object)]
#[oai(skip_serializing_if_is_none)]
struct ClerkCheck {
    /// Whether the user has an account. The other fields are present only if true.
    exists: bool,
    /// Access token, for the `Authorization` header.
    access_token: Option<String>,
    /// Refresh token, valid for one refresh.
    refresh_token: Option<String>,
    /// Token type: always `bearer`.
    token_type: Option<String>,
    /// Lifetime of the access token in seconds.
    expires_in: Option<u64>,
    /// The user.
    user: Option<User>,
    /// Workspaces that the user may enter from this address.
    workspaces: Option<Vec<Membership>>,
    /// Id of the workspace last switched to, if the user may enter it.
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

/// Routes of the section.
pub struct ClerkApi;

#[OpenApi(prefix_path = "/auth/clerk", tag = "Tag::Authentication")]
impl ClerkApi {
    /// Check whether a user signed in by Clerk has an account
    ///
    /// Matched by the Clerk id, or the first time by the email address, if it is verified here or the account has no
    /// sign-in method yet; the answer then has a session. Never creates an account. Needs the installation's
    /// `CLERK_SECRET`.
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
        /// Secret of the installation (`CLERK_SECRET`).
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
