//! Enqueueing: a row in the ledger, in the caller's transaction. A job whose unique key is taken is not
//! inserted; the caller receives the id of the job that represents it.

use std::{borrow::Cow, collections::HashMap};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use tracing::Instrument;
use uuid::Uuid;

use crate::{Database, JobId, JobKind, Origin, PayloadKeys, Pool, TraceParent, Tx, Unique, payload, trace};

/// A job to be enqueued, with its deviations from the kind's defaults.
#[derive(Debug)]
pub struct NewJob<'a, K> {
    kind: &'a K,
    id: JobId,
    workspace: Option<Uuid>,
    origin: Origin,
    run_at: Option<DateTime<Utc>>,
    priority: i16,
    unique: Option<Unique>,
    batch: Option<JobId>,
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
            unique: kind.unique(),
            batch: None,
        }
    }

    /// Sets an id chosen before, so that other rows can refer to it.
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

    /// Sets the origin.
    #[must_use]
    pub fn origin(mut self, origin: Origin) -> Self {
        self.origin = origin;
        self
    }

    /// Sets the earliest start time.
    #[must_use]
    pub fn run_at(mut self, at: DateTime<Utc>) -> Self {
        self.run_at = Some(at);
        self
    }

    /// Sets a unique key instead of the kind's own: while it is taken, the job that holds it represents
    /// this one.
    #[must_use]
    pub fn unique(mut self, unique: Unique) -> Self {
        self.unique = Some(unique);
        self
    }

    /// As a child of that batch.
    #[must_use]
    pub(crate) fn batch(mut self, parent: JobId) -> Self {
        self.batch = Some(parent);
        self
    }

    /// The job in the ledger's form, with its secrets encrypted.
    pub(crate) fn into_row(self, keys: &PayloadKeys) -> Result<Row, sqlx::Error> {
        let encoded = |error: Box<dyn std::error::Error + Send + Sync>| sqlx::Error::Encode(error);
        let mut payload = serde_json::to_value(self.kind).map_err(|error| encoded(error.into()))?;
        payload::seal(keys, self.id, K::SECRETS, &mut payload).map_err(|error| encoded(error.into()))?;
        let (unique_key, unique_until, unique_seconds) =
            self.unique.map_or((None, None, None), Unique::columns);
        Ok(Row {
            id: self.id,
            kind: K::NAME.into(),
            version: K::VERSION,
            pool: K::POOL.name().into(),
            payload,
            origin: self.origin,
            priority: self.priority,
            run_at: self.run_at,
            max_attempts: K::RETRY.attempts,
            checkpoints: K::CHECKPOINTS,
            batch_id: self.batch,
            unique_key,
            unique_until,
            unique_seconds,
        })
    }

    /// Sets the priority, from 0 (first) to 9 (last).
    #[must_use]
    pub fn priority(mut self, priority: i16) -> Self {
        self.priority = priority.clamp(0, 9);
        self
    }
}

/// Result of enqueueing a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enqueued {
    /// It waits.
    New(JobId),
    /// Nothing was inserted: its unique key is held by this job, which represents it.
    Duplicate(JobId),
}

impl Enqueued {
    /// The job that does the work.
    #[must_use]
    pub fn id(self) -> JobId {
        match self {
            Self::New(id) | Self::Duplicate(id) => id,
        }
    }
}

/// Inserts a job. It exists if and only if `tx` commits. If another transaction is inserting
/// one with the same unique key, this waits for its end.
///
/// # Errors
/// When the payload can't be serialised, has secrets without a key for them, or the database refuses.
pub async fn enqueue<K: JobKind>(tx: &mut Tx, job: NewJob<'_, K>) -> Result<Enqueued, sqlx::Error> {
    let id = job.id;
    let duplicates = enqueue_all(tx, vec![job]).await?;
    Ok(duplicates.get(&id).map_or(Enqueued::New(id), |&other| Enqueued::Duplicate(other)))
}

