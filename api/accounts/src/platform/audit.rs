//! Who did what. Contract section "Audit" (P-AUD).

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

/// An action of a person, a program or a job.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct AuditLog {
    /// Later entries have greater ones.
    id: i64,
    /// What was done: `resource.verb`, or the route of a change that has no name of its own.
    action: String,
    /// What it was done to.
    resource_type: String,
    /// The id of the resource, as a TypeID; null where `data` names several.
    resource_id: Option<String>,
    /// The kind of actor: `user`, `impersonator` (staff acting as a person), `api_key`, `operator`, `job` (the
    /// effect of a running job, on behalf of its requester), `visitor` (a client without a credential) or
    /// `system`.
    actor_type: String,
    /// The person; null for programs of the tenant and for operators.
    user_id: Option<TypeId<UserId>>,
    /// With what they came: `session`, `api_key` or `personal_token`.
    credential_type: Option<String>,
    /// The id of the session, key or token, as a TypeID.
    credential_id: Option<String>,
    /// Whether a member of staff acted in the person's place.
    is_impersonated: bool,
    /// That member of staff.
    impersonator_id: Option<TypeId<UserId>>,
    /// The job in whose run it was done; null otherwise.
    job_id: Option<TypeId<JobId>>,
    /// From which address.
    ip: Option<String>,
    /// With which client.
    user_agent: Option<String>,
    /// In which request.
    request_id: Option<String>,
    /// By which surface.
    surface: Option<String>,
    /// The details: ids, names and what changed. Members larger than 4 KiB are left out; their names are in `omitted`.
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
    /// Who did what.
    Audit,
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
        let page = history::list(&can.app().database, can.workspace, &filter, part).await?;
        let logs = page.items.into_iter().map(AuditLog::from).collect();
        Ok(Json(can.wrap(AuditLogs { logs, total: page.total })))
    }
}
