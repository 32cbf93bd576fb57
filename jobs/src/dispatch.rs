//! Dispatch: one leader moves due ids from the ledger to the pools' queues in Redis.
//!
//! It writes nothing to the ledger for that. It remembers what it pushed; an id that nobody has
//! claimed after [`REPUSH_AFTER`] is pushed again, and everything is when Redis has lost its memory.
//! Leadership is an advisory lock on a connection of its own; two leaders for a moment push an id
//! twice, which the claim in the ledger makes harmless.

use std::{
    collections::{HashMap, HashSet},
    str::FromStr,
    time::Duration,
};

use futures::StreamExt;
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    Database, Pool, Recurring, clock, control, deliver, ledger, recurring,
    watch::{Event, Status, publish, snapshot},
};

/// The fallback when no wake-up arrives.
const POLL: Duration = Duration::from_millis(250);
/// While more is due than a queue holds, it is topped up this often.
const TOP_UP: Duration = Duration::from_millis(10);
/// A pushed id that is still unclaimed after this long may have been lost.
const REPUSH_AFTER: Duration = Duration::from_secs(2);
/// How much of a pool's measured drain a queue holds ahead.
const AHEAD: f64 = 0.05;
/// Ids that a queue holds at the least, so that workers that come up find some.
const QUEUE_MIN: usize = 16;
/// Ids that a queue holds at the most: apalis-redis unpacks a whole backlog at once.
const QUEUE_MAX: usize = 2000;
/// How often expired leases and the bus's marker are looked at.
const UPKEEP: Duration = Duration::from_millis(500);
/// Key of the leader's advisory lock: "millrace" in ASCII.
const LEADER_LOCK: i64 = 0x6d69_6c6c_7261_6365;

/// What the dispatcher is told.
#[derive(Debug, Clone)]
pub struct DispatchConfig {
    /// The workers' lease; after an outage nobody is rescued for as long.
    pub lease: Duration,
    /// Crashes in a row of a job that ran alone, without a checkpoint between them, that end it.
    pub crash_limit: i32,
    /// What is enqueued again and again.
    pub recurring: Vec<Recurring>,
}

impl Default for DispatchConfig {
    fn default() -> Self {
        Self { lease: Duration::from_secs(15), crash_limit: 3, recurring: Vec::new() }
    }
}

