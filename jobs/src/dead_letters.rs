//! Dead letters: jobs that have failed finally and have not been discarded.
//!
//! They can be listed, shown with their payloads (secrets masked), retried one by one or many at
//! a time, and discarded, after which the history still has them. Every function takes the owner
//! of the jobs.

mod discard;
mod retry;

pub use discard::{DiscardAll, DiscardedAll, discard};
pub use retry::{RetriedAll, RetryAll, retry};

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use crate::{Database, JobId, MAX_QUICK_ROWS, Origin, Owner, kinds::Denied, payload};

/// Number of dead letters that one transaction moves.
const AT_ONCE: i64 = 500;

/// A filter of dead letters: those that match all that is set.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// These kinds only; empty: all.
    pub kinds: Vec<String>,
    /// None of these kinds.
    pub except: Vec<String>,
    /// These codes of the last error only; empty: all.
    pub codes: Vec<String>,
    /// Earliest time of the failure, inclusive.
    pub since: Option<DateTime<Utc>>,
    /// Latest time of the failure, exclusive.
    pub until: Option<DateTime<Utc>>,
}

impl Filter {
    /// The same without the denied kinds.
    #[must_use]
    pub fn without(mut self, denied: &Denied) -> Self {
        self.except = denied.narrow(&mut self.kinds);
        self
    }
}

/// A job that has failed finally.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    /// Job id.
    pub id: JobId,
    /// Kind.
    pub kind: String,
    /// Version of its payload.
    pub version: i16,
    /// Pool that ran it.
    pub pool: String,
    /// Priority, from 0 (first) to 9 (last).
    pub priority: i16,
    /// Payload, with its secrets masked.
    pub payload: Value,
    /// Origin.
    pub origin: Origin,
    /// Code of the last error.
    pub code: String,
    /// Message of the last error.
    pub message: String,
    /// Number of attempts so far.
    pub attempts: i32,
    /// Maximum number of attempts of its kind.
    pub max_attempts: i32,
    /// Number of consecutive worker crashes while it ran.
    pub crashes: i32,
    /// Batch that it belongs to.
    pub batch: Option<JobId>,
    /// Creation time.
    pub created_at: DateTime<Utc>,
    /// Start time of the first attempt.
    pub started_at: Option<DateTime<Utc>>,
    /// Time of the final failure.
    pub failed_at: DateTime<Utc>,
}

struct Row {
    id: Uuid,
    kind: String,
    version: i16,
    pool: String,
    priority: i16,
    payload: Value,
    origin: Value,
    error: Option<Value>,
    attempt: i32,
    max_attempts: i32,
    crashes: i32,
    batch_id: Option<Uuid>,
    created_at: DateTime<Utc>,
    started_at: Option<DateTime<Utc>>,
    finished_at: DateTime<Utc>,
}

impl TryFrom<Row> for DeadLetter {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        let said = |name: &str| {
            row.error.as_ref().and_then(|error| error.get(name)?.as_str()).unwrap_or_default().to_owned()
        };
        Ok(Self {
            id: JobId(row.id),
            code: said("code"),
            message: said("message"),
            kind: row.kind,
            version: row.version,
            pool: row.pool,
            priority: row.priority,
            payload: payload::masked(row.payload),
            origin: Origin::read(row.origin)?,
            attempts: row.attempt,
            max_attempts: row.max_attempts,
            crashes: row.crashes,
            batch: row.batch_id.map(JobId),
            created_at: row.created_at,
            started_at: row.started_at,
            failed_at: row.finished_at,
        })
    }
}

/// Dead letters, the latest first, and their number.
pub async fn list(
    database: &Database,
    owner: Owner,
    filter: &Filter,
    limit: i64,
    offset: i64,
) -> Result<(Vec<DeadLetter>, i64), sqlx::Error> {
    let mut reader = database.reader().await?;
    let all = sqlx::query_scalar!(
        r#"select count(*) as "letters!" from (
               select from finished_jobs
                where state = 'failed' and discarded_at is null
                  and coalesce(workspace_id, '00000000-0000-0000-0000-000000000000') = $1
                limit $2) counted"#,
        owner.tenant(),
        MAX_QUICK_ROWS + 1,
    )
    .fetch_one(reader.conn())
    .await?;
    reader = reader.for_rows(database, all).await?;
    let rows = sqlx::query_as!(
        Row,
        "select id, kind, version, pool, priority, payload, origin, error, attempt, max_attempts, crashes,
                batch_id, created_at, started_at, finished_at
           from finished_jobs
          where state = 'failed' and discarded_at is null
            and coalesce(workspace_id, '00000000-0000-0000-0000-000000000000') = $1
            and (cardinality($2::text[]) = 0 or kind = any($2))
            and (cardinality($3::text[]) = 0 or error ->> 'code' = any($3))
            and ($4::timestamptz is null or finished_at >= $4)
            and ($5::timestamptz is null or finished_at < $5)
            and kind <> all($6)
          order by finished_at desc, id desc
          limit $7 offset $8",
        owner.tenant(),
        &filter.kinds,
        &filter.codes,
        filter.since,
        filter.until,
        &filter.except,
        limit,
        offset,
    )
    .fetch_all(reader.conn())
    .await?;
    let total = sqlx::query_scalar!(
        r#"select count(*) as "total!" from finished_jobs
            where state = 'failed' and discarded_at is null
              and coalesce(workspace_id, '00000000-0000-0000-0000-000000000000') = $1
              and (cardinality($2::text[]) = 0 or kind = any($2))
              and (cardinality($3::text[]) = 0 or error ->> 'code' = any($3))
              and ($4::timestamptz is null or finished_at >= $4)
              and ($5::timestamptz is null or finished_at < $5)
              and kind <> all($6)"#,
        owner.tenant(),
        &filter.kinds,
        &filter.codes,
        filter.since,
        filter.until,
        &filter.except,
    )
    .fetch_one(reader.conn())
    .await?;
    let found: Result<_, sqlx::Error> = rows.into_iter().map(DeadLetter::try_from).collect();
    Ok((found?, total))
}

/// A dead letter.
pub async fn find(database: &Database, owner: Owner, id: JobId) -> Result<Option<DeadLetter>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        "select id, kind, version, pool, priority, payload, origin, error, attempt, max_attempts, crashes,
                batch_id, created_at, started_at, finished_at
           from finished_jobs
          where id = $1 and workspace_id is not distinct from $2 and state = 'failed' and discarded_at is null",
        id.0,
        owner.workspace(),
    )
    .fetch_optional(database.reader().await?.conn())
    .await?;
    row.map(DeadLetter::try_from).transpose()
}
