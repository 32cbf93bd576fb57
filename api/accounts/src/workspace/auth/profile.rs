//! Profiles: one's own, and those of people one works with.

use api_kit::{Answer, ApiError, App, Body, SignedIn, Tag, avatar_path};
use domain::{
    UserId, WorkspaceDb, WorkspaceId,
    access::Role,
    avatars,
    users::{
        self, User, peers,
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
    /// Id of the workspace that they switched to last; null if there is none that they may enter.
    current_workspace_id: Option<Uuid>,
    /// Who they are in the workspace that was asked about.
    #[oai(skip_serializing_if_is_none)]
    member: Option<Member>,
}

/// What is to be different in one's own profile.
#[derive(Debug, Object)]
struct OwnProfileChanges {
    #[oai(flatten)]
    changes: ProfileChanges,
    /// The caller's password: needed to sign in with another address from now on.
    current_password: Option<String>,
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
        let current_workspace_id = workspaces::current_of(pool, caller.user).await?;
        Ok(Json(Me { user: shown(&app, user), workspaces, current_workspace_id, member }))
    }

    /// Edit the caller's profile
    ///
    /// It changes in all of their workspaces. Another address takes the password, and the old one is told.
    #[oai(path = "/me", method = "patch", operation_id = "update_current_user")]
    async fn edit_own(
        &self,
        app: Data<&App>,
        caller: SignedIn,
        changes: Body<OwnProfileChanges>,
    ) -> Answer<Json<User>> {
        let OwnProfileChanges { changes, current_password } = changes.0;
        let shown = users::find(&app.database.pool, caller.user).await?;
        let changes = without_own_link(shown, changes);
        let who = (caller.user, caller.session);
        let edited =
            profile::edit_own(&app.database, who, changes, current_password, &caller.actor()).await?;
        Ok(Json(finish(&app, edited).await))
    }

    /// Show a person
    ///
    /// As the workspace shows them that `X-Workspace-Id` names, or else one that both are in. For callers whose role
    /// there equals or outranks theirs.
    #[oai(path = "/:user_id", method = "get", operation_id = "get_user")]
    async fn get(
        &self,
        app: Data<&App>,
        caller: SignedIn,
        user_id: Path<Uuid>,
        #[oai(name = "X-Workspace-Id")] workspace: Header<Option<Uuid>>,
    ) -> Answer<Json<User>> {
        let within = workspace.0.map(WorkspaceId);
        let user = peers::view(&app.database, caller.user, UserId(user_id.0), within).await?;
        Ok(Json(shown(&app, user)))
    }

    /// Edit a person
    ///
    /// Needs the permission `members:edit` in a workspace that both are in, in a role that equals or outranks
    /// theirs; `X-Workspace-Id` names it if both are in several. Changes how the workspace shows the person: name, title,
    /// phone, bio and picture are those of its member, and null leaves them to the account. The account itself, and
    /// with it the address, changes only where the workspace manages it: where it was made by accepting the workspace's
    /// invitation and its owner is in no other workspace since. A role above the caller's is refused (403), and so is
    /// taking the role from the last owner (409 `last_owner`).
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
        let shown = peers::view(&app.database, who.0, who.1, within).await.ok();
        let changes = without_own_link(shown, changes);
        let edited = peers::edit(&app.database, who, within, changes, role, &caller.actor()).await?;
        Ok(Json(finish(&app, edited).await))
    }
}

/// A form that sends a profile back as it was shown sends the link to the picture with it: that is no change.
fn without_own_link(shown: Option<User>, changes: ProfileChanges) -> ProfileChanges {
    let MaybeUndefined::Value(link) = &changes.avatar_url else { return changes };
    let path = link.split('?').next().unwrap_or_default();
    let picture = shown.and_then(|user| user.avatar_url);
    let is_own = picture.as_deref().and_then(avatar_path).is_some_and(|own| own == path);
    if is_own { ProfileChanges { avatar_url: MaybeUndefined::Undefined, ..changes } } else { changes }
}

async fn finish(app: &App, edited: Edited) -> User {
    avatars::remove(&app.storage, edited.dropped_picture).await;
    shown(app, edited.user)
}
