//! Changing members. A caller's reach ends at their own role: a caller neither grants a role above their own
//! nor changes a member who has one, and the last owner stays one.

use domain::{
    Accounts, Error, Event, MemberId, Name, Patch, Text, UserId, WorkspaceDb,
    access::{Denied, Held, Lacking, Reach, Role},
    standing::{self, To, Whose},
};
use poem_openapi::Object;

use super::{MemberProfile, get};

/// The error of members who change others, or their own role or access.
const NEEDS_EDIT: Denied = Denied { permission: "members:edit", lacking: Lacking::Permission };

/// Changes to a member: absent fields stay unchanged; for a nullable field, null restores the account's value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Object)]
pub struct MemberChanges {
    /// Display name in this workspace; null to show the account's name.
    pub display_name: Patch<Name<255>>,
    /// Job title; null to show the account's.
    pub title: Patch<Text<255>>,
    /// Phone number; null to show the account's.
    pub phone: Patch<Text<50>>,
    /// Short biography; null to show the account's.
    pub bio: Patch<Text<5000>>,
    /// Whether the onboarding is completed.
    pub onboarding_completed: Option<bool>,
    /// Role, at most the caller's. Needs `members:edit`.
    pub role: Option<Role>,
    /// Whether the member can sign in to this workspace. Needs `members:edit`.
    pub is_active: Option<bool>,
}

/// Changes a member, within the caller's reach.
///
/// # Errors
/// `forbidden`, `last_owner`
pub async fn update(
    db: &mut WorkspaceDb,
    (caller, reach): (&Held, Reach),
    id: MemberId,
    changes: MemberChanges,
) -> Result<MemberProfile, Error> {
    let before = get(db, id).await?;
    let is_own = db.actor().user_id == Some(before.user_id);
    if !is_own && reach != Reach::Own && before.role > caller.role() {
        return Err(standing::above_caller(before.role));
    }
    if reach == Reach::Own && (!is_own || changes.role.is_some() || changes.is_active.is_some()) {
        return Err(NEEDS_EDIT.into());
    }
    if changes.role.is_some() || changes.is_active.is_some() {
        let to = To { role: changes.role, is_active: changes.is_active };
        let (workspace, actor) = (db.workspace(), db.actor().clone());
        db.with_accounts(async |accounts| {
            standing::change(accounts.conn(), workspace, (caller, &actor), Whose::Member(before.id), to).await
        })
        .await?;
    }
    sqlx::query!(
        "update members
            set display_name = case when $2 then $3 else display_name end,
                title = case when $4 then $5 else title end,
                phone = case when $6 then $7 else phone end,
                bio = case when $8 then $9 else bio end,
                onboarded_at = case $10::boolean when true then coalesce(onboarded_at, now())
                                                 when false then null else onboarded_at end,
                is_active = coalesce($11, is_active),
                updated_at = now()
          where id = $1",
        id.0,
        changes.display_name.is_given(),
        changes.display_name.value().map(Name::as_str),
        changes.title.is_given(),
        changes.title.value().map(Text::as_str),
        changes.phone.is_given(),
        changes.phone.value().map(Text::as_str),
        changes.bio.is_given(),
        changes.bio.value().map(Text::as_str),
        changes.onboarding_completed,
        changes.is_active,
    )
    .execute(db.conn())
    .await?;
    let after = get(db, id).await?;
    db.record(Event::new("member", "updated", id, &after)).await?;
    Ok(after)
}

/// Storage key of a member's avatar image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberPictureOf {
    /// With the account, for all its workspaces.
    Account(UserId),
    /// With the member, for this workspace.
    Member(UserId),
}

/// Storage key of this member's image, if the caller may change it: the caller's own and that of an
/// account that the workspace manages with the account; with the permission, that of a member with no higher
/// role with the member.
///
/// # Errors
/// `forbidden`
pub async fn may_picture(
    db: &mut WorkspaceDb,
    (caller, reach): (Role, Reach),
    id: MemberId,
) -> Result<MemberPictureOf, Error> {
    let member = get(db, id).await?;
    let user = member.user_id;
    match reach {
        _ if db.actor().user_id == Some(user) => return Ok(MemberPictureOf::Account(user)),
        Reach::Own => return Err(NEEDS_EDIT.into()),
        Reach::All if member.role > caller => return Err(standing::above_caller(member.role)),
        Reach::All => {}
    }
    let workspace = db.workspace();
    let is_managed = db
        .with_accounts(async |accounts| standing::is_managed(accounts.conn(), user, workspace).await)
        .await?;
    Ok(if is_managed { MemberPictureOf::Account(user) } else { MemberPictureOf::Member(user) })
}

/// Locks the workspace's row, the first step of every change of owners, so that two owners can't
/// remove each other; answers the member's present role.
pub(super) async fn hold_standing(accounts: &mut Accounts<'_>, id: MemberId) -> Result<Role, Error> {
    let workspace = accounts.workspace();
    standing::hold(accounts.conn(), workspace).await?;
    let role = sqlx::query_scalar!(
        "select role from memberships where id = $1 and workspace_id = $2",
        id.0,
        workspace.0,
    );
    role.fetch_optional(accounts.conn()).await?.ok_or_else(Error::not_found)
}

/// Refuses when no other active owner is left. To be called after [`hold_standing`].
pub(super) async fn keep_an_owner(accounts: &mut Accounts<'_>, leaving: MemberId) -> Result<(), Error> {
    let workspace = accounts.workspace();
    let another = standing::has_another_owner(accounts.conn(), workspace, leaving).await?;
    if another { Ok(()) } else { Err(Error::last_owner()) }
}
