//! Usage: a workspace's plan, what it allows and what is used of it.

use jobs::Database;
use poem_openapi::Object;

use crate::{
    Actor, WorkspaceDb, WorkspaceId, api_keys,
    rate_limits::{self, Bucket, Counted},
};

/// A workspace's plan and storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// `free`, `starter`, `growth` or `enterprise`.
    pub plan: String,
    /// Bytes of stored files: uploads and exports.
    pub storage_bytes: i64,
    /// What the plan allows.
    pub limits: PlanLimits,
}

/// What a plan allows.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct PlanLimits {
    /// Requests a minute of all API keys together; null if they are not limited.
    pub requests_per_minute: Option<u32>,
    /// Requests a day of all API keys together; null if they are not limited.
    pub requests_per_day: Option<u32>,
    /// Scheduled jobs of the workspace; null if they are not limited.
    pub scheduled_jobs: Option<i64>,
    /// API keys that are neither revoked nor expired.
    pub api_keys: i64,
    /// The largest file that an upload takes, in bytes.
    pub max_upload_bytes: u64,
}

/// What a workspace uses of what it may.
pub async fn of(
    database: &Database,
    workspace: WorkspaceId,
    actor: Actor,
    max_upload_bytes: u64,
) -> Result<Usage, sqlx::Error> {
    let mut reader = database.reader().await?;
    let row = sqlx::query!(
        "select w.plan, l.schedules from workspaces w left join plan_limits l on l.plan = w.plan where w.id = $1",
        workspace.0,
    )
    .fetch_one(reader.conn())
    .await?;
    let (plan, schedules) = (row.plan, row.schedules);
    let limits = rate_limits::load(reader.conn()).await?;
    drop(reader);
    let requests = |bucket| limits.rate(Counted::ApiKey, bucket, &plan).map(|rate| rate.requests);
    let limits = PlanLimits {
        requests_per_minute: requests(Bucket::Plan),
        requests_per_day: requests(Bucket::Day),
        scheduled_jobs: schedules.map(i64::from),
        api_keys: api_keys::MOST_LIVE,
        max_upload_bytes,
    };
    let mut db = WorkspaceDb::read(database, workspace, actor).await?;
    let storage_bytes = sqlx::query_scalar!(
        r#"select (coalesce((select sum(size) from files), 0)
                 + coalesce((select sum(size) from export_segments), 0))::bigint as "bytes!""#,
    )
    .fetch_one(db.conn())
    .await?;
    Ok(Usage { plan, storage_bytes, limits })
}
