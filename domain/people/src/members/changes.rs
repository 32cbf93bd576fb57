//! Changing members. Whoever does it reaches as far as their own role: nobody makes or
//! changes somebody who is more than they are, and the last owner stays one.

use domain::{
    Accounts, Event, MemberId, Name, Patch, Text, UserId, WorkspaceDb,
    access::{Held, Reach, Role},
    standing::{self, To, Whose},
};
use poem_openapi::Object;

use super::{MemberError, MemberProfile, get};

/// Changes to a member; what is absent stays as it is, and null leaves it to the account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Object)]
pub struct MemberChanges {
    /// What they want to be called here.
    pub display_name: Patch<Name<255>>,
    /// What they do.
    pub title: Patch<Text<255>>,
    /// Their telephone.
    pub phone: Patch<Text<50>>,
    /// A few words about them.
    pub bio: Patch<Text<5000>>,
    /// Whether they have been shown around.
    pub onboarding_completed: Option<bool>,
    /// What they are here, at most what the caller is. Needs `members:edit`.
    pub role: Option<Role>,
    /// Whether they get in. Needs `members:edit`.
    pub is_active: Option<bool>,
}

/// Changes a member, as far as the caller reaches.
///
/// # Errors
/// [`MemberError::OthersOnlyWithPermission`], [`MemberError::AboveYou`], [`MemberError::LastOwner`]
pub async fn update(
    db: &mut WorkspaceDb,
    (caller, reach): (&Held, Reach),
    id: MemberId,
    changes: MemberChanges,
) -> Result<MemberProfile, MemberError> {
    let before = get(db, id).await?;
    let is_own = db.actor().user_id == Some(before.user_id);
    if !is_own && reach != Reach::Own && before.role > caller.role() {
        return Err(MemberError::AboveYou(before.role));
    }
    if reach == Reach::Own && (!is_own || changes.role.is_some() || changes.is_active.is_some()) {
        return Err(MemberError::OthersOnlyWithPermission);
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

/// Whose picture is to be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberPictureOf {
    /// The person's own, in all their workspaces.
    Account(UserId),
    /// The one that they are shown with here.
    Member(UserId),
}

/// Whose picture a member's is, if the caller may change it: one's own is the account's, and so is that of an account
/// that the workspace manages; with the permission, that of whoever isn't more than the caller, here.
///
/// # Errors
/// [`MemberError::OthersOnlyWithPermission`], [`MemberError::AboveYou`]
pub async fn may_picture(
    db: &mut WorkspaceDb,
    (caller, reach): (Role, Reach),
    id: MemberId,
) -> Result<MemberPictureOf, MemberError> {
    let member = get(db, id).await?;
    let user = member.user_id;
    match reach {
        _ if db.actor().user_id == Some(user) => return Ok(MemberPictureOf::Account(user)),
        Reach::Own => return Err(MemberError::OthersOnlyWithPermission),
        Reach::All if member.role > caller => return Err(MemberError::AboveYou(member.role)),
        Reach::All => {}
    }
    let workspace = db.workspace();
    let is_managed = db
        .with_accounts(async |accounts| standing::is_managed(accounts.conn(), user, workspace).await)
        .await?;
    Ok(if is_managed { MemberPictureOf::Account(user) } else { MemberPictureOf::Member(user) })
}

/// Locks the workspace's row, as everybody does first who changes who owns it, so that two owners can't
/// take each other out; answers with this member's role as it is now.
pub(super) async fn hold_standing(accounts: &mut Accounts<'_>, id: MemberId) -> Result<Role, MemberError> {
    let workspace = accounts.workspace();
    standing::hold(accounts.conn(), workspace).await?;
    let role = sqlx::query_scalar!(
        "select role from memberships where id = $1 and workspace_id = $2",
        id.0,
        workspace.0,
    );
    role.fetch_optional(accounts.conn()).await?.ok_or(MemberError::NotFound)
}

/// Says no when nobody else is an owner who gets in. After [`hold_standing`].
pub(super) async fn keep_an_owner(accounts: &mut Accounts<'_>, leaving: MemberId) -> Result<(), MemberError> {
    let workspace = accounts.workspace();
    let another = standing::has_another_owner(accounts.conn(), workspace, leaving).await?;
    if another { Ok(()) } else { Err(MemberError::LastOwner) }
}
