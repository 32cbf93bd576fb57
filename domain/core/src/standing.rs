//! Standing: the role and activity of members. One function changes them, under one lock, for
//! the Workspace API's members and for users' profiles alike.

use std::collections::BTreeMap;

use jobs::Tx;
use sqlx::{PgConnection, PgExecutor, types::Json};

use crate::{
    Actor, Email, Error, MemberId, UserId, WorkspaceId,
    access::{Held, Override, Role, Scope},
    makers,
    tenant_scope::TenantScope,
};

/// A workspace's changes to a role, in the form of a row.
pub type Overrides = Json<BTreeMap<String, bool>>;

/// The permissions of a role with a workspace's changes.
pub fn held(role: Role, overrides: Option<&Overrides>) -> Held {
    Held::with(role, overrides.map(|Json(overrides)| overrides.clone()).unwrap_or_default())
}

/// The member whose standing changes.
#[derive(Debug, Clone, Copy)]
pub enum Whose {
    /// By member id.
    Member(MemberId),
    /// By account id.
    Person(UserId),
}

/// The new standing; absent fields stay unchanged.
#[derive(Debug, Clone, Copy, Default)]
pub struct To {
    /// New role; none leaves it unchanged.
    pub role: Option<Role>,
    /// Whether the member is active; none leaves it unchanged.
    pub is_active: Option<bool>,
}

/// A membership whose standing was changed.
#[derive(Debug, Clone, Copy)]
pub struct Changed {
    /// Id of the member and membership.
    pub member: MemberId,
    /// Role before the change.
    pub from: Role,
}

/// The error of an operation on a role above the caller's.
#[must_use]
pub fn above_caller(role: Role) -> Error {
    Error::forbidden(format!("the role {role} is above your own"))
}

/// The error of giving a role with permissions that the caller lacks.
#[must_use]
pub fn more_than_held(role: Role) -> Error {
    Error::forbidden(format!("the role {role} has permissions that you lack"))
}

/// Locks the workspace's row, the first step of every change of its members, so that two owners can't remove each
/// other.
pub async fn hold(conn: &mut PgConnection, workspace: WorkspaceId) -> Result<(), sqlx::Error> {
    sqlx::query!("select id from workspaces where id = $1 for no key update", workspace.0)
        .fetch_optional(conn)
        .await?;
    Ok(())
}

/// Whether another member is an active owner. To be called after [`hold`]; the database checks again at the commit.
pub async fn has_another_owner(
    conn: &mut PgConnection,
    workspace: WorkspaceId,
    leaving: MemberId,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select from live_memberships where workspace_id = $1 and role = 'owner' and id <> $2)
                  as "another!""#,
        workspace.0,
        leaving.0,
    )
    .fetch_one(conn)
    .await
}

/// Whether a caller has all permissions of a role in a workspace, and so may grant it.
pub async fn may_give(
    conn: &mut PgConnection,
    workspace: WorkspaceId,
    held: &Held,
    role: Role,
) -> Result<bool, sqlx::Error> {
    Ok(role <= held.role() && held.covers(&held_by(conn, workspace, role).await?))
}

