//! Adding members and changing them. Whoever does it reaches as far as their own role: nobody makes or
//! changes somebody who is more than they are, and the last owner stays one.

use poem_openapi::{Object, types::MaybeUndefined};
use serde_json::json;
use uuid::Uuid;

use super::{MemberError, MemberProfile, error::invalid, get};
use crate::{
    Event, UserId, WorkspaceDb,
    access::{Reach, Role},
    users::Email,
};

/// Someone to add: a person with an account.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct NewMember {
    /// The address of their account; this or `user_id`.
    #[oai(validator(max_length = 254))]
    pub email: Option<String>,
    /// Their account.
    pub user_id: Option<Uuid>,
    /// What they will be here, at most what the caller is; `member` if absent.
    pub role: Option<Role>,
    /// What they are called here.
    #[oai(validator(min_length = 1, max_length = 255))]
    pub display_name: Option<String>,
    /// What they do.
    #[oai(validator(max_length = 255))]
    pub title: Option<String>,
    /// Their telephone.
    #[oai(validator(max_length = 50))]
    pub phone: Option<String>,
    /// A few words about them.
    #[oai(validator(max_length = 5000))]
    pub bio: Option<String>,
}

/// Changes to a member; what is absent stays as it is, and null leaves it to the account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Object)]
pub struct MemberChanges {
    /// What they want to be called here.
    #[oai(validator(min_length = 1, max_length = 255))]
    pub display_name: MaybeUndefined<String>,
    /// What they do.
    #[oai(validator(max_length = 255))]
    pub title: MaybeUndefined<String>,
    /// Their telephone.
    #[oai(validator(max_length = 50))]
    pub phone: MaybeUndefined<String>,
    /// A few words about them.
    #[oai(validator(max_length = 5000))]
    pub bio: MaybeUndefined<String>,
    /// Whether they have been shown around.
    pub onboarding_completed: Option<bool>,
    /// What they are here, at most what the caller is. Needs `members:edit`.
    pub role: Option<Role>,
    /// Whether they get in. Needs `members:edit`.
    pub is_active: Option<bool>,
}

/// Adds a person who has an account, as someone of at most the caller's role. Whoever was invited and
/// has not answered is in with that.
///
/// # Errors
/// [`MemberError::Invalid`] when nobody has that account; [`MemberError::AboveYou`];
/// [`MemberError::AlreadyMember`], also for someone whose access is switched off.
pub async fn add(db: &mut WorkspaceDb, caller: Role, new: NewMember) -> Result<MemberProfile, MemberError> {
    let role = new.role.unwrap_or(Role::Member);
    if new.email.is_none() && new.user_id.is_none() {
        return Err(MemberError::Missing(vec!["email".to_owned()]));
    }
    if role > caller {
        return Err(MemberError::AboveYou(role));
    }
    db.with_accounts().await?;
    let user = sqlx::query!(
        "select id, email, name from users
          where is_active
            and ($1::uuid is null or id = $1)
            and (not $3 or (email_key = $2 and (email_verified_at is not null or password_hash is null)))
            for no key update",
        new.user_id,
        new.email.as_deref().and_then(Email::key_of),
        new.email.is_some(),
    )
    .fetch_optional(db.conn())
    .await?
    .ok_or_else(|| {
        let field = if new.email.is_some() { "email" } else { "user_id" };
        invalid(field, "nobody has an account by that: invite them")
    })?;
    let id = membership(db, user.id, role).await?;
    sqlx::query!(
        "insert into members (id, user_id, name, email, display_name, title, phone, bio)
         values ($1, $2, $3, $4, $5, $6, $7, $8)
         on conflict (user_id) do nothing returning id",
        id,
        user.id,
        user.name,
        user.email,
        new.display_name,
        new.title,
        new.phone,
        new.bio,
    )
    .fetch_optional(db.conn())
    .await?
    .ok_or(MemberError::AlreadyMember)?;
    sqlx::query!(
        "update users set current_workspace_id = $2 where id = $1 and current_workspace_id is null",
        user.id,
        db.workspace().0,
    )
    .execute(db.conn())
    .await?;
    let added = get(db, id).await?;
    db.record(Event::new("member", "created", id, json!({ "user_id": user.id, "role": role }))).await?;
    Ok(added)
}

/// The person's membership: the one that was kept when they were taken out, that of the invitation they
/// have not answered, or a new one.
async fn membership(db: &mut WorkspaceDb, user: Uuid, role: Role) -> Result<Uuid, MemberError> {
    let workspace = db.workspace().0;
    let invitation = sqlx::query_scalar!(
        "update invitations set accepted_at = now()
          where workspace_id = $1 and user_id = $2 and accepted_at is null and cancelled_at is null
          returning id",
        workspace,
        user,
    )
    .fetch_optional(db.conn())
    .await?;
    // Only a membership that was kept, and so is switched off, becomes another role's here.
    let id = sqlx::query_scalar!(
        "insert into memberships as m (id, workspace_id, user_id, role) values ($1, $2, $3, $4)
         on conflict (workspace_id, user_id)
             do update set role = excluded.role, is_active = true where not m.is_active
         returning id",
        invitation.unwrap_or_else(Uuid::now_v7),
        workspace,
        user,
        role.name(),
    )
    .fetch_optional(db.conn())
    .await?;
    id.ok_or(MemberError::AlreadyMember)
}

