//! Reading the audit.

use chrono::{DateTime, Utc};
use jobs::{Database, JobId, MAX_QUICK_ROWS};
use serde_json::Value;
use uuid::Uuid;

use crate::{PageOf, PageRequest, UserId, WorkspaceId};

/// An entry, as it was noted.
#[derive(Debug, Clone, PartialEq)]
pub struct Noted {
    /// Later entries have greater ones.
    pub id: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// What was done: `resource.verb`, or the route of a change that tells no event.
    pub action: String,
    /// What it was done to.
    pub resource_type: String,
    /// Which one.
    pub resource_id: Option<Uuid>,
    /// What did it: see [`jobs::ActorType`].
    pub actor_type: String,
    /// The person who did it, or on whose behalf a job did.
    pub user_id: Option<UserId>,
    /// With what they came: `session`, `api_key` or `personal_token`.
    pub credential_type: Option<String>,
    /// The session, key or token.
    pub credential_id: Option<Uuid>,
    /// The member of staff who acted as the person.
    pub impersonator_id: Option<UserId>,
    /// The job in whose run it was done.
    pub job_id: Option<JobId>,
    /// From where.
    pub ip: Option<String>,
    /// With which client.
    pub user_agent: Option<String>,
    /// In which request.
    pub request_id: Option<String>,
    /// By which surface.
    pub surface: Option<String>,
    /// The details.
    pub data: Option<Value>,
}

/// Which entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of that action.
    pub action: Option<String>,
    /// About things of that kind.
    pub resource_type: Option<String>,
}

/// A part of a workspace's audit, the latest first.
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
