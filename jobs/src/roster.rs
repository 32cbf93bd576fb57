//! The roster of worker processes: who serves which pools, who is still heard of, and what an operator
//! has asked of them. A worker obeys its row: it reads it with each renewal of its leases, and at once
//! when told to over the bus.

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

/// What an operator asks of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(poem_openapi::Enum), oai(rename = "Asked", rename_all = "snake_case"))]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// To take nothing more; jobs in hand go on.
    Pause,
    /// To leave, as on SIGTERM. There is no way back from that.
    Drain,
}

impl Asked {
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

/// What a worker does, by its own word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(poem_openapi::Enum),
    oai(rename = "WorkerState", rename_all = "snake_case")
)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Takes jobs.
    Taking,
    /// Takes nothing more; jobs in hand go on.
    Paused,
    /// Takes nothing more, and leaves when it has nothing in hand or its grace is over.
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

/// How many jobs of a pool a worker runs at once.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(poem_openapi::Object))]
pub struct PoolSlots {
    /// The pool.
    pub pool: String,
    /// Jobs at once.
    pub slots: i64,
}

/// A job that a worker has in hand.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "openapi", derive(poem_openapi::Object))]
pub struct JobInHand {
    /// The job.
    pub job_id: JobId,
    /// What it does.
    pub kind: String,
    /// Its workspace; none: a job of the installation itself.
    #[cfg_attr(feature = "openapi", oai(skip_serializing_if_is_none))]
    pub workspace_id: Option<Uuid>,
    /// Since when the worker has it.
    pub since: DateTime<Utc>,
}

/// A worker process.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "openapi", derive(poem_openapi::Object))]
pub struct Worker {
    /// Of this process; a restarted one has another.
    pub id: WorkerId,
    /// The machine.
    pub host: String,
    /// The process on that machine.
    pub pid: i32,
    /// The release.
    pub version: String,
    /// What it serves.
    pub pools: Vec<PoolSlots>,
    /// Its jobs, oldest first.
    pub jobs: Vec<JobInHand>,
    /// Whether it has been heard of within two leases.
    pub live: bool,
    /// Seconds since it was heard of.
    pub heartbeat_age_seconds: f64,
    /// What it does, by its own word: it follows what is asked of it a moment later.
    pub state: State,
    /// What has been asked of it, if anything.
    #[cfg_attr(feature = "openapi", oai(skip_serializing_if_is_none))]
    pub asked: Option<Asked>,
    /// When it started.
    pub started_at: DateTime<Utc>,
}

/// What came of asking a worker for something.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// It has been told, or will find it in its row within a third of its lease.
    Told(Box<Worker>),
    /// It has been asked to leave before, and can't be called back.
    Leaving,
    /// There is no such worker.
    NotFound,
}

/// Every worker that the installation knows, the longest-serving first. Rows of workers that are gone
/// stay for an hour.
pub async fn list(database: &Database) -> Result<Vec<Worker>, sqlx::Error> {
    select(&mut *database.pool.acquire().await?, None).await
}

/// Asks a worker to pause or drain, or with `None` to go on. Jobs in hand go on under a pause; a drain
/// has those with checkpoints handed back.
pub async fn ask(tx: &mut Tx, id: WorkerId, asked: Option<Asked>, by: &Origin) -> Result<Ask, sqlx::Error> {
    let changed = sqlx::query!(
        "update workers set asked = $2 where id = $1 and (asked is distinct from 'drain' or $2 = 'drain')",
        id.0,
        asked.map(Asked::name),
    )
    .execute(tx.conn())
    .await?
    .rows_affected();
    if changed > 0 {
        let action = match asked {
            Some(Asked::Pause) => "worker.paused",
            Some(Asked::Drain) => "worker.drained",
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
    Ok(if changed == 0 { Ask::Leaving } else { Ask::Told(Box::new(worker)) })
}

/// Tells a worker to look at its row. What is lost, its next heartbeat finds.
pub(crate) async fn tell_to_look(bus: &Bus, worker: Uuid) {
    let told = redis::cmd("PUBLISH")
        .arg(bus.control_channel())
        .arg(format!("{LOOK}{worker}"))
        .query_async::<()>(&mut bus.connection())
        .await;
    if let Err(error) = told {
        tracing::debug!(%error, "the worker will find it in its row");
    }
}

/// How a message on the control channel begins that tells a worker to look at its row.
const LOOK: &str = "worker ";

/// Whether a message on the control channel tells that worker to look at its row.
pub(crate) fn is_look(message: &str, worker: Uuid) -> bool {
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
            asked: row.asked.as_deref().and_then(Asked::named),
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
    /// Pool → jobs at once.
    pub slots: Value,
    pub lease: Duration,
}

impl Registration {
    /// Says that the worker is there and what it does, and answers with what is asked of it. A row that was removed
    /// during a long silence comes back.
    pub(crate) async fn heartbeat(
        &self,
        state: State,
        connection: &mut PgConnection,
    ) -> Result<Option<Asked>, sqlx::Error> {
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
        Ok(asked.as_deref().and_then(Asked::named))
    }

    /// Takes the row away: the worker has left in good order.
    pub(crate) async fn sign_off(&self, database: &Database) -> Result<(), sqlx::Error> {
        sqlx::query!("delete from workers where id = $1", self.id).execute(&database.pool).await?;
        Ok(())
    }
}
