//! Permissions of the roles. Contract section "Permissions" (W-PERM).

use std::collections::BTreeMap;

use api_kit::prelude::*;
use domain::{Acting, access::Role};
use domain_accounts::permissions::{self, PermissionInfo, RoleSettings, Seeded};
use jobs::Tx;
use poem_openapi::{Object, Union};

permissions! { ViewPermissions = "permissions:view", ManagePermissions = "permissions:manage" }

/// The caller's permissions.
#[derive(Debug, Object)]
struct OwnPermissions {
    /// Role in the workspace; for an API key or a personal token, that of the user that it acts for.
    role: Role,
    /// Permissions of the caller, within the scopes of their key or token.
    permissions: Vec<String>,
}

/// Permissions of a role to set.
#[derive(Debug, Union)]
enum Wanted {
    /// Permissions by name: true grants, false denies. Permissions that are not named stay unchanged.
    Changes(BTreeMap<String, bool>),
    /// All permissions of the role; all others are denied.
    All(Vec<String>),
}

/// Changes to the permissions of a role.
#[derive(Debug, Object)]
struct RoleChanges {
    /// Either `{"records:delete": false, …}`, which leaves the others unchanged, or the list of all permissions
    /// of the role.
    permissions: Wanted,
}

/// A change to one permission of a role.
#[derive(Debug, Object)]
struct PermissionChange {
    /// Name of the permission.
    permission: String,
    /// Whether the role has the permission.
    granted: bool,
}

#[derive(Tags)]
enum Tag {
    /// Permissions of the roles.
    Permissions,
}

/// Routes of the section.
pub struct PermissionsApi;

#[OpenApi(prefix_path = "/permissions", tag = "Tag::Permissions")]
#[allow(clippy::unused_async)] // handlers are async, even where they only show the catalogue
impl PermissionsApi {
    /// List all permissions
    #[oai(path = "/", method = "get", operation_id = "list_permissions")]
    async fn list(
        &self,
        _can: Can<ViewPermissions>,
        /// Resource filter, for example `records`.
        resource: Query<Option<String>>,
    ) -> Answer<Json<Whole<PermissionInfo>>> {
        Ok(Json(permissions::all(resource.0.as_deref()).into()))
    }

    /// Check whether the caller has a permission
    ///
    /// Under the present settings, and within the scopes of a key or token.
    #[oai(path = "/check/:permission", method = "get", operation_id = "check_permission")]
    async fn check(&self, can: Can<ViewPermissions>, permission: Path<String>) -> Answer<Json<bool>> {
        Ok(Json(permissions::is_held(can.grants(), &permission)?))
    }

    /// List the permissions by resource
    #[oai(path = "/grouped", method = "get", operation_id = "group_permissions")]
    async fn grouped(
        &self,
        _can: Can<ViewPermissions>,
    ) -> Answer<Json<BTreeMap<String, Vec<PermissionInfo>>>> {
        Ok(Json(permissions::grouped()))
    }

    /// List the caller's permissions
    #[oai(path = "/me", method = "get", operation_id = "list_own_permissions")]
    async fn me(&self, can: Can<ViewPermissions>) -> Answer<Json<OwnPermissions>> {
        let permissions = can.grants().permissions().map(|listed| listed.name.to_owned()).collect();
        Ok(Json(OwnPermissions { role: can.role, permissions }))
    }

    /// List every role's permissions
    #[oai(path = "/roles", method = "get", operation_id = "list_role_permissions")]
    async fn roles(&self, can: Can<ManagePermissions>) -> Answer<Json<BTreeMap<String, Vec<String>>>> {
        let mut reader = can.app().database.reader().await?;
        Ok(Json(permissions::of_roles(reader.conn(), can.workspace).await?))
    }

    /// Show a role's permissions
    #[oai(path = "/roles/:role", method = "get", operation_id = "get_role_permissions")]
    async fn role(&self, can: Can<ViewPermissions>, role: Path<Role>) -> Answer<Json<RoleSettings>> {
        let mut reader = can.app().database.reader().await?;
        Ok(Json(permissions::of_role(reader.conn(), can.workspace, role.0).await?))
    }

    /// Reset a role's permissions to the defaults
    ///
    /// Refused (403) where that would grant a permission that the caller does not have.
    #[oai(
        path = "/roles/:role/reset",
        method = "post",
        operation_id = "reset_role_permissions",
        tag = "Fails::OwnerImmutable"
    )]
    async fn reset(&self, can: Can<ManagePermissions>, role: Path<Role>) -> Answer<Json<RoleSettings>> {
        can.change_shared(async |tx, by| permissions::reset(tx, by, role.0).await).await.map(Json)
    }

    /// Update the workspace's settings to this release's permissions
    ///
    /// The permissions are part of the program, so that none is ever missing: this removes the settings of
    /// permissions that no longer exist. Repeating it changes nothing.
    #[oai(path = "/seed", method = "post", operation_id = "seed_permissions")]
    async fn seed(&self, can: Can<ManagePermissions>) -> Answer<Created<Seeded>> {
        can.change_shared(async |tx, by| permissions::seed(tx, by).await).await.map(Created)
    }

    /// Change a role's permissions
    ///
    /// Takes effect with the next request. The owner's role cannot be changed (409 `owner_immutable`), and a
    /// caller cannot grant a permission that the caller does not have (403).
    #[oai(
        path = "/roles/:role",
        method = "put",
        operation_id = "set_role_permissions",
        tag = "Fails::OwnerImmutable"
    )]
    async fn set(
        &self,
        can: Can<ManagePermissions>,
        role: Path<Role>,
        changes: Body<RoleChanges>,
    ) -> Answer<Json<RoleSettings>> {
        let work = async |tx: &mut Tx, by: &Acting<'_>| match &changes.permissions {
            Wanted::Changes(changes) => permissions::change(tx, by, role.0, changes).await,
            Wanted::All(granted) => permissions::set(tx, by, role.0, granted).await,
        };
        can.change_shared(work).await.map(Json)
    }

    /// Grant or deny one permission to a role
    #[oai(
        path = "/roles/:role/permission",
        method = "put",
        operation_id = "set_role_permission",
        tag = "Fails::OwnerImmutable"
    )]
    async fn set_one(
        &self,
        can: Can<ManagePermissions>,
        role: Path<Role>,
        change: Body<PermissionChange>,
    ) -> Answer<Json<RoleSettings>> {
        let PermissionChange { permission, granted } = change.0;
        let work = async |tx: &mut Tx, by: &Acting<'_>| {
            permissions::change_one(tx, by, role.0, &permission, granted).await
        };
        can.change_shared(work).await.map(Json)
    }
}
