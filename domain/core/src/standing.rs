//! Standing: what somebody is in a workspace, and whether they get in. One function changes it, under one lock, for
//! the Workspace API's members and for people's profiles alike.

use std::collections::BTreeMap;

use jobs::Tx;
use sqlx::{PgConnection, PgExecutor, types::Json};

use crate::{
    Actor, Email, MemberId, UserId, WorkspaceId,
    access::{Held, Override, Role, Scope},
    makers,
    tenant_scope::TenantScope,
};

/// What a workspace has changed of a role, as a row has it.
pub type Overrides = Json<BTreeMap<String, bool>>;

/// What a role holds with what a workspace has changed of it.
pub fn held(role: Role, overrides: Option<&Overrides>) -> Held {
    Held::with(role, overrides.map(|Json(overrides)| overrides.clone()).unwrap_or_default())
}

/// Somebody whose standing changes.
#[derive(Debug, Clone, Copy)]
pub enum Whose {
    /// A member.
    Member(MemberId),
    /// A person.
    Person(UserId),
}

/// What somebody becomes; what is absent stays as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct To {
    /// New role; none leaves it.
    pub role: Option<Role>,
    /// Whether the person gets in; none leaves it.
    pub is_active: Option<bool>,
}

/// A membership whose standing was changed.
#[derive(Debug, Clone, Copy)]
pub struct Changed {
    /// Id of the member and membership.
    pub member: MemberId,
    /// What they were before.
    pub from: Role,
}

/// Why nobody's standing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StandingError {
    /// The workspace has no such member.
    #[error("there is no such member here")]
    NotFound,
    /// The current or the new role outranks the caller's.
    #[error("this concerns a role above the caller's")]
    Above(Role),
    /// The caller lacks a permission that the role grants.
    #[error("the role {0} holds more than the caller")]
    MoreThanHeld(Role),
    /// No active owner would remain.
    #[error("a workspace needs an owner")]
    LastOwner,
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Locks the workspace's row, as everybody does first who changes who is in it, so that two owners can't take each
/// other out.
pub async fn hold(conn: &mut PgConnection, workspace: WorkspaceId) -> Result<(), sqlx::Error> {
    sqlx::query!("select id from workspaces where id = $1 for no key update", workspace.0)
        .fetch_optional(conn)
        .await?;
    Ok(())
}

/// Whether somebody else is an owner who gets in. After [`hold`]; the database asks again at the commit.
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

/// Whether a caller holds all that a role does in a workspace, and so may give it.
pub async fn may_give(
    conn: &mut PgConnection,
    workspace: WorkspaceId,
    held: &Held,
    role: Role,
) -> Result<bool, sqlx::Error> {
    Ok(role <= held.role() && held.covers(&held_by(conn, workspace, role).await?))
}

/// Whether a caller holds all that a program with those scopes does, or would do, for the person who answers for it:
/// also while that person is kept and not let in, since the program does it again when they are. Where the person has
/// no membership, what the program would do is unknown.
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

/// All that a role holds in a workspace.
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

/// A workspace that keeps a person, whether or not they get in.
pub struct Keeping {
    /// Id of the workspace.
    pub workspace: WorkspaceId,
    /// Not while it is being made.
    pub is_ready: bool,
}

/// The workspaces that keep a person.
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

/// Whether an address is that of a member, also of one who is switched off. One whose membership was kept when they
/// were taken out is none: they come back like anybody, by accepting.
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

/// Changes what somebody is here, or whether they get in, as far as the caller reaches.
pub async fn change(
    conn: &mut PgConnection,
    workspace: WorkspaceId,
    (caller, actor): (&Held, &Actor),
    whose: Whose,
    to: To,
) -> Result<Changed, StandingError> {
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
    .ok_or(StandingError::NotFound)?;
    let role = to.role.unwrap_or(current.role);
    if let Some(above) = [current.role, role].into_iter().find(|&role| role > caller.role()) {
        return Err(StandingError::Above(above));
    }
    // Who is let in again has their role again.
    let gives = role != current.role || (to.is_active == Some(true) && !current.is_active);
    if gives && !may_give(conn, workspace, caller, role).await? {
        return Err(StandingError::MoreThanHeld(role));
    }
    let leaves = current.role == Role::Owner && (role != Role::Owner || to.is_active == Some(false));
    if leaves && !has_another_owner(conn, workspace, current.id).await? {
        return Err(StandingError::LastOwner);
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

/// Whether a workspace manages an account: it was made by accepting the workspace's invitation, and its person is in
/// no other one since. Accounts of staff are managed by nobody.
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