/// Inserts many jobs of one kind and workspace by one statement. Answers those that are represented by another
/// job, with that job.
pub async fn enqueue_all<K: JobKind>(
    tx: &mut Tx,
    jobs: Vec<NewJob<'_, K>>,
) -> Result<HashMap<JobId, JobId>, sqlx::Error> {
    let Some(first) = jobs.first() else { return Ok(HashMap::new()) };
    let workspace = first.workspace;
    let (rows, span) = prepare(&tx.database().keys, first.origin.traceparent, jobs)?;
    insert(tx, workspace, &rows).instrument(span).await
}

impl Database {
    /// Inserts a job in a commit of its own, which costs one round trip to PostgreSQL instead of three.
    ///
    /// # Errors
    /// As [`enqueue`].
    pub async fn enqueue<K: JobKind>(&self, job: NewJob<'_, K>) -> Result<Enqueued, sqlx::Error> {
        let (id, workspace) = (job.id, job.workspace);
        let (rows, span) = prepare(&self.keys, job.origin.traceparent, vec![job])?;
        let inserting = async {
            let mut connection = self.pool.acquire().await?;
            insert_rows(&mut connection, workspace, &rows).await
        };
        let duplicates = inserting.instrument(span).await?;
        if let Some(&other) = duplicates.get(&id) {
            return Ok(Enqueued::Duplicate(other));
        }
        self.bus.wake(Some(K::POOL));
        Ok(Enqueued::New(id))
    }
}

/// Jobs as rows, and the span in which they are inserted, which their runs follow.
fn prepare<K: JobKind>(
    keys: &PayloadKeys,
    parent: Option<TraceParent>,
    jobs: Vec<NewJob<'_, K>>,
) -> Result<(Vec<Row>, tracing::Span), sqlx::Error> {
    let span = tracing::info_span!("enqueue", kind = K::NAME, jobs = jobs.len(), otel.kind = "producer");
    let traceparent = trace::follow(&span, parent);
    let mut rows = Vec::with_capacity(jobs.len());
    for job in jobs {
        let mut row = job.into_row(keys)?;
        row.origin.traceparent = traceparent.or(row.origin.traceparent);
        rows.push(row);
    }
    Ok((rows, span))
}

/// A job in the form that `enqueue_jobs` takes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub id: JobId,
    pub kind: Cow<'static, str>,
    pub version: i16,
    pub pool: Cow<'static, str>,
    pub payload: serde_json::Value,
    pub origin: Origin,
    pub priority: i16,
    pub run_at: Option<DateTime<Utc>>,
    pub max_attempts: i32,
    pub checkpoints: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<JobId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unique_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unique_until: Option<Cow<'static, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unique_seconds: Option<f64>,
}

/// Inserts rows, and wakes the dispatcher after the commit. Answers those that are represented by another job.
pub(crate) async fn insert(
    tx: &mut Tx,
    workspace: Option<Uuid>,
    rows: &[Row],
) -> Result<HashMap<JobId, JobId>, sqlx::Error> {
    let workspace = tx.workspace().or(workspace);
    let duplicates = insert_rows(tx.conn(), workspace, rows).await?;
    // A job has no watchers before it exists: there is nothing to publish.
    for row in rows.iter().filter(|row| !duplicates.contains_key(&row.id)) {
        // A pool that this release doesn't know is woken by another release.
        if let Some(pool) = Pool::named(&row.pool) {
            tx.wake_after_commit(pool);
        }
    }
    Ok(duplicates)
}

async fn insert_rows(
    conn: &mut PgConnection,
    workspace: Option<Uuid>,
    rows: &[Row],
) -> Result<HashMap<JobId, JobId>, sqlx::Error> {
    let json = serde_json::to_value(rows).map_err(|e| sqlx::Error::Encode(e.into()))?;
    let duplicates = sqlx::query!(
        r#"select asked as "asked!", stands_for as "stands_for!" from enqueue_jobs($1, $2)
            where asked <> stands_for"#,
        workspace,
        json
    )
    .fetch_all(conn)
    .await?;
    Ok(duplicates.into_iter().map(|row| (JobId(row.asked), JobId(row.stands_for))).collect())
}