/// Changes a member, as far as the caller reaches.
///
/// # Errors
/// [`MemberError::OthersOnlyWithPermission`], [`MemberError::AboveYou`], [`MemberError::LastOwner`]
pub async fn update(
    db: &mut WorkspaceDb,
    (caller, reach): (Role, Reach),
    id: Uuid,
    changes: MemberChanges,
) -> Result<MemberProfile, MemberError> {
    let before = get(db, id).await?;
    if reach == Reach::Own {
        let is_own = db.user_id() == Some(before.user_id);
        if !is_own || changes.role.is_some() || changes.is_active.is_some() {
            return Err(MemberError::OthersOnlyWithPermission);
        }
    }
    if changes.role.is_some() || changes.is_active.is_some() {
        change_standing(db, caller, &before, &changes).await?;
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
        id,
        !changes.display_name.is_undefined(),
        changes.display_name.value(),
        !changes.title.is_undefined(),
        changes.title.value(),
        !changes.phone.is_undefined(),
        changes.phone.value(),
        !changes.bio.is_undefined(),
        changes.bio.value(),
        changes.onboarding_completed,
        changes.is_active,
    )
    .execute(db.conn())
    .await?;
    let after = get(db, id).await?;
    db.record(Event::new("member", "updated", id, &after)).await?;
    Ok(after)
}

/// Whose picture a member's is, if the caller may change it: their own, or with the permission that of
/// whoever isn't more than they are. A person has one picture, in all their workspaces.
///
/// # Errors
/// [`MemberError::OthersOnlyWithPermission`], [`MemberError::AboveYou`]
pub async fn may_picture(
    db: &mut WorkspaceDb,
    (caller, reach): (Role, Reach),
    id: Uuid,
) -> Result<UserId, MemberError> {
    let member = get(db, id).await?;
    let is_own = db.user_id() == Some(member.user_id);
    match reach {
        _ if is_own => {}
        Reach::Own => return Err(MemberError::OthersOnlyWithPermission),
        Reach::All if member.role > caller => return Err(MemberError::AboveYou(member.role)),
        Reach::All => {}
    }
    Ok(UserId(member.user_id))
}

/// Changes what someone is here, or whether they get in.
async fn change_standing(
    db: &mut WorkspaceDb,
    caller: Role,
    before: &MemberProfile,
    changes: &MemberChanges,
) -> Result<(), MemberError> {
    let current = hold_standing(db, before.id).await?;
    let role = changes.role.unwrap_or(current);
    if let Some(above) = [current, role].into_iter().find(|&role| role > caller) {
        return Err(MemberError::AboveYou(above));
    }
    if current == Role::Owner && (role != Role::Owner || changes.is_active == Some(false)) {
        keep_an_owner(db, before.id).await?;
    }
    sqlx::query!(
        "update memberships set role = $2, is_active = coalesce($3, is_active) where id = $1",
        before.id,
        role.name(),
        changes.is_active,
    )
    .execute(db.conn())
    .await?;
    Ok(())
}

/// Locks the workspace's row, as everybody does first who changes who owns it, so that two owners can't
/// take each other out; answers with this member's role as it is now.
pub(super) async fn hold_standing(db: &mut WorkspaceDb, id: Uuid) -> Result<Role, MemberError> {
    let workspace = db.workspace().0;
    sqlx::query!("select id from workspaces where id = $1 for no key update", workspace)
        .fetch_one(db.conn())
        .await?;
    let role = sqlx::query_scalar!(
        r#"select role as "role: Role" from memberships where id = $1 and workspace_id = $2"#,
        id,
        workspace,
    );
    role.fetch_optional(db.conn()).await?.ok_or(MemberError::NotFound)
}

/// Says no when nobody else is an owner who gets in. After [`hold_standing`].
pub(super) async fn keep_an_owner(db: &mut WorkspaceDb, leaving: Uuid) -> Result<(), MemberError> {
    let workspace = db.workspace().0;
    let another = sqlx::query_scalar!(
        r#"select exists (select from memberships m join users u on u.id = m.user_id
                           where m.workspace_id = $1 and m.role = 'owner' and m.id <> $2
                             and m.is_active and u.is_active) as "another!""#,
        workspace,
        leaving,
    )
    .fetch_one(db.conn())
    .await?;
    if another { Ok(()) } else { Err(MemberError::LastOwner) }
}
