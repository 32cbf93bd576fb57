//! Permissions of the roles in a workspace. The catalogue is code ([`domain::access`]); the table
//! `role_permissions` holds only a workspace's deviations from it. It is read with every request,
//! so that a change takes effect with the next one.
//!
//! The owner's role can't be changed, and no caller grants what the caller lacks, by resetting a role neither.

use std::collections::BTreeMap;

use domain::{
    Acting, Error, Event, FieldErrors, WorkspaceId,
    access::{Held, Listed, Role, Scope, catalogue, find},
    makers,
};
use jobs::Tx;
use poem_openapi::Object;
use serde_json::json;
use sqlx::PgConnection;

/// A permission, for settings screens.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct PermissionInfo {
    /// Name: `resource:action`.
    pub name: String,
    /// Resource type.
    pub resource: String,
    /// Action.
    pub action: String,
    /// Description.
    pub description: String,
    /// Lowest role that has it by default.
    pub least_role: Role,
    /// Scope that an API key or a personal token needs for it.
    pub scope: Scope,
}

/// The setting of a permission for a role.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct RolePermission {
    /// Name of the permission.
    pub permission: String,
    /// Whether the role has it.
    pub granted: bool,
    /// Whether the role has it by default.
    pub default: bool,
}

/// The permissions of a role.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct RoleSettings {
    /// The role.
    pub role: Role,
    /// Whether its permissions can be changed; false for the owner.
    pub is_editable: bool,
    /// All permissions, with their settings.
    pub permissions: Vec<RolePermission>,
}

/// Result of updating a workspace's permissions.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct Seeded {
    /// Number of permissions in the catalogue.
    pub permissions: i64,
    /// Number of removed settings of permissions that no longer exist.
    pub removed: i64,
}

/// The error about unknown permissions in `field`.
fn unknown<'n>(field: &str, names: impl IntoIterator<Item = &'n str>) -> Error {
    let shown = |name: &str| name.chars().take(64).collect::<String>();
    let reasons = names.into_iter().map(|name| format!("{:?} is not a permission", shown(name))).collect();
    Error::invalid_fields(FieldErrors::from([(field.to_owned(), reasons)]))
}

impl From<&Listed> for PermissionInfo {
    fn from(listed: &Listed) -> Self {
        Self {
            name: listed.name.to_owned(),
            resource: listed.resource().to_owned(),
            action: listed.verb().to_owned(),
            description: listed.about.to_owned(),
            least_role: listed.least,
            scope: listed.scope,
        }
    }
}

/// The catalogue, or the part of it about a resource.
#[must_use]
pub fn all(resource: Option<&str>) -> Vec<PermissionInfo> {
    let asked = |listed: &&Listed| resource.is_none_or(|resource| listed.resource() == resource);
    catalogue().iter().filter(asked).map(PermissionInfo::from).collect()
}

/// The catalogue by resource.
#[must_use]
pub fn grouped() -> BTreeMap<String, Vec<PermissionInfo>> {
    let mut groups = BTreeMap::<_, Vec<_>>::new();
    for info in all(None) {
        groups.entry(info.resource.clone()).or_default().push(info);
    }
    groups
}

/// Whether a caller has a permission.
///
/// # Errors
/// `record_invalid`.
pub fn is_held(held: &Held, permission: &str) -> Result<bool, Error> {
    match find(permission) {
        Some(listed) => Ok(held.may(listed.name)),
        None => Err(unknown("permission", [permission])),
    }
}

/// A workspace's settings of a role.
async fn overrides(
    conn: &mut PgConnection,
    workspace: WorkspaceId,
    role: Role,
) -> Result<BTreeMap<String, bool>, sqlx::Error> {
    let rows = sqlx::query!(
        "select permission, granted from role_permissions where workspace_id = $1 and role = $2",
        workspace.0,
        role.name(),
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.permission, row.granted)).collect())
}

/// The permissions of a role in a workspace.
pub async fn of_role(
    conn: &mut PgConnection,
    workspace: WorkspaceId,
    role: Role,
) -> Result<RoleSettings, sqlx::Error> {
    let overrides = match role {
        Role::Owner => BTreeMap::new(),
        _ => overrides(conn, workspace, role).await?,
    };
    let permissions = catalogue()
        .iter()
        .map(|listed| {
            let default = role.may(listed.name);
            let granted = overrides.get(listed.name).copied().unwrap_or(default);
            RolePermission { permission: listed.name.to_owned(), granted, default }
        })
        .collect();
    Ok(RoleSettings { role, is_editable: role != Role::Owner, permissions })
}

/// All roles with their permissions.
pub async fn of_roles(
    conn: &mut PgConnection,
    workspace: WorkspaceId,
) -> Result<BTreeMap<String, Vec<String>>, sqlx::Error> {
    let mut roles = BTreeMap::new();
    for role in Role::ALL {
        let settings = of_role(conn, workspace, role).await?;
        let granted = settings.permissions.into_iter().filter(|permission| permission.granted);
        roles.insert(role.name().to_owned(), granted.map(|permission| permission.permission).collect());
    }
    Ok(roles)
}

/// Takes the lock that serialises changes of a workspace's roles.
async fn lock(tx: &mut Tx, workspace: WorkspaceId) -> Result<(), sqlx::Error> {
    sqlx::query!("select id from workspaces where id = $1 for no key update", workspace.0)
        .fetch_optional(tx.conn())
        .await?;
    Ok(())
}

