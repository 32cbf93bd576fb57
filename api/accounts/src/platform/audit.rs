//! Who did what. Contract section "Audit" (P-AUD).

use api_kit::{Can, Limit, Offset, Tag, TypeId, Wrapped, part_request, permissions};
use chrono::{DateTime, Utc};
use domain::{
    UserId,
    audit::history::{self, Filter, Noted},
};
use poem_openapi::{Object, OpenApi, param::Query, payload::Json};
use serde_json::Value;
use uuid::Uuid;

permissions! { ViewAudit = "audit:view" }

/// Something that somebody did.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct AuditLog {
    /// Later entries have greater ones.
    id: i64,
    /// What was done: `resource.verb`, or the route of a change that has no name of its own.
    action: String,
    /// What it was done to.
    resource_type: String,
    /// Which one: the id that the Workspace API shows.
    resource_id: Option<Uuid>,
    /// The person who did it; none for a program of the tenant.
    user_id: Option<TypeId<UserId>>,
    /// With what they came: `session`, `api_key` or `personal_token`.
    credential_type: Option<String>,
    /// The session, key or token: the id that the Workspace API shows.
    credential_id: Option<Uuid>,
    /// Whether a member of staff acted in the person's place.
    is_impersonated: bool,
    /// That member of staff.
    impersonator_id: Option<TypeId<UserId>>,
    /// From which address.
    ip: Option<String>,
    /// With which client.
    user_agent: Option<String>,
    /// In which request.
    request_id: Option<String>,
    /// By which surface.
    surface: Option<String>,
    /// The details.
    data: Option<Value>,
    /// When.
    created_at: DateTime<Utc>,
}

/// A part of the audit.
#[derive(Debug, Object)]
struct AuditLogs {
    /// The latest first.
    logs: Vec<AuditLog>,
    /// Entries that there are of what was asked for.
    total: i64,
}

impl From<Noted> for AuditLog {
    fn from(noted: Noted) -> Self {
        Self {
            id: noted.id,
            action: noted.action,
            resource_type: noted.resource_type,
            resource_id: noted.resource_id,
            user_id: noted.user_id.map(|user| TypeId(UserId(user))),
            credential_type: noted.credential_type,
            credential_id: noted.credential_id,
            is_impersonated: noted.impersonator_id.is_some(),
            impersonator_id: noted.impersonator_id.map(|staff| TypeId(UserId(staff))),
            ip: noted.ip,
            user_agent: noted.user_agent,
            request_id: noted.request_id,
            surface: noted.surface,
            data: noted.data.filter(|data| !data.is_null()),
            created_at: noted.at,
        }
    }
}

/// See the module.
pub struct AuditApi;

#[OpenApi(prefix_path = "/v1/audit-logs", tag = "Tag::Audit")]
impl AuditApi {
    /// List who did what, the latest first
    ///
    /// Entries are kept as long as the tenant's governance says.
    #[oai(path = "/", method = "get", operation_id = "list_audit_logs")]
    async fn list(
        &self,
        can: Can<ViewAudit>,
        /// Entries in the answer, at most 200.
        #[oai(default)]
        limit: Query<Limit>,
        /// Entries to pass over.
        #[oai(default)]
        offset: Query<Offset>,
        /// Only of that action, for example `api_key.created`.
        action: Query<Option<String>>,
        /// Only about things of that kind, for example `api_key`.
        resource_type: Query<Option<String>>,
    ) -> Wrapped<AuditLogs> {
        let filter = Filter { action: action.0, resource_type: resource_type.0 };
        let part = part_request(limit.0, offset.0);
        let mut reader = can.app().database.reader().await?;
        let page = history::list(reader.conn(), can.workspace, &filter, part).await?;
        let logs = page.items.into_iter().map(AuditLog::from).collect();
        Ok(Json(can.wrap(AuditLogs { logs, total: page.total })))
    }
}
