//! Profiles: the caller's own, and those of members of the caller's workspaces.

use api_kit::{Answer, ApiError, App, Body, Fails, InPerson, SignedIn, TypeId, avatar_path};
use domain::{Patch, UserId, WorkspaceDb, WorkspaceId, access::Role, callers::Authority};
use domain_accounts::{
    avatars,
    users::{
        self, User, addresses,
        peers::{self, Peer},
        profile::{self, Edited, ProfileChanges},
    },
    workspaces::{self, Member, Membership},
};
use jobs::Tx;
use poem::web::Data;
use poem_openapi::{
    Object, OpenApi,
    param::{Header, Path, Query},
    payload::Json,
};

use super::{Tag, shown, shown_member};

/// The caller's account.
#[derive(Debug, Object)]
struct Me {
    #[oai(flatten)]
    user: User,
    /// Workspaces that the caller may enter now; workspaces whose allowlist excludes the caller's address, or
    /// that need a more recent sign-in, are left out.
    workspaces: Vec<Membership>,
    /// Id of the workspace last switched to; null if there is none, or the caller may not enter it now.
    current_workspace_id: Option<WorkspaceId>,
    /// The caller's member of the requested workspace; null if none was requested.
    #[oai(skip_serializing_if_is_none)]
    member: Option<Member>,
}

/// Changes to the caller's own profile.
#[derive(Debug, Object)]
struct OwnProfileChanges {
    #[oai(flatten)]
    changes: ProfileChanges,
    /// Current password; required for a change of the email address.
    current_password: Option<String>,
}

/// A new email address to confirm.
#[derive(Debug, Object)]
struct EmailConfirmation {
    /// Token of the link that was sent to the address.
    token: String,
}

/// Changes to a user's profile.
#[derive(Debug, Object)]
struct UserChanges {
    #[oai(flatten)]
    changes: ProfileChanges,
    /// Role in the workspace that `X-Workspace-Id` names, or in the only one that both belong to;
    /// at most the caller's role there.
    role: Option<Role>,
}

/// Routes of the section.
pub struct ProfileApi;

#[OpenApi(prefix_path = "/auth", tag = "Tag::Authentication")]
impl ProfileApi {
    /// Show the caller's account
    #[oai(path = "/me", method = "get", operation_id = "get_current_user", tag = "Fails::RecordNotFound")]
    async fn me(
        &self,
        app: Data<&App>,
        caller: SignedIn,
        /// Id of a workspace whose member of the caller to include.
        workspace_id: Query<Option<WorkspaceId>>,
    ) -> Answer<Json<Me>> {
        let pool = &app.database.pool;
        let user = users::find(pool, caller.user).await?.ok_or_else(ApiError::token_invalid)?;
        let member = match workspace_id.0 {
            None => None,
            Some(id) => {
                let authority = caller.authority_in(&app, id).await?;
                let mut db = WorkspaceDb::read(&app.database, authority.workspace(), caller.actor()).await?;
                workspaces::own_member(&mut db, authority.role())
                    .await?
                    .map(|member| shown_member(&app, member))
            }
        };
        let entered = caller.authorities(&app, None).await?;
        let workspaces = workspaces::entered(pool, &entered).await?;
        let current = workspaces::current(pool, caller.user, &entered).await?;
        Ok(Json(Me { user: shown(&app, user), workspaces, current_workspace_id: current, member }))
    }

    /// Edit the caller's profile
    ///
    /// The change applies to all workspaces of the account. A new email address needs the password; it is shown
    /// as `pending_email` until the link sent to it is used, within 24 hours, and the old address is notified.
    /// To cancel the change, set `email` to the present address.
    #[oai(path = "/me", method = "patch", operation_id = "update_current_user", tag = "Fails::EmailTaken")]
    async fn edit_own(
        &self,
        app: Data<&App>,
        caller: InPerson,
        changes: Body<OwnProfileChanges>,
    ) -> Answer<Json<User>> {
        let OwnProfileChanges { changes, current_password } = changes.0;
        let shown = users::find(&app.database.pool, caller.user).await?;
        let changes = without_own_link(shown, changes);
        let who = (caller.user, caller.session);
        let (link, actor) = (confirm_link(&app), caller.actor());
        profile::check_own(&app.database, who, &changes, current_password, &actor).await?;
        let edit = async |tx: &mut Tx| profile::edit(tx, caller.user, changes, &link, &actor).await;
        let edited = caller.change_shared(&app, edit).await?;
        Ok(Json(finish(&app, edited).await))
    }

