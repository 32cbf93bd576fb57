//! Usage: a workspace's plan, its limits and their use.

use jobs::Database;
use poem_openapi::Object;
use sqlx::PgConnection;

use crate::{
    Actor, WorkspaceDb, WorkspaceId,
    rate_limits::{self, Bucket, Counted},
    storage_use::{self, StorageUse},
};

/// A workspace's plan and storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Plan: `free`, `starter`, `growth` or `enterprise`.
    pub plan: String,
    /// Storage in use, in bytes: records with their versions, uploads, exports and reports.
    pub storage_bytes: i64,
    /// Limits of the plan.
    pub limits: PlanLimits,
}

/// Limits of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct PlanLimits {
    /// Maximum number of requests per minute of all API keys together; null if they are not limited.
    pub requests_per_minute: Option<u32>,
    /// Maximum number of requests per day of all API keys together; null if they are not limited.
    pub requests_per_day: Option<u32>,
    /// Maximum number of scheduled jobs of the workspace; null if they are not limited.
    pub scheduled_jobs: Option<i64>,
    /// Minimum time between two occurrences of a scheduled job, in seconds.
    pub schedule_interval_seconds: i64,
    /// Maximum number of API keys that are neither revoked nor expired; null if they are not limited.
    pub api_keys: Option<i64>,
    /// Maximum size of an uploaded file, in bytes.
    pub max_upload_bytes: u64,
    /// Maximum storage in bytes: records with their versions, uploads, exports and reports; null if it is not
    /// limited.
    pub storage_bytes: Option<i64>,
}

/// The row of a workspace's plan in `plan_limits`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanRow {
    /// Name of the plan.
    pub plan: String,
    /// Maximum number of scheduled jobs; none if they are not limited.
    pub schedules: Option<i32>,
    /// Minimum time between two occurrences, in seconds; none for the installation's own minimum.
    pub schedule_interval_secs: Option<i32>,
    /// Maximum number of API keys; none if they are not limited.
    pub api_keys: Option<i32>,
    /// Maximum size of an upload, in bytes; none for the installation's own maximum.
    pub upload_bytes: Option<i64>,
    /// Maximum storage, in bytes; none if it is not limited.
    pub storage_bytes: Option<i64>,
}

impl PlanRow {
    /// Maximum size of a file, where the installation's maximum is so many bytes.
    #[must_use]
    pub fn upload_bytes(&self, installation: u64) -> u64 {
        let plan = self.upload_bytes.and_then(|bytes| bytes.try_into().ok());
        plan.map_or(installation, |plan: u64| plan.min(installation))
    }
}

/// The limits of a workspace's plan, on a connection that sees the shared schemas.
pub async fn plan(conn: &mut PgConnection, workspace: WorkspaceId) -> Result<PlanRow, sqlx::Error> {
    sqlx::query_as!(
        PlanRow,
        r#"select w.plan, l.schedules as "schedules?", l.schedule_interval_secs as "schedule_interval_secs?",
                  l.api_keys as "api_keys?", l.upload_bytes as "upload_bytes?", l.storage_bytes as "storage_bytes?"
             from workspaces w left join plan_limits l on l.plan = w.plan
            where w.id = $1"#,
        workspace.0,
    )
    .fetch_one(conn)
    .await
}

/// A workspace's usage and limits.
pub async fn of(
    database: &Database,
    workspace: WorkspaceId,
    actor: Actor,
    max_upload_bytes: u64,
) -> Result<Usage, sqlx::Error> {
    let mut reader = database.reader().await?;
    let row = plan(reader.conn(), workspace).await?;
    let limits = rate_limits::load(reader.conn()).await?;
    drop(reader);
    let requests = |bucket| limits.rate(Counted::ApiKey, bucket, &row.plan).map(|rate| rate.requests);
    let limits = PlanLimits {
        requests_per_minute: requests(Bucket::Plan),
        requests_per_day: requests(Bucket::Day),
        scheduled_jobs: row.schedules.map(i64::from),
        schedule_interval_seconds: row.schedule_interval_secs.unwrap_or(MIN_SCHEDULE_INTERVAL).into(),
        api_keys: row.api_keys.map(i64::from),
        max_upload_bytes: row.upload_bytes(max_upload_bytes),
        storage_bytes: row.storage_bytes,
    };
    let mut db = WorkspaceDb::read(database, workspace, actor).await?;
    let StorageUse { used, .. } = storage_use::get(&mut db).await?;
    Ok(Usage { plan: row.plan, storage_bytes: used, limits })
}

/// Minimum seconds between two occurrences of a schedule, unless the plan requires more: the resolution of cron
/// expressions.
pub const MIN_SCHEDULE_INTERVAL: i32 = 60;
