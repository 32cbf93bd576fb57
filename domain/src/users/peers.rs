//! What people may do to each other's accounts: in a workspace that both are in, whose role there equals or
//! outranks the other's, as far as their role holds the permission.
//!
//! An account reaches further than one workspace. What would hand it over, another address or a link to
//! choose a password, needs that authority in *all* workspaces that the person belongs to.

use jobs::{Database, Tx};
use serde_json::json;
use sqlx::{PgExecutor, PgPool};

use super::{
    User, UserError, find,
    letters::{page, reset_letter},
    passwords,
    profile::{self, Edited, ProfileChanges},
};
use crate::{
    Actor, UserId, WorkspaceId,
    access::{Held, Override, Role},
    account_tokens::{self, HANDED_OVER_RESET, MAILED_RESET, NewToken, Purpose},
    audit::{self, Entry},
    mail::{self, Brand, Cause},
};

/// A workspace that two people are in.
struct Shared {
    workspace: WorkspaceId,
    /// What the one who acts holds there.
    own: Held,
    /// What the other one is there.
    theirs: Role,
}

impl Shared {
    fn outranks(&self, permission: &str) -> bool {
        self.own.may(permission) && self.own.role() >= self.theirs
    }
}

/// The workspaces that both are in, or the one that is named if both are.
async fn shared(
    database: impl PgExecutor<'_>,
    caller: UserId,
    other: UserId,
    within: Option<WorkspaceId>,
) -> Result<Vec<Shared>, UserError> {
    let rows = sqlx::query!(
        r#"select own.workspace_id, own.role as own_role, other.role as other_role,
                  array(select permission from role_permissions p
                         where p.workspace_id = own.workspace_id and p.role = own.role
                         order by permission) as "permissions!",
                  array(select granted from role_permissions p
                         where p.workspace_id = own.workspace_id and p.role = own.role
                         order by permission) as "granted!"
             from memberships own
             join memberships other on other.workspace_id = own.workspace_id and other.user_id = $2
             join users u on u.id = other.user_id and u.is_active
             join workspaces w on w.id = own.workspace_id and w.state = 'ready'
            where own.user_id = $1 and ($3::uuid is null or own.workspace_id = $3)
            order by own.workspace_id"#,
        caller.0,
        other.0,
        within.map(|id| id.0),
    )
    .fetch_all(database)
    .await?;
    let role = |name: &str| name.parse::<Role>().map_err(|error| sqlx::Error::Decode(error.into()));
    let mut shared = Vec::with_capacity(rows.len());
    for row in rows {
        let changed = row.permissions.into_iter().zip(row.granted);
        let overrides = changed.map(|(permission, granted)| Override { permission, granted }).collect();
        shared.push(Shared {
            workspace: WorkspaceId(row.workspace_id),
            own: Held::of_role(role(&row.own_role)?, overrides),
            theirs: role(&row.other_role)?,
        });
    }
    Ok(shared)
}

/// Whether somebody belongs to a workspace.
pub async fn belongs(
    database: impl PgExecutor<'_>,
    user: UserId,
    workspace: WorkspaceId,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select from memberships where user_id = $1 and workspace_id = $2) as "belongs!""#,
        user.0,
        workspace.0,
    )
    .fetch_one(database)
    .await
}

/// Somebody's profile, for who may see it.
///
/// # Errors
/// [`UserError::NotFound`] where the two share no workspace; [`UserError::Forbidden`] where the other one
/// outranks the caller in all that they share.
pub async fn view(
    pool: &PgPool,
    caller: UserId,
    other: UserId,
    within: Option<WorkspaceId>,
) -> Result<User, UserError> {
    if caller != other {
        authority(shared(pool, caller, other, within).await?, "members:view")?;
    }
    find(pool, other).await?.ok_or(UserError::NotFound)
}

