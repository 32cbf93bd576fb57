//! The audit log. Contract section "Audit" (P-AUD).

use api_kit::{Can, Limit, Offset, TypeId, Wrapped, part_request, permissions, type_id_of, with_type_ids};
use chrono::{DateTime, Utc};
use domain::{
    UserId,
    audit::history::{self, Filter, Noted},
};
use jobs::JobId;
use poem_openapi::{Object, OpenApi, Tags, param::Query, payload::Json};
use serde_json::Value;

permissions! { ViewAudit = "audit:view" }

/// An audited action of an account, a program or a job.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct AuditLog {
    /// Entry id; later entries have greater ids.
    id: i64,
    /// Action: `resource.verb`, or the route of a change that has no name of its own.
    action: String,
    /// Type of the resource that the action changed.
    resource_type: String,
    /// Id of the resource, as a TypeID; null where `data` names several.
    resource_id: Option<String>,
    /// Kind of actor: `user`, `impersonator` (staff acting as another user), `api_key`, `operator`, `job` (the
    /// effect of a running job, on behalf of its requester), `visitor` (a client without a credential) or
    /// `system`.
    actor_type: String,
    /// User id; null if the actor is no user.
    user_id: Option<TypeId<UserId>>,
    /// Kind of credential: `session`, `api_key` or `personal_token`; null if none was used.
    credential_type: Option<String>,
    /// Id of the session, key or token, as a TypeID; null if none was used.
    credential_id: Option<String>,
    /// Whether staff acted as the user.
    is_impersonated: bool,
    /// User id of the impersonating staff; null if the action was not impersonated.
    impersonator_id: Option<TypeId<UserId>>,
    /// Id of the job whose run performed the action; null otherwise.
    job_id: Option<TypeId<JobId>>,
    /// IP address of the client; null if not known.
    ip: Option<String>,
    /// `User-Agent` of the client; null if not known.
    user_agent: Option<String>,
    /// Id of the request; null if there was none.
    request_id: Option<String>,
    /// API surface of the request; null if there was none.
    surface: Option<String>,
    /// The details: ids, names and what changed. Members larger than 4 KiB are left out; their names are in `omitted`.
    data: Option<Value>,
    /// Time of the action.
    created_at: DateTime<Utc>,
}

/// A page of the audit log.
#[derive(Debug, Object)]
struct AuditLogs {
    /// Entries, the latest first.
    logs: Vec<AuditLog>,
    /// Total number of entries that match the filters.
    total: i64,
}

impl From<Noted> for AuditLog {
    fn from(noted: Noted) -> Self {
        Self {
            id: noted.id,
            action: noted.action,
            resource_id: noted.resource_id.map(|id| type_id_of(&noted.resource_type, id)),
            data: noted
                .data
                .filter(|data| !data.is_null())
                .map(|data| with_type_ids(data, Some(&noted.resource_type))),
            resource_type: noted.resource_type,
            actor_type: noted.actor_type,
            user_id: noted.user_id.map(TypeId),
            credential_id: noted
                .credential_id
                .map(|id| type_id_of(noted.credential_type.as_deref().unwrap_or("session"), id)),
            credential_type: noted.credential_type,
            is_impersonated: noted.impersonator_id.is_some(),
            impersonator_id: noted.impersonator_id.map(TypeId),
            job_id: noted.job_id.map(TypeId),
            ip: noted.ip,
            user_agent: noted.user_agent,
            request_id: noted.request_id,
            surface: noted.surface,
            created_at: noted.at,
        }
    }
}

#[derive(Tags)]
enum Tag {
    /// Audit log of the tenant.
    Audit,
}

/// Routes of the section.
pub struct AuditApi;

#[OpenApi(prefix_path = "/v1/audit-logs", tag = "Tag::Audit")]
impl AuditApi {
    /// List audit entries, the latest first
    ///
    /// The tenant's governance settings determine how long entries are kept.
    #[oai(path = "/", method = "get", operation_id = "list_audit_logs")]
    async fn list(
        &self,
        can: Can<ViewAudit>,
        /// Maximum number of entries in the answer, at most 200.
        #[oai(default)]
        limit: Query<Limit>,
        /// Number of entries to skip.
        #[oai(default)]
        offset: Query<Offset>,
        /// Action filter, for example `api_key.created`.
        action: Query<Option<String>>,
        /// Resource type filter, for example `api_key`.
        resource_type: Query<Option<String>>,
    ) -> Wrapped<AuditLogs> {
        let filter = Filter { action: action.0, resource_type: resource_type.0 };
        let part = part_request(limit.0, offset.0);
        let page = history::list(&can.app().database, can.workspace, &filter, part).await?;
        let logs = page.items.into_iter().map(AuditLog::from).collect();
        Ok(Json(can.wrap(AuditLogs { logs, total: page.total })))
    }
}
