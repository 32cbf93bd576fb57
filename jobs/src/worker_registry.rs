//! The registry of worker processes: their pools, heartbeats, and the operator's
//! commands to them. A worker obeys its row: it reads it with each renewal of its leases, and at once
//! when notified over the bus.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    Bus, Database, JobId, Origin, Tx, WorkerId,
    audit::{self, Change},
    ledger::interval,
};

/// An operator's command to a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(poem_openapi::Enum),
    oai(rename = "WorkerCommand", rename_all = "snake_case")
)]
#[serde(rename_all = "snake_case")]
pub enum WorkerCommand {
    /// Accept no further jobs; running jobs continue.
    Pause,
    /// Drain, as on SIGTERM. This can't be undone.
    Drain,
}

impl WorkerCommand {
    const fn name(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Drain => "drain",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Self::Pause, Self::Drain].into_iter().find(|asked| asked.name() == name)
    }
}

/// State of a worker, as reported by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(poem_openapi::Enum),
    oai(rename = "WorkerState", rename_all = "snake_case")
)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Accepts jobs.
    Taking,
    /// Accepts no further jobs; running jobs continue.
    Paused,
    /// Accepts no further jobs, and exits when none is running or the grace period has passed.
    Leaving,
}

impl State {
    const ALL: [Self; 3] = [Self::Taking, Self::Paused, Self::Leaving];

    const fn name(self) -> &'static str {
        match self {
            Self::Taking => "taking",
            Self::Paused => "paused",
            Self::Leaving => "leaving",
        }
    }
}

/// Slots of a worker for a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(poem_openapi::Object))]
pub struct PoolSlots {
    /// Name of the pool.
    pub pool: String,
    /// Maximum number of concurrent jobs.
    pub slots: i64,
}

/// A job that a worker runs.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "openapi", derive(poem_openapi::Object))]
pub struct JobInHand {
    /// Job id.
    pub job_id: JobId,
    /// Job kind.
    pub kind: String,
    /// Workspace id; absent for a job of the installation itself.
    #[cfg_attr(feature = "openapi", oai(skip_serializing_if_is_none))]
    pub workspace_id: Option<Uuid>,
    /// Time of the claim.
    pub since: DateTime<Utc>,
}

/// A worker process.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "openapi", derive(poem_openapi::Object))]
pub struct Worker {
    /// Worker id; a restarted process has another one.
    pub id: WorkerId,
    /// Host name.
    pub host: String,
    /// Process id on that host.
    pub pid: i32,
    /// Version of the release.
    pub version: String,
    /// Pools that it serves.
    pub pools: Vec<PoolSlots>,
    /// Running jobs, the oldest first.
    pub jobs: Vec<JobInHand>,
    /// Whether its last heartbeat is at most two leases old.
    pub live: bool,
    /// Age of the last heartbeat in seconds.
    pub heartbeat_age_seconds: f64,
    /// State, as reported by itself; it follows a command after a moment.
    pub state: State,
    /// Pending or executed command; absent if there is none.
    #[cfg_attr(feature = "openapi", oai(skip_serializing_if_is_none))]
    pub asked: Option<WorkerCommand>,
    /// Start time.
    pub started_at: DateTime<Utc>,
}

/// Result of a command to a worker.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// It was notified, or will read it in its row within a third of its lease.
    Notified(Box<Worker>),
    /// It is draining already, which can't be undone.
    Leaving,
    /// There is no such worker.
    NotFound,
}

/// All workers of the installation, the longest-running first. Rows of dead workers
/// stay for an hour.
pub async fn list(database: &Database) -> Result<Vec<Worker>, sqlx::Error> {
    select(&mut *database.pool.acquire().await?, None).await
}

/// Commands a worker to pause or drain, or with `None` to resume. Running jobs continue under a pause; a drain
/// has those with checkpoints handed back.
pub async fn ask(
    tx: &mut Tx,
    id: WorkerId,
    asked: Option<WorkerCommand>,
    by: &Origin,
) -> Result<Ask, sqlx::Error> {
    let changed = sqlx::query!(
        "update workers set asked = $2 where id = $1 and (asked is distinct from 'drain' or $2 = 'drain')",
        id.0,
        asked.map(WorkerCommand::name),
    )
    .execute(tx.conn())
    .await?
    .rows_affected();
    if changed > 0 {
        let action = match asked {
            Some(WorkerCommand::Pause) => "worker.paused",
            Some(WorkerCommand::Drain) => "worker.drained",
            None => "worker.resumed",
        };
        let change = Change {
            workspace: None,
            action,
            resource_type: "worker",
            resource_id: Some(id.0),
            data: json!({}),
        };
        audit::note(tx, by, change).await?;
        tx.look_after_commit(id.0);
    }
    let Some(worker) = select(tx.conn(), Some(id)).await?.pop() else { return Ok(Ask::NotFound) };
    Ok(if changed == 0 { Ask::Leaving } else { Ask::Notified(Box::new(worker)) })
}