/// Those of the shared workspaces in which the caller has a say over the other one; at least one.
fn authority(shared: Vec<Shared>, permission: &str) -> Result<Vec<Shared>, UserError> {
    if shared.is_empty() {
        return Err(UserError::NotFound);
    }
    let over: Vec<_> = shared.into_iter().filter(|shared| shared.outranks(permission)).collect();
    if over.is_empty() {
        return Err(UserError::Forbidden(
            "this needs a role that equals or outranks theirs, with the permission for it",
        ));
    }
    Ok(over)
}

/// Checks that the caller may change somebody else's profile.
///
/// # Errors
/// As of [`view`], with the permission `members:edit`.
pub async fn check_may_edit(
    pool: &PgPool,
    caller: UserId,
    other: UserId,
    within: Option<WorkspaceId>,
) -> Result<(), UserError> {
    if caller != other {
        authority(shared(pool, caller, other, within).await?, "members:edit")?;
    }
    Ok(())
}

/// Edits somebody else's profile (another address is confirmed by `link`), and their role in the workspace that is named, or in the only one that the two
/// share.
///
/// # Errors
/// As of [`check_may_edit`]; [`UserError::Forbidden`] also for a role above one's own, and for the address of
/// somebody whose account reaches further than the caller's authority; [`UserError::LastOwner`].
pub async fn edit(
    database: &Database,
    (caller, other): (UserId, UserId),
    within: Option<WorkspaceId>,
    changes: ProfileChanges,
    role: Option<Role>,
    link: &str,
    actor: &Actor,
) -> Result<Edited, UserError> {
    let mut tx = database.begin().await?;
    let both = shared(tx.conn(), caller, other, within).await?;
    // One's own profile takes no permission; one's own role does.
    let over = if caller == other && role.is_none() { both } else { authority(both, "members:edit")? };
    let before = passwords::owner(tx.conn(), other).await?.email;
    if changes.moves_from(&before) {
        check_all_of_them(&mut tx, caller, other, "members:edit").await?;
    }
    if let Some(role) = role {
        let [only] = &over[..] else { return Err(UserError::Missing(vec!["X-Workspace-Id".to_owned()])) };
        change_role(&mut tx, only, other, role, actor).await?;
    }
    let edited = profile::edit(&mut tx, other, changes, link, actor).await?;
    tx.commit().await?;
    Ok(edited)
}

/// Checks that the caller has a say over somebody in every workspace that they belong to, and that they are
/// not staff, who reach further than any.
async fn check_all_of_them(
    tx: &mut Tx,
    caller: UserId,
    other: UserId,
    permission: &str,
) -> Result<(), UserError> {
    let over = authority(shared(tx.conn(), caller, other, None).await?, permission)?;
    let over: Vec<_> = over.iter().map(|shared| shared.workspace.0).collect();
    let reaches_further = sqlx::query_scalar!(
        r#"select exists (select from memberships where user_id = $1 and workspace_id <> all($2))
               or exists (select from users where id = $1 and is_staff) as "further!""#,
        other.0,
        &over,
    );
    if reaches_further.fetch_one(tx.conn()).await? {
        return Err(UserError::Forbidden(
            "their account opens more than you answer for: only they themselves can do this, by mail",
        ));
    }
    Ok(())
}

async fn change_role(
    tx: &mut Tx,
    shared: &Shared,
    other: UserId,
    role: Role,
    actor: &Actor,
) -> Result<(), UserError> {
    if role == shared.theirs {
        return Ok(());
    }
    if role > shared.own.role() {
        return Err(UserError::Forbidden("nobody can give a role above their own"));
    }
    // One after the other: of two owners who demote each other, the second finds that they are the last.
    let owners = sqlx::query_scalar!(
        "select user_id from memberships where workspace_id = $1 and role = 'owner' order by user_id for update",
        shared.workspace.0,
    )
    .fetch_all(tx.conn())
    .await?;
    if owners == [other.0] {
        return Err(UserError::LastOwner);
    }
    let member = sqlx::query_scalar!(
        "update memberships set role = $3 where workspace_id = $1 and user_id = $2 returning id",
        shared.workspace.0,
        other.0,
        role.name(),
    )
    .fetch_optional(tx.conn())
    .await?
    .ok_or(UserError::NotFound)?;
    let change = json!({ "user_id": other, "from": shared.theirs, "to": role });
    audit::record(tx, Some(shared.workspace), actor, Entry::new("member", "role_changed", member, change))
        .await?;
    Ok(())
}

