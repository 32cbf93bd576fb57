//! The ledger's statements one at a time, as dispatchers and workers issue them, for tests with
//! an order of their own.

use std::{collections::HashMap, time::Duration};

use sqlx::{PgConnection, Postgres, pool::PoolConnection};
use uuid::Uuid;

use crate::{
    Database, JobId, Pool,
    dispatch::{DispatchConfig, lanes, rescue},
    ledger::{self, Ended, Returned},
    roster::{Registration, State},
};

/// A worker, as far as the ledger knows it.
#[derive(Debug)]
pub struct Worker {
    database: Database,
    registration: Registration,
}

/// A worker's claim of a job: only the holder of the newest may end it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The job.
    pub job: JobId,
    /// Increases with each claim.
    pub fence: i64,
}

impl Worker {
    /// Registers a worker.
    pub async fn sign_on(database: &Database, lease: Duration) -> Self {
        let worker = Self {
            database: database.clone(),
            registration: Registration {
                id: Uuid::now_v7(),
                host: String::new(),
                pid: 0,
                slots: serde_json::json!({}),
                lease,
            },
        };
        let mut conn = database.pool.acquire().await.expect("PostgreSQL answers");
        worker.registration.heartbeat(State::Taking, &mut conn).await.expect("a worker may sign on");
        worker
    }

    /// Its id in the ledger.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.registration.id
    }

    /// Claims the claimable ones of these jobs.
    pub async fn claim(&self, jobs: &[JobId]) -> Vec<Held> {
        let ids: Vec<_> = jobs.iter().map(|job| job.0).collect();
        let (worker, lease) = (self.registration.id, self.registration.lease);
        let claimed =
            ledger::claim(&mut *self.conn().await, worker, lease, &ids).await.expect("a claim is answered");
        claimed.into_iter().flatten().map(|job| Held { job: job.id, fence: job.fence }).collect()
    }

    /// Renews the leases that it considers its own.
    pub async fn renew(&self, held: &[Held]) {
        let jobs: Vec<_> = held.iter().map(|held| (held.job, held.fence, None)).collect();
        ledger::renew(&self.database.pool, &self.registration, Some(State::Taking), &jobs)
            .await
            .expect("a renewal is answered");
    }

    /// Ends a job as `completed`, `failed` or `cancelled`. False: another holds it.
    pub async fn end(&self, held: Held, state: &'static str) -> bool {
        let ended =
            Ended { id: held.job, fence: held.fence, state, progress: None, result: None, error: None };
        ledger::end(&mut *self.conn().await, &[ended.into()]).await.expect("an end is answered")[0].is_some()
    }

    /// Puts a job back to wait. False: another holds it.
    pub async fn put_back(&self, held: Held, counts: bool) -> bool {
        let returned = Returned {
            id: held.job,
            fence: held.fence,
            delay: Duration::ZERO,
            counts,
            progress: None,
            error: None,
        };
        ledger::put_back(&mut *self.conn().await, &[returned]).await.expect("a return is answered")[0]
            .is_some()
    }

    async fn conn(&self) -> PoolConnection<Postgres> {
        self.database.pool.acquire().await.expect("PostgreSQL answers")
    }

    /// Ends as a crash does: without a heartbeat, and with its leases expired.
    pub async fn crash(&self) {
        let (pool, id) = (&self.database.pool, self.registration.id);
        sqlx::query!("delete from workers where id = $1", id).execute(pool).await.expect("it can be removed");
        expire(&self.database, Some(id)).await;
    }
}

/// Lets the leases of a worker, or of all, expire.
pub async fn expire(database: &Database, worker: Option<Uuid>) {
    sqlx::query!(
        "update jobs set lease_until = now() - interval '1 second'
          where state = 'running' and lease_until is not null and ($1::uuid is null or worker = $1)",
        worker
    )
    .execute(&database.pool)
    .await
    .expect("leases can expire");
}

/// The due jobs of a pool as a dispatcher sees them, up to `depth` of each lane. It also reads the running
/// ones, as it does to decide the order, and updates the notes of claims.
pub async fn due(database: &Database, pool: Pool, depth: usize) -> Vec<JobId> {
    let depth = lanes::Depth { pushed: 0, more: depth };
    let mut conn = database.pool.acquire().await.expect("PostgreSQL answers");
    let mut due = Vec::new();
    let mut after = lanes::Lane::start();
    loop {
        let found = lanes::due(&mut conn, pool, &after, depth).await.expect("the lanes can be walked");
        due.extend(found.jobs.into_iter().map(|job| JobId(job.id)));
        match found.next {
            Some(next) => after = next,
            None => break,
        }
    }
    running(&mut conn, pool).await;
    due
}

/// The number of running jobs of a pool as a dispatcher sees it, by a connection of the caller's.
pub async fn running(conn: &mut PgConnection, pool: Pool) -> usize {
    let running = lanes::running(conn, pool).await.expect("running jobs can be read");
    running.values().map(|tenant| tenant.jobs).sum()
}

/// What it sees when it continues from there: up to `depth` more of each lane, then as many again, to the end.
pub async fn due_beyond(database: &Database, pool: Pool, depth: usize) -> Vec<JobId> {
    let mut conn = database.pool.acquire().await.expect("PostgreSQL answers");
    let from_the_start = lanes::Depth { pushed: 0, more: depth };
    let walk = lanes::due(&mut conn, pool, &lanes::Lane::start(), from_the_start)
        .await
        .expect("the lanes can be walked");
    let mut ends: HashMap<lanes::Lane, _> = HashMap::new();
    for job in walk.jobs {
        ends.insert(job.lane(), (job.run_at, job.id));
    }
    let mut due = Vec::new();
    loop {
        let from: Vec<_> = ends.iter().map(|(lane, end)| (lane.clone(), *end)).collect();
        let more = lanes::beyond(&mut conn, pool, &from, depth).await.expect("the lanes can be continued");
        if more.is_empty() {
            return due;
        }
        for job in more {
            due.push(JobId(job.id));
            ends.insert(job.lane(), (job.run_at, job.id));
        }
    }
}

/// Frees the jobs whose leases have expired, as a leader does.
pub async fn rescue_all(database: &Database, lease: Duration, crash_limit: i32) {
    let config = DispatchConfig { lease, crash_limit, ..DispatchConfig::default() };
    rescue::rescue(database, &config, &mut HashMap::new(), Duration::from_secs(1))
        .await
        .expect("a rescue is answered");
}