/// Whether a caller has all permissions that a program with those scopes has, or would have, for the user who answers
/// for it: also while that user's membership is inactive, since the program works again with it. Where the user has
/// no membership, the permissions of the program are unknown.
pub async fn covers_program(
    conn: &mut PgConnection,
    workspace: WorkspaceId,
    held: &Held,
    person: UserId,
    scopes: Vec<Scope>,
) -> Result<bool, sqlx::Error> {
    let role = sqlx::query_scalar!(
        "select role from memberships where workspace_id = $1 and user_id = $2",
        workspace.0,
        person.0,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(role) = role.filter(|&role| role <= held.role()) else { return Ok(false) };
    Ok(held.covers(&held_by(conn, workspace, role).await?.within(scopes)))
}

/// All permissions of a role in a workspace.
async fn held_by(conn: &mut PgConnection, workspace: WorkspaceId, role: Role) -> Result<Held, sqlx::Error> {
    let overrides = sqlx::query!(
        "select permission, granted from role_permissions where workspace_id = $1 and role = $2",
        workspace.0,
        role.name(),
    )
    .fetch_all(conn)
    .await?;
    let overrides = overrides.into_iter();
    let overrides =
        overrides.map(|row| Override { permission: row.permission, granted: row.granted }).collect();
    Ok(Held::of_role(role, overrides))
}

/// A workspace of which a user is a member, active or not.
pub struct Keeping {
    /// Id of the workspace.
    pub workspace: WorkspaceId,
    /// False while the workspace is being created.
    pub is_ready: bool,
}

/// The workspaces of which a user is a member, active or not.
pub async fn keeping(conn: &mut PgConnection, user: UserId) -> Result<Vec<Keeping>, sqlx::Error> {
    sqlx::query_as!(
        Keeping,
        r#"select w.id as workspace, w.state = 'ready' as "is_ready!"
             from memberships m join workspaces w on w.id = m.workspace_id
            where m.user_id = $1 order by w.id"#,
        user.0,
    )
    .fetch_all(conn)
    .await
}

/// Whether an address is that of a member, active or not. A person whose membership was kept at the removal
/// counts as none: the way back is a new invitation.
pub async fn is_member(tx: &mut Tx, workspace: WorkspaceId, email: &Email) -> Result<bool, sqlx::Error> {
    let membership = sqlx::query!(
        "select m.user_id, m.is_active
           from memberships m join users u on u.id = m.user_id
          where m.workspace_id = $1 and u.email_key = $2",
        workspace.0,
        email.key(),
    )
    .fetch_optional(tx.conn())
    .await?;
    match membership {
        None => Ok(false),
        Some(membership) if membership.is_active => Ok(true),
        Some(membership) => {
            let mut scope = TenantScope::enter(tx, workspace).await?;
            let is_here = sqlx::query_scalar!(
                r#"select exists (select from members where user_id = $1) as "is!""#,
                membership.user_id.0,
            )
            .fetch_one(scope.conn())
            .await?;
            scope.leave().await?;
            Ok(is_here)
        }
    }
}

/// Changes a member's role or activity, within the caller's reach.
pub async fn change(
    conn: &mut PgConnection,
    workspace: WorkspaceId,
    (caller, actor): (&Held, &Actor),
    whose: Whose,
    to: To,
) -> Result<Changed, Error> {
    hold(conn, workspace).await?;
    let (member, person) = match whose {
        Whose::Member(id) => (Some(id.0), None),
        Whose::Person(id) => (None, Some(id.0)),
    };
    let current = sqlx::query!(
        "select id, role, is_active from memberships
            where workspace_id = $1 and (id = $2 or user_id = $3)",
        workspace.0,
        member,
        person,
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or_else(Error::not_found)?;
    let role = to.role.unwrap_or(current.role);
    if let Some(above) = [current.role, role].into_iter().find(|&role| role > caller.role()) {
        return Err(above_caller(above));
    }
    // A member who becomes active again gets their role again.
    let gives = role != current.role || (to.is_active == Some(true) && !current.is_active);
    if gives && !may_give(conn, workspace, caller, role).await? {
        return Err(more_than_held(role));
    }
    let leaves = current.role == Role::Owner && (role != Role::Owner || to.is_active == Some(false));
    if leaves && !has_another_owner(conn, workspace, current.id).await? {
        return Err(Error::last_owner());
    }
    sqlx::query!(
        "update memberships set role = $2, is_active = coalesce($3, is_active) where id = $1",
        current.id.0,
        role.name(),
        to.is_active,
    )
    .execute(&mut *conn)
    .await?;
    makers::disable_refused(conn, workspace, actor).await?;
    Ok(Changed { member: current.id, from: current.role })
}

/// Whether a workspace manages an account: it was created by accepting the workspace's invitation, and has joined
/// no other workspace since. Staff accounts are not managed by any workspace.
pub async fn is_managed(
    database: impl PgExecutor<'_>,
    user: UserId,
    workspace: WorkspaceId,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select from users where id = $1 and managed_by = $2 and not is_staff) as "managed!""#,
        user.0,
        workspace.0,
    )
    .fetch_one(database)
    .await
}
