//! A tenant's plan and its usage. Contract section "Tenants" (P-TEN).

use api_kit::{Can, TypeId, Wrapped, permissions};
use domain::{
    WorkspaceId,
    usage::{self, PlanLimits},
};
use poem_openapi::{Object, OpenApi, Tags, payload::Json};

permissions! { ViewUsage = "usage:view" }

/// Plan and usage of a tenant.
#[derive(Debug, Object)]
struct TenantUsage {
    /// Id of the tenant, which is a workspace.
    tenant_id: TypeId<WorkspaceId>,
    /// Plan: `free`, `starter`, `growth` or `enterprise`.
    plan_tier: String,
    /// Storage in use, in bytes: records with their versions, uploads, exports and reports of imports.
    used_storage_bytes: i64,
    /// Limits of the plan.
    plan_limits: PlanLimits,
}

#[derive(Tags)]
enum Tag {
    /// Plan, limits and usage of the tenant.
    Tenants,
}

/// Routes of the section.
pub struct UsageApi;

#[OpenApi(prefix_path = "/v1/usage", tag = "Tag::Tenants")]
impl UsageApi {
    /// Show the tenant's plan and usage
    #[oai(path = "/", method = "get", operation_id = "get_usage")]
    async fn get(&self, can: Can<ViewUsage>) -> Wrapped<TenantUsage> {
        let app = can.app();
        let usage = usage::of(&app.database, can.workspace, can.actor(), app.config.max_upload_bytes).await?;
        Ok(Json(can.wrap(TenantUsage {
            tenant_id: TypeId(can.workspace),
            plan_tier: usage.plan,
            used_storage_bytes: usage.storage_bytes,
            plan_limits: usage.limits,
        })))
    }
}
