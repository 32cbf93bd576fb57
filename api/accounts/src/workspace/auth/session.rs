//! Signing in and out, and who one is.

use api_kit::{Answer, ApiError, App, Body, SignedIn, Tag, Visitor};
use domain::{
    UserId, WorkspaceDb, WorkspaceId, sessions,
    users::{self, User},
    workspaces::{self, Member, Membership},
};
use poem::web::Data;
use poem_openapi::{Object, OpenApi, param::Query, payload::Json};
use uuid::Uuid;

use super::{Done, LoggedIn, Tokens, shown, shown_member};

/// Who signs in.
#[derive(Debug, Object)]
struct Login {
    /// The account's address.
    email: String,
    /// Its password.
    password: String,
}

/// A token to trade.
#[derive(Debug, Object)]
struct Refresh {
    /// The newest refresh token of the session.
    refresh_token: String,
}

/// Who the caller is.
#[derive(Debug, Object)]
struct Me {
    #[oai(flatten)]
    user: User,
    /// Where they may go.
    workspaces: Vec<Membership>,
    /// Who they are in the workspace that was asked about.
    #[oai(skip_serializing_if_is_none)]
    member: Option<Member>,
}

/// See the module.
pub struct SessionApi;

#[OpenApi(prefix_path = "/auth", tag = "Tag::Authentication")]
impl SessionApi {
    /// Sign in
    ///
    /// After five failures in an hour an address is locked, for one minute at first and for up to 15 minutes as
    /// they go on, whether or not somebody has it; after fifty, so is the client's address. Until then even the
    /// right password is answered with 429 and `Retry-After`.
    #[oai(path = "/login", method = "post", operation_id = "login")]
    async fn login(&self, app: Data<&App>, visitor: Visitor, login: Body<Login>) -> Answer<Json<LoggedIn>> {
        let Login { email, password } = login.0;
        let opened = sessions::sign_in(&app.database, &email, password, &visitor.actor()).await?;
        LoggedIn::of(&app, opened).await.map(Json)
    }

    /// Trade a refresh token for new tokens
    ///
    /// Each refresh token is good once. One that comes a second time ends its session at once, because
    /// two parties hold it: refresh from one place, and keep what is answered.
    #[oai(path = "/refresh", method = "post", operation_id = "refresh_tokens")]
    async fn refresh(&self, app: Data<&App>, refresh: Body<Refresh>) -> Answer<Json<Tokens>> {
        let opened = sessions::refresh(&app.database, &refresh.refresh_token).await?;
        Ok(Json(Tokens::of(&app, opened)?))
    }

    /// Sign out
    ///
    /// The session's tokens, and the tickets of its jobs' streams, are worthless at once.
    #[oai(path = "/logout", method = "post", operation_id = "logout")]
    async fn logout(&self, app: Data<&App>, caller: SignedIn) -> Answer<Json<Done>> {
        sessions::end(&app.database, caller.session, &caller.actor()).await?;
        Ok(Json(Done::saying("Signed out.")))
    }

    /// Tell the caller who they are
    #[oai(path = "/me", method = "get", operation_id = "get_current_user")]
    async fn me(
        &self,
        app: Data<&App>,
        caller: SignedIn,
        /// Adds the caller's member of that workspace.
        workspace_id: Query<Option<Uuid>>,
    ) -> Answer<Json<Me>> {
        let pool = &app.database.pool;
        let user = users::find(pool, caller.user).await?.ok_or_else(ApiError::token_invalid)?;
        let workspaces = workspaces::of_user(pool, UserId(user.id)).await?;
        let member = match workspace_id.0 {
            None => None,
            Some(id) if workspaces.iter().any(|workspace| workspace.id == id) => {
                let mut db = WorkspaceDb::read(&app.database, WorkspaceId(id), caller.actor()).await?;
                workspaces::own_member(&mut db).await?.map(|member| shown_member(&app, member))
            }
            Some(_) => return Err(ApiError::not_found()),
        };
        Ok(Json(Me { user: shown(&app, user), workspaces, member }))
    }
}
