//! Staff who act as somebody: the exchange of what an operator has handed out.

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

/// A token to exchange.
#[derive(Debug, Object)]
struct Exchange {
    /// What the operator's route has answered.
    token: String,
}

/// A session in which a member of staff acts as a user.
#[derive(Debug, Object)]
struct ActingAs {
    /// For the `Authorization` header, as `Bearer …`.
    access_token: String,
    /// Always `bearer`.
    token_type: String,
    /// Seconds until the session ends. There is no refresh token.
    expires_in: u64,
    /// The person.
    user: User,
    /// The workspaces that they may enter, from this address.
    workspaces: Vec<Membership>,
    /// The workspace that they last switched to; null if there is none, or they may not enter it now.
    current_workspace_id: Option<WorkspaceId>,
}

/// See the module.
pub struct ImpersonationApi;

#[OpenApi(prefix_path = "/auth/impersonation", tag = "Tag::Authentication")]
impl ImpersonationApi {
    /// Exchange an impersonation token for a session
    ///
    /// A token is good once, for five minutes. The session ends an hour after the exchange and can't be refreshed; it
    /// ends at once when the member of staff is deactivated or is staff no more. The person is told by mail. What is
    /// done in the session is noted as done by the member of staff. What would outlast it or goes on in the person's
    /// name is refused: all that takes a permission of the scope `auth`, scheduled jobs, the password, the address,
    /// sessions, tokens, and new workspaces.
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
