//! Reading the audit log.

use chrono::{DateTime, Utc};
use jobs::{Database, JobId, MAX_QUICK_ROWS};
use serde_json::Value;
use uuid::Uuid;

use crate::{PageOf, PageRequest, UserId, WorkspaceId};

/// An entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Noted {
    /// Entry id; later entries have greater ids.
    pub id: i64,
    /// Time of the action.
    pub at: DateTime<Utc>,
    /// Action: `resource.verb`, or the route of a change without an event.
    pub action: String,
    /// Type of the changed resource.
    pub resource_type: String,
    /// Id of the changed resource.
    pub resource_id: Option<Uuid>,
    /// Type of the actor: see [`jobs::ActorType`].
    pub actor_type: String,
    /// User who acted, or on whose behalf a job acted.
    pub user_id: Option<UserId>,
    /// Kind of credential: `session`, `api_key` or `personal_token`.
    pub credential_type: Option<String>,
    /// Id of the session, key or token.
    pub credential_id: Option<Uuid>,
    /// Staff account that acted as the user.
    pub impersonator_id: Option<UserId>,
    /// Job whose run performed the action.
    pub job_id: Option<JobId>,
    /// Client address.
    pub ip: Option<String>,
    /// `User-Agent` of the client.
    pub user_agent: Option<String>,
    /// Request id.
    pub request_id: Option<String>,
    /// API surface.
    pub surface: Option<String>,
    /// Details.
    pub data: Option<Value>,
}

/// Filter of a list of entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Action filter.
    pub action: Option<String>,
    /// Resource type filter.
    pub resource_type: Option<String>,
}

/// A part of a workspace's audit log, the latest first.
pub async fn list(
    database: &Database,
    workspace: WorkspaceId,
    filter: &Filter,
    part: PageRequest,
) -> Result<PageOf<Noted>, sqlx::Error> {
    let mut reader = database.reader().await?;
    let all = sqlx::query_scalar!(
        r#"select count(*) as "entries!" from (select from audit_log where workspace_id = $1 limit $2) counted"#,
        workspace.0,
        MAX_QUICK_ROWS + 1,
    )
    .fetch_one(reader.conn())
    .await?;
    reader = reader.for_rows(database, all).await?;
    let items = sqlx::query_as!(
        Noted,
        "select id, at, action, resource_type, resource_id, actor_type, user_id, credential_type, credential_id,
                impersonator_id, job_id, ip, user_agent, request_id, surface, data
           from audit_log
          where workspace_id = $1
            and ($2::text is null or action = $2)
            and ($3::text is null or resource_type = $3)
          order by id desc limit $4 offset $5",
        workspace.0,
        filter.action,
        filter.resource_type,
        part.limit,
        part.offset,
    )
    .fetch_all(reader.conn())
    .await?;
    if all <= MAX_QUICK_ROWS && *filter == Filter::default() {
        return Ok(PageOf { items, total: all });
    }
    let total = sqlx::query_scalar!(
        r#"select count(*) as "total!" from audit_log
            where workspace_id = $1
              and ($2::text is null or action = $2)
              and ($3::text is null or resource_type = $3)"#,
        workspace.0,
        filter.action,
        filter.resource_type,
    )
    .fetch_one(reader.conn())
    .await?;
    Ok(PageOf { items, total })
}