/// Notifies a worker to read its row. If the message is lost, its next heartbeat does.
pub(crate) async fn request_renewal(bus: &Bus, worker: Uuid) {
    let published = redis::cmd("PUBLISH")
        .arg(bus.control_channel())
        .arg(format!("{LOOK}{worker}"))
        .query_async::<()>(&mut bus.connection())
        .await;
    if let Err(error) = published {
        tracing::debug!(%error, "the worker will find it in its row");
    }
}

/// Prefix of a message on the control channel that notifies a worker to read its row.
const LOOK: &str = "worker ";

/// Whether a message on the control channel notifies that worker to read its row.
pub(crate) fn is_renewal_request(message: &str, worker: Uuid) -> bool {
    message.strip_prefix(LOOK).is_some_and(|id| id.parse() == Ok(worker))
}

async fn select(conn: &mut PgConnection, id: Option<WorkerId>) -> Result<Vec<Worker>, sqlx::Error> {
    let workers = sqlx::query!(
        r#"select id, host, pid, version, slots, state, asked, started_at,
                  heartbeat_at > now() - 2 * lease as "live!",
                  greatest(extract(epoch from now() - heartbeat_at), 0)::float8 as "age!"
             from workers
            where $1::uuid is null or id = $1
            order by started_at, id"#,
        id.map(|id| id.0),
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut jobs = sqlx::query!(
        r#"select id as "id!", kind as "kind!", workspace_id, worker as "worker!", coalesce(claimed_at, now()) as "since!"
             from running_jobs
            where worker is not null and ($1::uuid is null or worker = $1)
            order by claimed_at, id"#,
        id.map(|id| id.0),
    )
    .fetch_all(conn)
    .await?;
    let mut list = Vec::with_capacity(workers.len());
    for row in workers {
        let (in_hand, others) = jobs.into_iter().partition(|job| job.worker == row.id.0);
        jobs = others;
        list.push(Worker {
            id: row.id,
            host: row.host,
            pid: row.pid,
            version: row.version,
            pools: slots_of(&row.slots),
            jobs: in_hand
                .into_iter()
                .map(|job| JobInHand {
                    job_id: JobId(job.id),
                    kind: job.kind,
                    workspace_id: job.workspace_id,
                    since: job.since,
                })
                .collect(),
            live: row.live,
            heartbeat_age_seconds: row.age,
            state: State::ALL.into_iter().find(|s| s.name() == row.state).unwrap_or(State::Taking),
            asked: row.asked.as_deref().and_then(WorkerCommand::named),
            started_at: row.started_at,
        });
    }
    Ok(list)
}

fn slots_of(slots: &Value) -> Vec<PoolSlots> {
    let pools = slots.as_object().into_iter().flatten();
    pools.map(|(pool, slots)| PoolSlots { pool: pool.clone(), slots: slots.as_i64().unwrap_or(0) }).collect()
}

/// A worker's own row.
#[derive(Debug, Clone)]
pub(crate) struct Registration {
    pub id: Uuid,
    pub host: String,
    pub pid: i32,
    /// Pool → maximum number of concurrent jobs.
    pub slots: Value,
    pub lease: Duration,
}

impl Registration {
    /// Records the worker's heartbeat and state, and answers the command to it. A row that was removed
    /// during a long silence is restored.
    pub(crate) async fn heartbeat(
        &self,
        state: State,
        connection: &mut PgConnection,
    ) -> Result<Option<WorkerCommand>, sqlx::Error> {
        let asked = sqlx::query_scalar!(
            "insert into workers (id, host, pid, version, slots, lease, state) values ($1, $2, $3, $4, $5, $6, $7)
             on conflict (id) do update set heartbeat_at = now(), state = excluded.state
             returning asked",
            self.id,
            self.host,
            self.pid,
            env!("CARGO_PKG_VERSION"),
            self.slots,
            interval(self.lease),
            state.name(),
        )
        .fetch_one(connection)
        .await?;
        Ok(asked.as_deref().and_then(WorkerCommand::named))
    }

    /// Removes the row: the worker has exited in good order.
    pub(crate) async fn sign_off(&self, database: &Database) -> Result<(), sqlx::Error> {
        sqlx::query!("delete from workers where id = $1", self.id).execute(&database.pool).await?;
        Ok(())
    }
}