/// Grants and denies a role the named permissions; the others stay unchanged.
///
/// # Errors
/// `owner_immutable`; `record_invalid`, with all unknown names;
/// `forbidden`.
pub async fn change(
    tx: &mut Tx,
    by: &Acting<'_>,
    role: Role,
    changes: &BTreeMap<String, bool>,
) -> Result<RoleSettings, Error> {
    let strange: Vec<_> = changes.keys().map(String::as_str).filter(|name| find(name).is_none()).collect();
    if !strange.is_empty() {
        return Err(unknown("permissions", strange));
    }
    let named: Vec<_> = changes.iter().filter_map(|(name, &granted)| Some((find(name)?, granted))).collect();
    put(tx, by, role, &named, "permissions_changed").await
}

/// Grants or denies a role one permission.
///
/// # Errors
/// As [`change`].
pub async fn change_one(
    tx: &mut Tx,
    by: &Acting<'_>,
    role: Role,
    permission: &str,
    granted: bool,
) -> Result<RoleSettings, Error> {
    let listed = find(permission).ok_or_else(|| unknown("permission", [permission]))?;
    put(tx, by, role, &[(listed, granted)], "permissions_changed").await
}

/// Grants a role the named permissions, and denies it all others.
///
/// # Errors
/// As [`change`].
pub async fn set(
    tx: &mut Tx,
    by: &Acting<'_>,
    role: Role,
    granted: &[String],
) -> Result<RoleSettings, Error> {
    let mut changes: BTreeMap<_, _> =
        catalogue().iter().map(|listed| (listed.name.to_owned(), false)).collect();
    changes.extend(granted.iter().map(|name| (name.clone(), true)));
    change(tx, by, role, &changes).await
}

/// Resets a role to the defaults.
///
/// # Errors
/// `owner_immutable`, `forbidden`.
pub async fn reset(tx: &mut Tx, by: &Acting<'_>, role: Role) -> Result<RoleSettings, Error> {
    let defaults: Vec<_> = catalogue().iter().map(|listed| (listed, role.may(listed.name))).collect();
    put(tx, by, role, &defaults, "permissions_reset").await
}

async fn put(
    tx: &mut Tx,
    by: &Acting<'_>,
    role: Role,
    wanted: &[(&'static Listed, bool)],
    verb: &str,
) -> Result<RoleSettings, Error> {
    if role == Role::Owner {
        return Err(Error::conflict("owner_immutable", "the permissions of owners cannot be changed"));
    }
    if role > by.held.role() {
        return Err(Error::forbidden(format!(
            "the permissions of the role {role} can only be changed by that role or a higher one"
        )));
    }
    lock(tx, by.workspace).await?;
    let before = overrides(tx.conn(), by.workspace, role).await?;
    let has = |listed: &Listed| before.get(listed.name).copied().unwrap_or(role >= listed.least);
    let changed: Vec<_> = wanted.iter().filter(|(listed, granted)| has(listed) != *granted).collect();
    if let Some((listed, _)) = changed.iter().find(|(listed, granted)| *granted && !by.held.may(listed.name))
    {
        return Err(Error::forbidden(format!(
            "you cannot grant a permission that you lack: {}",
            listed.name
        )));
    }
    let names: Vec<_> = wanted.iter().map(|(listed, _)| listed.name.to_owned()).collect();
    sqlx::query!(
        "delete from role_permissions where workspace_id = $1 and role = $2 and permission = any($3)",
        by.workspace.0,
        role.name(),
        &names,
    )
    .execute(tx.conn())
    .await?;
    // A default setting needs no row, and follows the default when a release changes it.
    let differing = wanted.iter().filter(|(listed, granted)| (role >= listed.least) != *granted);
    let (names, granted): (Vec<_>, Vec<_>) =
        differing.map(|(listed, granted)| (listed.name.to_owned(), *granted)).unzip();
    sqlx::query!(
        "insert into role_permissions (workspace_id, role, permission, granted, updated_by)
         select $1, $2, wanted.permission, wanted.granted, $5
           from unnest($3::text[], $4::boolean[]) as wanted (permission, granted)",
        by.workspace.0,
        role.name(),
        &names,
        &granted,
        by.actor.user_id.map(|user| user.0),
    )
    .execute(tx.conn())
    .await?;
    if changed.is_empty() {
        tx.mark_noted(); // nothing has changed
    } else {
        let of = |wanted: bool| -> Vec<_> {
            changed.iter().filter(|(_, granted)| *granted == wanted).map(|(listed, _)| listed.name).collect()
        };
        let told = json!({ "role": role, "granted": of(true), "denied": of(false) });
        by.record(tx, Event::new("role", verb, by.workspace.0, told)).await?;
        makers::disable_refused(tx.conn(), by.workspace, by.actor).await?;
    }
    Ok(of_role(tx.conn(), by.workspace, role).await?)
}

/// Updates a workspace's settings to this release's catalogue. Permissions are code, so that none is ever missing;
/// what remains is to remove settings of permissions that no longer exist. Repeating it changes nothing.
pub async fn seed(tx: &mut Tx, by: &Acting<'_>) -> Result<Seeded, Error> {
    let known: Vec<_> = catalogue().iter().map(|listed| listed.name.to_owned()).collect();
    let removed: Vec<String> = sqlx::query_scalar!(
        "delete from role_permissions where workspace_id = $1 and permission <> all($2) returning permission",
        by.workspace.0,
        &known,
    )
    .fetch_all(tx.conn())
    .await?;
    if !removed.is_empty() {
        let told = json!({ "removed": removed });
        by.record(tx, Event::new("role", "permissions_seeded", by.workspace.0, told)).await?;
    }
    let count = |items: usize| i64::try_from(items).unwrap_or(i64::MAX);
    Ok(Seeded { permissions: count(known.len()), removed: count(removed.len()) })
}