    /// Confirm a new email address
    ///
    /// With the token of the link that was sent there, signed in to the account. The session continues, all
    /// others end, and the old address is notified.
    #[oai(
        path = "/me/email/confirm",
        method = "post",
        operation_id = "confirm_email_change",
        tag = "Fails::EmailTaken"
    )]
    async fn confirm_email(
        &self,
        app: Data<&App>,
        caller: InPerson,
        confirmation: Body<EmailConfirmation>,
    ) -> Answer<Json<User>> {
        let who = (caller.user, caller.session);
        let confirm =
            async |tx: &mut Tx| addresses::confirm(tx, who, &confirmation.token, &caller.actor()).await;
        let user = caller.change_shared(&app, confirm).await?;
        Ok(Json(shown(&app, user)))
    }

    /// Show a user
    ///
    /// As shown in the workspace that `X-Workspace-Id` names, or else in one that both belong to. For callers
    /// whose role there equals or outranks the user's.
    #[oai(path = "/:user_id", method = "get", operation_id = "get_user")]
    async fn get(
        &self,
        app: Data<&App>,
        caller: SignedIn,
        user_id: Path<UserId>,
        #[oai(name = "X-Workspace-Id")] workspace: Header<Option<TypeId<WorkspaceId>>>,
    ) -> Answer<Json<User>> {
        let (within, entered) = within(&app, &caller, workspace.0).await?;
        let peer = Peer::new(caller.user, &entered, within);
        let user = peers::view(&app.database, peer, user_id.0).await?;
        Ok(Json(shown(&app, user)))
    }

    /// Change a user's profile
    ///
    /// Needs the permission `members:edit` in a workspace that both belong to, and a role there that equals or
    /// outranks the user's; `X-Workspace-Id` names it if both belong to several. Changes how the workspace
    /// shows the user: name, title, phone, bio and avatar are those of the member, and null restores the
    /// account's value. The name of the account itself cannot be null (422). The account itself, and with it
    /// the email address, changes only where the workspace manages it: where it was created by accepting the
    /// workspace's invitation and its owner has joined no other workspace since. A role above the caller's is
    /// refused (403), and so is taking the role from the last owner (409 `last_owner`).
    #[oai(
        path = "/:user_id",
        method = "patch",
        operation_id = "update_user",
        tag = "Fails::EmailTaken",
        tag = "Fails::LastOwner"
    )]
    async fn edit(
        &self,
        app: Data<&App>,
        caller: InPerson,
        user_id: Path<UserId>,
        #[oai(name = "X-Workspace-Id")] workspace: Header<Option<TypeId<WorkspaceId>>>,
        changes: Body<UserChanges>,
    ) -> Answer<Json<User>> {
        let UserChanges { changes, role } = changes.0;
        let other = user_id.0;
        let (within, entered) = within(&app, &caller, workspace.0).await?;
        let peer = Peer::new(caller.user, &entered, within);
        let shown = peers::view(&app.database, peer, other).await.ok();
        let changes = without_own_link(shown, changes);
        let (link, actor) = (confirm_link(&app), caller.actor());
        let edit = async |tx: &mut Tx| peers::edit(tx, peer, other, changes, role, &link, &actor).await;
        let edited = caller.change_shared(&app, edit).await?;
        Ok(Json(finish(&app, edited).await))
    }
}

/// The workspace that a header names, which the caller must have entered, and the caller's authority everywhere.
pub(super) async fn within(
    app: &App,
    caller: &SignedIn,
    named: Option<TypeId<WorkspaceId>>,
) -> Answer<(Option<WorkspaceId>, Vec<Authority>)> {
    let within = named.map(|id| id.0);
    if let Some(workspace) = within {
        caller.authority_in(app, workspace).await?;
    }
    Ok((within, caller.authorities(app, None).await?))
}

/// A form that sends a profile back as shown includes the link to the avatar image: that is no change.
fn without_own_link(shown: Option<User>, changes: ProfileChanges) -> ProfileChanges {
    let Patch::Value(link) = &changes.avatar_url else { return changes };
    let path = link.split('?').next().unwrap_or_default();
    let picture = shown.and_then(|user| user.avatar_url);
    let is_own = picture.as_deref().and_then(avatar_path).is_some_and(|own| own == path);
    if is_own { ProfileChanges { avatar_url: Patch::Absent, ..changes } } else { changes }
}

/// The page of the web app that confirms another address.
fn confirm_link(app: &App) -> String {
    app.config.app_link("confirm-email", &[])
}

async fn finish(app: &App, edited: Edited) -> User {
    avatars::remove(&app.storage, edited.dropped_picture).await;
    shown(app, edited.user)
}
