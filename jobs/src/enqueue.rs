//! Enqueueing: a row in the ledger, in the caller's transaction.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tracing::Instrument;
use uuid::Uuid;

use crate::{JobId, JobKind, Pool, TraceParent, Tx, trace, watch::Event};

/// Who asked for a job, from where. Kept with the job, shown in its logs, never acted on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The HTTP request that started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The user or key on whose behalf it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<Uuid>,
    /// The surface that started it; links point there.
    #[serde(default)]
    pub surface: Surface,
    /// The place in a trace from which it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<TraceParent>,
}

/// One of the two HTTP surfaces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Surface {
    /// `/api/v1`
    #[default]
    Workspace,
    /// `/v1`
    Platform,
}

/// A job about to be enqueued, with what differs from its kind's defaults.
#[derive(Debug)]
pub struct NewJob<'a, K> {
    kind: &'a K,
    id: JobId,
    workspace: Option<Uuid>,
    origin: Origin,
    run_at: Option<DateTime<Utc>>,
    priority: i16,
}

impl<'a, K: JobKind> NewJob<'a, K> {
    /// A job of that kind, due at once.
    #[must_use]
    pub fn new(kind: &'a K) -> Self {
        Self {
            kind,
            id: JobId::new(),
            workspace: None,
            origin: Origin::default(),
            run_at: None,
            priority: K::PRIORITY,
        }
    }

    /// With an id chosen before, so that other rows can refer to it.
    #[must_use]
    pub fn id(mut self, id: JobId) -> Self {
        self.id = id;
        self
    }

    /// For a workspace. In a workspace's own transaction its role decides, and this is ignored.
    #[must_use]
    pub fn workspace(mut self, workspace: Option<Uuid>) -> Self {
        self.workspace = workspace;
        self
    }

    /// Who asked.
    #[must_use]
    pub fn origin(mut self, origin: Origin) -> Self {
        self.origin = origin;
        self
    }

    /// Not before that time.
    #[must_use]
    pub fn run_at(mut self, at: DateTime<Utc>) -> Self {
        self.run_at = Some(at);
        self
    }

    /// 0 (first) to 9 (last).
    #[must_use]
    pub fn priority(mut self, priority: i16) -> Self {
        self.priority = priority.clamp(0, 9);
        self
    }
}

/// Inserts a job. It exists if and only if `tx` commits.
///
/// # Errors
/// When the payload can't be serialised or the database refuses.
pub async fn enqueue<K: JobKind>(tx: &mut Tx, job: NewJob<'_, K>) -> Result<JobId, sqlx::Error> {
    let id = job.id;
    enqueue_all(tx, vec![job]).await?;
    Ok(id)
}

/// Inserts many jobs of one kind by one statement.
pub async fn enqueue_all<K: JobKind>(tx: &mut Tx, jobs: Vec<NewJob<'_, K>>) -> Result<(), sqlx::Error> {
    let Some(first) = jobs.first() else { return Ok(()) };
    let workspace = first.workspace;
    let span = tracing::info_span!("enqueue", kind = K::NAME, jobs = jobs.len(), otel.kind = "producer");
    let traceparent = trace::follow(&span, first.origin.traceparent);
    let mut rows = Vec::with_capacity(jobs.len());
    for job in jobs {
        rows.push(Row {
            id: job.id,
            kind: K::NAME,
            version: K::VERSION,
            pool: K::POOL,
            payload: serde_json::to_value(job.kind).map_err(|e| sqlx::Error::Encode(e.into()))?,
            origin: Origin { traceparent: traceparent.or(job.origin.traceparent), ..job.origin },
            priority: job.priority,
            run_at: job.run_at,
            max_attempts: K::RETRY.attempts,
        });
    }
    insert(tx, workspace, &rows).instrument(span).await
}

/// A job as `enqueue_jobs` takes it.
#[derive(Debug, Serialize)]
pub(crate) struct Row<'a> {
    pub id: JobId,
    pub kind: &'a str,
    pub version: i16,
    pub pool: Pool,
    pub payload: serde_json::Value,
    pub origin: Origin,
    pub priority: i16,
    pub run_at: Option<DateTime<Utc>>,
    pub max_attempts: i32,
}

/// Inserts rows, and announces them after the commit.
pub(crate) async fn insert(
    tx: &mut Tx,
    workspace: Option<Uuid>,
    rows: &[Row<'_>],
) -> Result<(), sqlx::Error> {
    let workspace = tx.workspace().or(workspace);
    let now = crate::clock::now();
    let json = serde_json::to_value(rows).map_err(|e| sqlx::Error::Encode(e.into()))?;
    sqlx::query!("select enqueue_jobs($1, $2)", workspace, json).execute(tx.conn()).await?;
    for row in rows {
        let due = row.run_at.is_none_or(|at| at <= now);
        tx.publish_after_commit(Event::enqueued(row.id, due, now));
        tx.wake_after_commit(row.pool);
    }
    Ok(())
}
