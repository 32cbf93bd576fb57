//! Staff acting as another user: the exchange of a token that an operator has issued.

use domain::WorkspaceId;
use std::time::Duration;

use api_kit::{Answer, ApiError, App, Body, Fails, Visitor};
use domain_accounts::{
    users::{User, impersonation},
    workspaces::Membership,
};
use poem::web::Data;
use poem_openapi::{Object, OpenApi, payload::Json};

use super::{Doors, Tag};

/// An impersonation token to exchange.
#[derive(Debug, Object)]
struct Exchange {
    /// Token from the operator's route.
    token: String,
}

/// A session in which staff acts as another user.
#[derive(Debug, Object)]
struct ActingAs {
    /// Access token, for the `Authorization` header as `Bearer …`.
    access_token: String,
    /// Token type: always `bearer`.
    token_type: String,
    /// Remaining time of the session in seconds. There is no refresh token.
    expires_in: u64,
    /// The impersonated user.
    user: User,
    /// Workspaces that the user may enter from this address.
    workspaces: Vec<Membership>,
    /// Id of the workspace last switched to; null if there is none, or the user may not enter it now.
    current_workspace_id: Option<WorkspaceId>,
}

/// Routes of the section.
pub struct ImpersonationApi;

#[OpenApi(prefix_path = "/auth/impersonation", tag = "Tag::Authentication")]
impl ImpersonationApi {
    /// Exchange an impersonation token for a session
    ///
    /// A token can be used once, within five minutes. The session ends an hour after the exchange and cannot be
    /// refreshed; it ends at once when the staff account is deactivated or loses its staff status. The user is
    /// notified by email. The audit log names the staff account as the actor. Actions whose effect would
    /// outlast the session or act in the user's name later are refused: all that need a permission of the scope
    /// `auth`, scheduled jobs, the password, the email address, sessions, tokens, and new workspaces.
    #[oai(
        path = "/exchange",
        method = "post",
        operation_id = "exchange_impersonation",
        tag = "Fails::TokenInvalid"
    )]
    async fn exchange(
        &self,
        app: Data<&App>,
        visitor: Visitor,
        exchange: Body<Exchange>,
    ) -> Answer<Json<ActingAs>> {
        let said = app.keys.check_impersonation_token(&exchange.token).ok_or_else(ApiError::token_invalid)?;
        let session = impersonation::exchange(&app.database, &said, &visitor.actor()).await?;
        let lifetime = Duration::from_secs(impersonation::LIFETIME.num_seconds().unsigned_abs());
        let (access_token, _) =
            app.keys.access_token(said.user, session, lifetime).map_err(ApiError::internal)?;
        let Doors { user, workspaces, current_workspace_id } =
            Doors::of(&app, &visitor, said.user, session).await?;
        Ok(Json(ActingAs {
            access_token,
            token_type: "bearer".to_owned(),
            expires_in: lifetime.as_secs(),
            user,
            workspaces,
            current_workspace_id,
        }))
    }
}
