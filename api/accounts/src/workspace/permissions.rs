//! What each role may do. Contract section "Permissions" (W-PERM).

use std::collections::BTreeMap;

use api_kit::prelude::*;
use domain::{Acting, access::Role};
use domain_accounts::permissions::{self, PermissionInfo, RoleSettings, Seeded};
use jobs::Tx;
use poem_openapi::{Object, Union};

permissions! { ViewPermissions = "permissions:view", ManagePermissions = "permissions:manage" }

/// What the caller may do.
#[derive(Debug, Object)]
struct OwnPermissions {
    /// What they are here. Programs of a workspace are admins.
    role: Role,
    /// The permissions that they hold, within the scopes of their key or token.
    permissions: Vec<String>,
}

/// Which permissions, and whether the role has them.
#[derive(Debug, Union)]
enum Wanted {
    /// By name: granted or denied. What isn't named stays as it is.
    Changes(BTreeMap<String, bool>),
    /// All that the role has; it is denied everything else.
    All(Vec<String>),
}

/// Changes of what a role may do.
#[derive(Debug, Object)]
struct RoleChanges {
    /// Either `{"records:delete": false, …}`, of which the rest stays as it is, or the list of all that the role has.
    permissions: Wanted,
}

/// One change of what a role may do.
#[derive(Debug, Object)]
struct PermissionChange {
    /// The permission's name.
    permission: String,
    /// Whether the role has it.
    granted: bool,
}

#[derive(Tags)]
enum Tag {
    /// What each role may do.
    Permissions,
}

/// See the module.
pub struct PermissionsApi;

#[OpenApi(prefix_path = "/permissions", tag = "Tag::Permissions")]
#[allow(clippy::unused_async)] // handlers are async, also where the catalogue is all they show
impl PermissionsApi {
    /// List the permissions that there are
    #[oai(path = "/", method = "get", operation_id = "list_permissions")]
    async fn list(
        &self,
        _can: Can<ViewPermissions>,
        /// Only those about that, for example `records`.
        resource: Query<Option<String>>,
    ) -> Answer<Json<Whole<PermissionInfo>>> {
        Ok(Json(permissions::all(resource.0.as_deref()).into()))
    }

    /// Tell whether the caller holds a permission
    ///
    /// Under the settings of this moment, and within the scopes of a key or token.
    #[oai(path = "/check/:permission", method = "get", operation_id = "check_permission")]
    async fn check(&self, can: Can<ViewPermissions>, permission: Path<String>) -> Answer<Json<bool>> {
        Ok(Json(permissions::is_held(can.held(), &permission)?))
    }

    /// List the permissions by what they are about
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
        let permissions = can.held().permissions().map(|listed| listed.name.to_owned()).collect();
        Ok(Json(OwnPermissions { role: can.role, permissions }))
    }

    /// List every role's permissions
    #[oai(path = "/roles", method = "get", operation_id = "list_role_permissions")]
    async fn roles(&self, can: Can<ManagePermissions>) -> Answer<Json<BTreeMap<String, Vec<String>>>> {
        let mut reader = can.app().database.reader().await?;
        Ok(Json(permissions::of_roles(reader.conn(), can.workspace).await?))
    }

    /// Look at what a role may do
    #[oai(path = "/roles/:role", method = "get", operation_id = "get_role_permissions")]
    async fn role(&self, can: Can<ViewPermissions>, role: Path<Role>) -> Answer<Json<RoleSettings>> {
        let mut reader = can.app().database.reader().await?;
        Ok(Json(permissions::of_role(reader.conn(), can.workspace, role.0).await?))
    }

    /// Let a role have what it has by default
    ///
    /// Refused (403) where that would grant what the caller doesn't have.
    #[oai(
        path = "/roles/:role/reset",
        method = "post",
        operation_id = "reset_role_permissions",
        tag = "Fails::OwnerImmutable"
    )]
    async fn reset(&self, can: Can<ManagePermissions>, role: Path<Role>) -> Answer<Json<RoleSettings>> {
        can.change_shared(async |tx, by| permissions::reset(tx, by, role.0).await).await.map(Json)
    }

    /// Bring the workspace's settings to this release's permissions
    ///
    /// The permissions are part of the program, so that none is ever missing: what this removes are settings of
    /// permissions that there are no more. Done again, it changes nothing.
    #[oai(path = "/seed", method = "post", operation_id = "seed_permissions")]
    async fn seed(&self, can: Can<ManagePermissions>) -> Answer<Created<Seeded>> {
        can.change_shared(async |tx, by| permissions::seed(tx, by).await).await.map(Created)
    }

    /// Change what a role may do
    ///
    /// From the next request on. The owner's role can't be changed (409 `owner_immutable`), and nobody grants
    /// what they don't have (403).
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

    /// Grant a role one permission, or deny it
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
