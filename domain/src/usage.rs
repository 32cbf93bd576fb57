//! Usage: a workspace's plan, what it allows and what is used of it.

use jobs::Database;
use poem_openapi::Object;
use sqlx::PgConnection;

use crate::{
    Actor, WorkspaceDb, WorkspaceId,
    files::FileError,
    rate_limits::{self, Bucket, Counted},
    storage::StorageError,
    storage_use::{self, StorageUse, StorageUseError},
};

/// A workspace's plan and storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// `free`, `starter`, `growth` or `enterprise`.
    pub plan: String,
    /// Bytes in use: records with their versions, uploads, exports and reports.
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
    /// Least time between two occurrences of a scheduled job, in seconds.
    pub schedule_interval_seconds: i64,
    /// API keys that are neither revoked nor expired; null if they are not limited.
    pub api_keys: Option<i64>,
    /// The largest file that an upload takes, in bytes.
    pub max_upload_bytes: u64,
    /// Storage in bytes: records with their versions, uploads, exports and reports; null if it is not limited.
    pub storage_bytes: Option<i64>,
}

/// The row of a workspace's plan in `plan_limits`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlanRow {
    pub plan: String,
    pub schedules: Option<i32>,
    pub schedule_interval_secs: Option<i32>,
    pub api_keys: Option<i32>,
    pub upload_bytes: Option<i64>,
    pub storage_bytes: Option<i64>,
}

impl PlanRow {
    /// The largest file, where the installation takes files of at most so many bytes.
    fn upload_bytes(&self, installation: u64) -> u64 {
        let plan = self.upload_bytes.and_then(|bytes| bytes.try_into().ok());
        plan.map_or(installation, |plan: u64| plan.min(installation))
    }
}

/// What a workspace's plan allows, on a connection that sees the shared schemas.
pub(crate) async fn plan(conn: &mut PgConnection, workspace: WorkspaceId) -> Result<PlanRow, sqlx::Error> {
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

/// What a workspace uses of what it may.
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

/// Seconds between two occurrences of a schedule, where no plan asks for more: as fine as cron expressions are.
pub(crate) const MIN_SCHEDULE_INTERVAL: i32 = 60;

/// How large an upload may be: known before any of it is read.
#[derive(Debug, Clone, Copy)]
pub struct UploadLimit {
    file: u64,
    storage: StorageUse,
}

impl UploadLimit {
    /// What a workspace's plan and its storage allow, in an installation that takes files of at most so many bytes.
    ///
    /// # Errors
    /// [`FileError::Full`] when nothing can be stored any more.
    pub async fn of(
        database: &Database,
        (workspace, actor): (WorkspaceId, Actor),
        installation: u64,
    ) -> Result<Self, FileError> {
        let mut reader = database.reader().await?;
        let file = plan(reader.conn(), workspace).await?.upload_bytes(installation);
        drop(reader);
        let mut db = WorkspaceDb::read(database, workspace, actor).await?;
        let storage = storage_use::get(&mut db).await?;
        storage.require(1)?;
        Ok(Self { file, storage })
    }

    /// Bytes that are taken at the most.
    #[must_use]
    pub fn bytes(self) -> u64 {
        let room = self.storage.room().and_then(|room| room.try_into().ok());
        room.map_or(self.file, |room: u64| room.min(self.file))
    }

    /// Refuses a file of so many bytes that is too large.
    ///
    /// # Errors
    /// [`FileError::Full`] where the storage is what has no room for it; [`StorageError::TooLarge`].
    pub fn check(self, bytes: u64) -> Result<(), FileError> {
        if bytes > self.bytes() { Err(self.passed(StorageError::TooLarge(self.file))) } else { Ok(()) }
    }

    /// What is said about an upload that ended by an error of the store.
    pub(crate) fn passed(self, error: StorageError) -> FileError {
        match (error, self.storage.limit) {
            (StorageError::TooLarge(_), Some(limit)) if self.bytes() < self.file => {
                FileError::Full(StorageUseError::Exceeded { used: self.storage.used, limit })
            }
            (error, _) => FileError::Storage(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_is_refused_for_what_limits_it() {
        let limit = |file, used, limit| UploadLimit { file, storage: StorageUse { used, limit } };
        limit(10, 0, None).check(10).unwrap();
        limit(10, 90, Some(100)).check(10).unwrap();
        let refused = limit(10, 90, Some(100)).check(11).unwrap_err();
        assert!(matches!(refused, FileError::Storage(StorageError::TooLarge(10))), "{refused}");
        let refused = limit(10, 95, Some(100)).check(6).unwrap_err();
        assert!(matches!(refused, FileError::Full(_)), "{refused}");
    }
}