/// Who lets a member choose a new password: as what, and where.
#[derive(Debug, Clone, Copy)]
pub struct Admin {
    /// The person; none for a program of the workspace.
    pub user: Option<UserId>,
    /// Their role there.
    pub role: Role,
    /// The workspace.
    pub workspace: WorkspaceId,
}

/// Mails a member a link to choose a new password; good for an hour.
///
/// # Errors
/// [`UserError::NotFound`] for who isn't a member; [`UserError::Forbidden`] for who outranks the caller.
pub async fn mail_reset(
    database: &Database,
    admin: Admin,
    member: UserId,
    link: &str,
    actor: &Actor,
) -> Result<(), UserError> {
    let mut tx = database.begin().await?;
    let (url, brand) = reset_link(&mut tx, admin, member, link, false, actor).await?;
    let passwords::Owner { email, name } = passwords::owner(tx.conn(), member).await?;
    let why = "an admin of your workspace asks you to choose a new password.";
    let letter = reset_letter((email, name), url, why);
    mail::post(&mut tx, letter, &brand, Cause::Member(admin.workspace), actor).await?;
    Ok(tx.commit().await?)
}

/// A link for a member to choose a new password by, to be handed over; good for 24 hours. Whoever holds it
/// is let in, so it needs a say over all that the member's account opens.
///
/// # Errors
/// As of [`mail_reset`]; [`UserError::Forbidden`] also for who belongs to workspaces where the caller has no say,
/// and for programs, which have a say in one only.
pub async fn hand_over_reset(
    database: &Database,
    admin: Admin,
    member: UserId,
    link: &str,
    actor: &Actor,
) -> Result<String, UserError> {
    let Some(user) = admin.user else {
        return Err(UserError::Forbidden("this is for people, not for programs"));
    };
    let mut tx = database.begin().await?;
    let (url, _) = reset_link(&mut tx, admin, member, link, true, actor).await?;
    check_all_of_them(&mut tx, user, member, "members:reset_password").await?;
    tx.commit().await?;
    Ok(url)
}

async fn reset_link(
    tx: &mut Tx,
    admin: Admin,
    member: UserId,
    link: &str,
    handed_over: bool,
    actor: &Actor,
) -> Result<(String, Brand), UserError> {
    let found = sqlx::query!(
        "select m.role, w.name, w.branding
           from memberships m join workspaces w on w.id = m.workspace_id
           join users u on u.id = m.user_id and u.is_active
          where m.workspace_id = $1 and m.user_id = $2",
        admin.workspace.0,
        member.0,
    )
    .fetch_optional(tx.conn())
    .await?
    .ok_or(UserError::NotFound)?;
    if !found.role.parse::<Role>().is_ok_and(|role| role <= admin.role) {
        return Err(UserError::Forbidden("this needs a role that equals or outranks theirs"));
    }
    let new = NewToken {
        user: member,
        purpose: Purpose::PasswordReset,
        workspace: Some(admin.workspace),
        created_by: admin.user,
        lifetime: if handed_over { HANDED_OVER_RESET } else { MAILED_RESET },
        is_mailed: !handed_over,
    };
    let token = account_tokens::issue(tx, new).await?;
    let link = link.parse().map_err(|_| sqlx::Error::Configuration("APP_URL makes no links".into()))?;
    let entry = Entry::new("password", "reset_allowed", member.0, json!({ "handed_over": handed_over }));
    audit::record(tx, Some(admin.workspace), actor, entry).await?;
    Ok((page(link, "reset-password", &[("token", &token)]), Brand::of(&found.branding, &found.name)))
}