/// Leads, or stands by to lead, until `stop`.
pub async fn dispatch(database: Database, url: &str, config: DispatchConfig, stop: CancellationToken) {
    while !stop.is_cancelled() {
        match lead(&database, url, &config, &stop).await {
            Ok(()) => {}
            Err(error) => tracing::warn!(%error, "not leading; trying again"),
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(500)) => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn lead(
    database: &Database,
    url: &str,
    config: &DispatchConfig,
    stop: &CancellationToken,
) -> Result<(), sqlx::Error> {
    let options = PgConnectOptions::from_str(url)?.application_name("millrace leader");
    let mut lock = PgConnection::connect_with(&options).await?;
    let leading = sqlx::query_scalar!(r#"select pg_try_advisory_lock($1) as "got!""#, LEADER_LOCK)
        .fetch_one(&mut lock)
        .await?;
    if !leading {
        lock.close().await.ok(); // standing by; the lock was not ours
        return Ok(());
    }
    tracing::info!("leading");
    metrics::gauge!("millrace_dispatch_leading").set(1.0);
    let (waker, wakes) = mpsc::channel(64);
    let listener = tokio::spawn(listen(database.clone(), waker));
    let sweeper = tokio::spawn(deliver::sweep::keep_swept(database.clone(), config.lease));
    let mut leader = Leader::new(database.clone(), config.clone());
    let result = leader.run(&mut lock, wakes, stop).await;
    listener.abort();
    sweeper.abort();
    metrics::gauge!("millrace_dispatch_leading").set(0.0);
    result
}

/// Turns wake-ups from the bus into pools to look at; `None` means all of them.
async fn listen(database: Database, waker: mpsc::Sender<Option<Pool>>) {
    loop {
        if let Ok(mut subscriber) = database.bus.subscriber().await
            && subscriber.subscribe(database.bus.dispatch_channel()).await.is_ok()
        {
            let mut messages = subscriber.into_on_message();
            while let Some(message) = messages.next().await {
                let pool = message.get_payload::<String>().ok().and_then(|name| Pool::named(&name));
                // Full means that the leader is about to look anyway.
                let _ = waker.try_send(pool);
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// What the leader knows of one pool.
#[derive(Default)]
struct Queue {
    /// When each unclaimed id was pushed.
    pushed: HashMap<Uuid, Instant>,
    /// Slots of the live workers.
    slots: usize,
    /// Claims a second, lately.
    drain: f64,
    claimed: usize,
    measured: Option<Instant>,
    /// More was due than the queue holds.
    backlog: bool,
}

impl Queue {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a rate, clamped below
    fn capacity(&self) -> usize {
        (2 * self.slots).max((self.drain * AHEAD) as usize).clamp(QUEUE_MIN, QUEUE_MAX)
    }

    /// Takes what left the queue since the last look into the drain rate.
    #[allow(clippy::cast_precision_loss)]
    fn measure(&mut self, claimed: usize) {
        self.claimed += claimed;
        let now = Instant::now();
        let since = *self.measured.get_or_insert(now);
        let elapsed = (now - since).as_secs_f64();
        if elapsed >= 0.1 {
            let rate = self.claimed as f64 / elapsed;
            self.drain += (rate - self.drain) * 0.5;
            self.claimed = 0;
            self.measured = Some(now);
        }
    }
}

struct Leader {
    database: Database,
    config: DispatchConfig,
    queues: HashMap<Pool, Queue>,
    /// Nobody is rescued before: the ledger was out of reach, and so were the workers' renewals.
    rescue_from: Instant,
}

impl Leader {
    fn new(database: Database, config: DispatchConfig) -> Self {
        let queues = Pool::ALL.into_iter().map(|pool| (pool, Queue::default())).collect();
        Self { database, config, queues, rescue_from: Instant::now() }
    }

    async fn run(
        &mut self,
        lock: &mut PgConnection,
        mut wakes: mpsc::Receiver<Option<Pool>>,
        stop: &CancellationToken,
    ) -> Result<(), sqlx::Error> {
        self.start_over().await;
        recurring::declare(&self.database.pool, &self.config.recurring).await?;
        self.rescue_from = Instant::now() + self.outage_grace(lock).await?;
        let mut next_poll = Instant::now();
        let mut next_upkeep = Instant::now();
        loop {
            let backlog = self.queues.values().any(|queue| queue.backlog);
            let wait = if backlog { TOP_UP } else { POLL };
            let mut woken: HashSet<Pool> = HashSet::new();
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep_until(next_poll.min(Instant::now() + wait)) => {}
                Some(wake) = wakes.recv() => {
                    note(&mut woken, wake);
                    while let Ok(wake) = wakes.try_recv() {
                        note(&mut woken, wake);
                    }
                }
            }
            if Instant::now() >= next_poll {
                woken.extend(Pool::ALL);
                next_poll = Instant::now() + POLL;
            }
            woken.extend(self.queues.iter().filter(|(_, queue)| queue.backlog).map(|(pool, _)| *pool));
            for pool in woken {
                self.top_up(pool).await?;
            }
            if Instant::now() >= next_upkeep {
                next_upkeep = Instant::now() + UPKEEP;
                // Whoever can't reach the lock's own session no longer leads.
                sqlx::query!("select 1 as one").fetch_one(&mut *lock).await?;
                self.upkeep().await?;
            }
        }
    }

    /// After a restart of the database, workers need a lease's time to be heard again.
    async fn outage_grace(&self, lock: &mut PgConnection) -> Result<Duration, sqlx::Error> {
        let up = sqlx::query_scalar!(
            r#"select extract(epoch from now() - pg_postmaster_start_time())::float8 as "up!""#
        )
        .fetch_one(lock)
        .await?;
        Ok(self.config.lease.saturating_sub(Duration::from_secs_f64(up.max(0.0))))
    }

    /// A new leader, or a Redis that has lost its memory: nothing is known to be pushed.
    async fn start_over(&mut self) {
        for queue in self.queues.values_mut() {
            queue.pushed.clear();
        }
        let bus = &self.database.bus;
        if let Err(error) = deliver::empty_queues(bus).await {
            tracing::warn!(%error, "could not empty the queues; old ids in them find nothing to claim");
        }
        let marked: Result<(), _> =
            redis::cmd("SET").arg(bus.marker_key()).arg(1).query_async(&mut bus.connection()).await;
        if let Err(error) = marked {
            tracing::warn!(%error, "could not set the marker; starting over again soon");
        }
    }

    /// Fills a pool's queue up from what is due.
    async fn top_up(&mut self, pool: Pool) -> Result<(), sqlx::Error> {
        let Some(queue) = self.queues.get_mut(&pool) else {
            return Ok(());
        };
        let capacity = queue.capacity();
        let due = sqlx::query_scalar!(
            "select id from jobs
              where pool = $1 and state = 'waiting' and run_at <= now()
              order by priority, run_at, id
              limit $2",
            pool.name(),
            i64::try_from(capacity).unwrap_or(i64::MAX),
        )
        .fetch_all(&self.database.pool)
        .await?;
        let now = Instant::now();
        let still: HashSet<Uuid> = due.iter().copied().collect();
        let before = queue.pushed.len();
        queue.pushed.retain(|id, _| still.contains(id));
        queue.measure(before - queue.pushed.len());
        queue.backlog = due.len() >= capacity;
        let fresh: Vec<Uuid> = due
            .into_iter()
            .filter(|id| queue.pushed.get(id).is_none_or(|at| now - *at >= REPUSH_AFTER))
            .collect();
        if fresh.is_empty() {
            return Ok(());
        }
        match deliver::push(&self.database.bus, pool, &fresh).await {
            Ok(()) => queue.pushed.extend(fresh.into_iter().map(|id| (id, now))),
            Err(error) => {
                metrics::counter!("millrace_dispatch_push_failed_total").increment(1);
                tracing::warn!(%error, %pool, "not pushed; the ids stay due");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    }

    async fn upkeep(&mut self) -> Result<(), sqlx::Error> {
        self.look_for_the_marker().await;
        self.count_slots().await?;
        recurring::enqueue_due(&self.database).await?;
        let began = Instant::now();
        if began >= self.rescue_from {
            self.rescue().await?;
        }
        if began.elapsed() > self.config.lease / 2 {
            // The database kept us waiting, so it kept the workers waiting too.
            self.rescue_from = Instant::now() + self.config.lease;
        }
        Ok(())
    }

    async fn look_for_the_marker(&mut self) {
        let bus = &self.database.bus;
        let marker: Result<Option<i64>, _> =
            redis::cmd("GET").arg(bus.marker_key()).query_async(&mut bus.connection()).await;
        if let Ok(None) = marker {
            tracing::warn!("the bus has lost its memory; pushing everything again");
            metrics::counter!("millrace_dispatch_started_over_total").increment(1);
            self.start_over().await;
        }
    }

    async fn count_slots(&mut self) -> Result<(), sqlx::Error> {
        let rows = sqlx::query!(
            r#"select s.key as "pool!", sum(s.value::integer)::bigint as "slots!"
                 from workers w, jsonb_each_text(w.slots) s
                where w.heartbeat_at > now() - $1::interval
                group by s.key"#,
            ledger::interval(self.config.lease * 2),
        )
        .fetch_all(&self.database.pool)
        .await?;
        for queue in self.queues.values_mut() {
            queue.slots = 0;
        }
        for row in rows {
            if let Some(queue) = Pool::named(&row.pool).and_then(|pool| self.queues.get_mut(&pool)) {
                queue.slots = usize::try_from(row.slots).unwrap_or(0);
            }
        }
        Ok(())
    }

    /// Frees the jobs of workers that are gone.
    async fn rescue(&mut self) -> Result<(), sqlx::Error> {
        let rescued = ledger::rescue(&self.database.pool, self.config.lease, self.config.crash_limit).await?;
        let mut events = Vec::with_capacity(rescued.len());
        for job in &rescued {
            tracing::warn!(job = %job.id, crashes = job.crashes, "lease ran out; the job is free again");
            metrics::counter!("millrace_jobs_rescued_total").increment(1);
            let status = if job.quarantined.is_some() { Status::Failed } else { Status::Queued };
            let before = snapshot::newest(&self.database.bus, job.id).await;
            let mut event = Event::transition(job.id, status, job.epoch, clock::now()).carrying_on(before);
            event.error_message.clone_from(&job.quarantined);
            events.push(event);
            // Whoever asked it to stop need not wait for another worker to hear of it.
            control::end_if_asked(&self.database, job.id).await?;
            if let Some(queue) = job.pool.and_then(|pool| self.queues.get_mut(&pool)) {
                queue.backlog = true; // looked at again at once
            }
        }
        publish::send(&self.database.bus, &events).await;
        sqlx::query!(
            "delete from workers where heartbeat_at < now() - $1::interval",
            ledger::interval(Duration::from_secs(3600)),
        )
        .execute(&self.database.pool)
        .await?;
        Ok(())
    }
}

fn note(woken: &mut HashSet<Pool>, wake: Option<Pool>) {
    match wake {
        Some(pool) => {
            woken.insert(pool);
        }
        None => woken.extend(Pool::ALL),
    }
}
