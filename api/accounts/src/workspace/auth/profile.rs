//! Profiles: one's own, and those of people one works with.

use api_kit::{Answer, ApiError, App, Body, SignedIn, Tag, avatar_path};
use domain::{
    UserId, WorkspaceDb, WorkspaceId,
    access::Role,
    avatars,
    users::{
        self, User, addresses, peers,
        profile::{self, Edited, ProfileChanges},
    },
    workspaces::{self, Member, Membership},
};
use poem::web::Data;
use poem_openapi::{
    Object, OpenApi,
    param::{Header, Path, Query},
    payload::Json,
    types::MaybeUndefined,
};
use uuid::Uuid;

use super::{shown, shown_member};

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

/// What is to be different in one's own profile.
#[derive(Debug, Object)]
struct OwnProfileChanges {
    #[oai(flatten)]
    changes: ProfileChanges,
    /// The caller's password: needed to change the address.
    current_password: Option<String>,
}

/// A new address to confirm.
#[derive(Debug, Object)]
struct EmailConfirmation {
    /// The token of the link that was mailed there.
    token: String,
}

/// What is to be different in somebody's profile.
#[derive(Debug, Object)]
struct UserChanges {
    #[oai(flatten)]
    changes: ProfileChanges,
    /// What they are to be in the workspace that `X-Workspace-Id` names, or in the only one that both are in;
    /// never more than the caller is there.
    role: Option<Role>,
}

/// See the module.
pub struct ProfileApi;

#[OpenApi(prefix_path = "/auth", tag = "Tag::Authentication")]
impl ProfileApi {
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

    /// Edit the caller's profile
    ///
    /// It changes in all of their workspaces. Another address takes the password; it waits as `pending_email` until the
    /// link that is mailed there is used, within 24 hours, and the old address is told. To give a change up, set `email`
    /// to the present address.
    #[oai(path = "/me", method = "patch", operation_id = "update_current_user")]
    async fn edit_own(
        &self,
        app: Data<&App>,
        caller: SignedIn,
        changes: Body<OwnProfileChanges>,
    ) -> Answer<Json<User>> {
        let OwnProfileChanges { changes, current_password } = changes.0;
        let changes = without_own_link(&app, caller.user, changes).await?;
        let who = (caller.user, caller.session);
        let edited = profile::edit_own(
            &app.database,
            who,
            changes,
            current_password,
            &confirm_link(&app),
            &caller.actor(),
        )
        .await?;
        Ok(Json(finish(&app, edited).await))
    }

    /// Confirm another address
    ///
    /// By the token of the link that was mailed there, signed in to the account. The session goes on, all others end,
    /// and the old address is told.
    #[oai(path = "/me/email/confirm", method = "post", operation_id = "confirm_email_change")]
    async fn confirm_email(
        &self,
        app: Data<&App>,
        caller: SignedIn,
        confirmation: Body<EmailConfirmation>,
    ) -> Answer<Json<User>> {
        let who = (caller.user, caller.session);
        let user = addresses::confirm(&app.database, who, &confirmation.token, &caller.actor()).await?;
        Ok(Json(shown(&app, user)))
    }

    /// Show a person
    ///
    /// For who is in a workspace with them, in a role that equals or outranks theirs; in the one that
    /// `X-Workspace-Id` names, or else in any.
    #[oai(path = "/:user_id", method = "get", operation_id = "get_user")]
    async fn get(
        &self,
        app: Data<&App>,
        caller: SignedIn,
        user_id: Path<Uuid>,
        #[oai(name = "X-Workspace-Id")] workspace: Header<Option<Uuid>>,
    ) -> Answer<Json<User>> {
        let within = workspace.0.map(WorkspaceId);
        let user = peers::view(&app.database.pool, caller.user, UserId(user_id.0), within).await?;
        Ok(Json(shown(&app, user)))
    }

    /// Edit a person
    ///
    /// Needs the permission `members:edit` in a workspace that both are in, in a role that equals or outranks
    /// theirs. Another address can only be given to who belongs to no workspace beyond the caller's authority,
    /// since it opens the whole account. Nobody gives a role above their own, and the last owner stays one.
    #[oai(path = "/:user_id", method = "patch", operation_id = "update_user")]
    async fn edit(
        &self,
        app: Data<&App>,
        caller: SignedIn,
        user_id: Path<Uuid>,
        #[oai(name = "X-Workspace-Id")] workspace: Header<Option<Uuid>>,
        changes: Body<UserChanges>,
    ) -> Answer<Json<User>> {
        let UserChanges { changes, role } = changes.0;
        let (who, within) = ((caller.user, UserId(user_id.0)), workspace.0.map(WorkspaceId));
        let changes = without_own_link(&app, who.1, changes).await?;
        let edited =
            peers::edit(&app.database, who, within, changes, role, &confirm_link(&app), &caller.actor())
                .await?;
        Ok(Json(finish(&app, edited).await))
    }
}

/// A form that sends a profile back as it was shown sends the link to the picture with it: that is no change.
async fn without_own_link(app: &App, user: UserId, changes: ProfileChanges) -> Answer<ProfileChanges> {
    let MaybeUndefined::Value(link) = &changes.avatar_url else { return Ok(changes) };
    let path = link.split('?').next().unwrap_or_default();
    let picture = users::find(&app.database.pool, user).await?.and_then(|user| user.avatar_url);
    let is_own = picture.as_deref().and_then(avatar_path).is_some_and(|own| own == path);
    Ok(if is_own { ProfileChanges { avatar_url: MaybeUndefined::Undefined, ..changes } } else { changes })
}

/// The page of the web app that confirms another address.
fn confirm_link(app: &App) -> String {
    app.config.app_link("confirm-email", &[])
}

async fn finish(app: &App, edited: Edited) -> User {
    avatars::remove(&app.storage, edited.dropped_picture).await;
    shown(app, edited.user)
}
