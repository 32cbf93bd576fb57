//! Dispatch: one leader moves due ids from the ledger to the pools' queues in Redis, as many as there
//! are slots for, alternating between tenants.
//!
//! [`lanes`] reads the due jobs, [`turns`] decides the order, [`queue`] remembers pushed ids:
//! nothing of it is written to the ledger. An unclaimed id is pushed again, and all ids are
//! when Redis has lost its data. Leadership is an advisory lock on a connection of its own, the one
//! that reads the lanes; two leaders for a moment push an id twice, which the claim makes harmless. It ends
//! with the leader's [`silence`](leadership::silence): see [`leadership`]; and with that of Redis, where [`standby`]
//! knows a better one.

mod hand_back;
pub(crate) mod lanes;
mod leadership;
mod queue;
pub(crate) mod rescue;
mod standby;
mod turns;

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use chrono::TimeDelta;
use futures::StreamExt;
use sqlx::PgConnection;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    Database, Pool, Recurring, batch, clock, deliver,
    ledger::{self},
    schedules::{self, DisableRefused},
};
use lanes::{Due, Lane, Running};
use leadership::Heard;
use queue::Queue;
use turns::{Candidate, Holding};

/// Polling interval, the fallback for lost wake-ups.
const POLL: Duration = Duration::from_millis(250);
/// Interval of the passes over a pool of short jobs while more is due than could be pushed.
const TOP_UP: Duration = Duration::from_millis(20);
/// The same for a pool of long jobs.
const TOP_UP_SLOWLY: Duration = Duration::from_millis(50);
/// Minimum pause between two passes, however long they take.
const PAUSE: Duration = Duration::from_millis(2);
/// Waiting time of a tenant without a running job after which room is made for it.
const PATIENCE: TimeDelta = TimeDelta::seconds(1);
/// Interval of the checks of expired leases and of the bus's marker.
const UPKEEP: Duration = Duration::from_millis(500);
pub(crate) use leadership::is_led;
pub use leadership::{Leadership, Standing};

/// Configuration of the dispatcher.
#[derive(Debug, Clone)]
pub struct DispatchConfig {
    /// The workers' lease; after an outage no job is rescued for as long.
    pub lease: Duration,
    /// Maximum number of consecutive crashes of a job that ran alone, without a checkpoint between them.
    pub crash_limit: i32,
    /// Jobs that are enqueued periodically.
    pub recurring: Vec<Recurring>,
    /// Disables due schedules whose maker may no longer run them.
    pub disable_refused: Option<DisableRefused>,
    /// Whether this process leads, for health checks.
    pub leadership: Leadership,
}

impl Default for DispatchConfig {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            crash_limit: 3,
            recurring: Vec::new(),
            disable_refused: None,
            leadership: Leadership::default(),
        }
    }
}

/// Leads, or stands by to lead, until `stop`.
pub async fn dispatch(database: Database, url: &str, config: DispatchConfig, stop: CancellationToken) {
    let mut away: Option<Instant> = None;
    while !stop.is_cancelled() {
        // While the database was unreachable, the workers could not renew their leases either.
        let grace = away.map_or(Duration::ZERO, |at| config.lease.saturating_sub(at.elapsed()));
        if let Err(error) = lead(&database, url, &config, grace, &stop).await {
            tracing::warn!(%error, "not leading; trying again");
            config.leadership.set(Standing::CutOff);
            away = Some(Instant::now());
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
    grace: Duration,
    stop: &CancellationToken,
) -> Result<(), sqlx::Error> {
    let silence = leadership::silence(config.lease);
    let has_redis = database.bus.probe().await.is_ok();
    if !has_redis && standby::is_there(database).await? {
        config.leadership.set(Standing::CutOff);
        return Ok(());
    }
    let Some(mut lock) = leadership::take(url, silence).await? else {
        if has_redis {
            standby::note(database).await?;
        }
        config.leadership.set(Standing::StandingBy);
        return Ok(());
    };
    tracing::info!("leading");
    config.leadership.set(Standing::Leading);
    let (waker, wakes) = mpsc::channel(64);
    let listener = tokio::spawn(listen(database.clone(), waker));
    let sweeper = tokio::spawn(deliver::sweep::keep_swept(database.clone(), config.lease));
    let heard = Heard::default();
    let mut leader = Leader::new(database.clone(), config.clone(), heard.clone());
    let result = tokio::select! {
        result = leader.run(&mut lock, wakes, grace, stop) => result,
        error = heard.silent_for(silence) => Err(error),
        error = standby::can_do_better(database, config.lease / 3) => Err(error),
        () = leadership::has_to_go(stop) => Ok(()),
    };
    listener.abort();
    sweeper.abort();
    config.leadership.set(Standing::StandingBy);
    leadership::give_up(lock, result.is_ok()).await;
    result
}

/// Turns wake-ups from the bus into pools to examine; `None` means all of them.
async fn listen(database: Database, waker: mpsc::Sender<Option<Pool>>) {
    loop {
        if let Ok(mut messages) = database.bus.messages(database.bus.dispatch_channel()).await {
            while let Some(message) = messages.next().await {
                let pool = message.get_payload::<String>().ok().and_then(|name| Pool::named(&name));
                // Full means that the leader is about to examine it anyway.
                let _ = waker.try_send(pool);
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

struct Leader {
    database: Database,
    config: DispatchConfig,
    queues: HashMap<Pool, Queue>,
    /// The newest note of claims that was read.
    claims: i64,
    /// Time of the latest answer of the lock's session.
    heard: Heard,
    /// No job is rescued before: the ledger was unreachable, and so were the workers' renewals.
    rescue_from: Instant,
}

impl Leader {
    fn new(database: Database, config: DispatchConfig, heard: Heard) -> Self {
        let queues = Pool::all().iter().copied().map(|pool| (pool, Queue::default())).collect();
        Self { database, config, queues, claims: 0, heard, rescue_from: Instant::now() }
    }

    /// Timeout of Redis for the leader: shorter than what would make the leader silent.
    fn bus_patience(&self) -> Duration {
        leadership::silence(self.config.lease) / 4
    }

    /// A leader that can't reach the lock's session no longer leads.
    async fn still_leads(&self, lock: &mut PgConnection) -> Result<(), sqlx::Error> {
        sqlx::query!("select 1 as one").fetch_one(lock).await?;
        self.heard.now();
        Ok(())
    }

    async fn run(
        &mut self,
        lock: &mut PgConnection,
        mut wakes: mpsc::Receiver<Option<Pool>>,
        grace: Duration,
        stop: &CancellationToken,
    ) -> Result<(), sqlx::Error> {
        self.start_over().await;
        self.still_leads(lock).await?;
        self.count_slots().await?;
        schedules::declare(&self.database.pool, &self.config.recurring).await?;
        self.rescue_from = Instant::now() + self.outage_grace(lock).await?.max(grace);
        let mut next_poll = Instant::now();
        let mut next_upkeep = Instant::now();
        let mut counted = Instant::now() - POLL;
        let mut looked = Instant::now();
        loop {
            let wait =
                self.queues.values().filter(|queue| queue.backlog).map(Self::pace).min().unwrap_or(POLL);
            let mut woken: HashSet<Pool> = HashSet::new();
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep_until(next_poll.min((looked + wait).max(Instant::now() + PAUSE))) => {}
                Some(wake) = wakes.recv() => {
                    let mut anything = wake.is_none();
                    note(&mut woken, wake);
                    while let Ok(wake) = wakes.try_recv() {
                        anything |= wake.is_none();
                        note(&mut woken, wake);
                    }
                    if anything && counted.elapsed() > POLL / 2 {
                        self.count_slots().await?; // a worker may have come or gone
                        counted = Instant::now();
                    }
                }
            }
            if Instant::now() >= next_poll {
                woken.extend(Pool::all());
                next_poll = Instant::now() + POLL;
            }
            looked = Instant::now();
            if self.queues.values().any(Queue::may_go_on) {
                self.hear_of_claims(lock).await?;
            }
            for pool in &woken {
                self.top_up(lock, *pool).await?;
                self.heard.now();
            }
            let others = self.queues.iter().filter(|(pool, queue)| queue.backlog && !woken.contains(pool));
            let others: Vec<_> = others.map(|(pool, queue)| (*pool, queue.may_go_on())).collect();
            for (pool, may_go_on) in others {
                if may_go_on {
                    self.go_on(lock, pool).await?;
                } else {
                    self.top_up(lock, pool).await?;
                }
                self.heard.now();
            }
            if Instant::now() >= next_upkeep {
                next_upkeep = Instant::now() + UPKEEP;
                self.still_leads(lock).await?;
                self.upkeep(lock).await?;
            }
        }
    }

    /// After a restart of the database, workers need a lease's time for their heartbeats.
    async fn outage_grace(&self, lock: &mut PgConnection) -> Result<Duration, sqlx::Error> {
        let up = sqlx::query_scalar!(
            r#"select extract(epoch from now() - pg_postmaster_start_time())::float8 as "up!""#
        )
        .fetch_one(lock)
        .await?;
        Ok(self.config.lease.saturating_sub(Duration::from_secs_f64(up.max(0.0))))
    }

    fn pace(queue: &Queue) -> Duration {
        if queue.is_fast() { TOP_UP } else { TOP_UP_SLOWLY }
    }

    /// A new leader, or a Redis that has lost its data: nothing is known to be pushed.
    async fn start_over(&mut self) {
        self.queues.values_mut().for_each(Queue::forget);
        let (bus, patience) = (&self.database.bus, self.bus_patience());
        match timeout(patience, deliver::empty_queues(bus)).await {
            Ok(Ok(())) => {}
            failed => {
                tracing::warn!(?failed, "could not empty the queues; old ids in them find nothing to claim");
            }
        }
        let mut connection = bus.connection();
        let mut mark = redis::cmd("SET");
        mark.arg(bus.marker_key()).arg(1);
        match timeout(patience, mark.query_async::<()>(&mut connection)).await {
            Ok(Ok(())) => {}
            failed => tracing::warn!(?failed, "could not set the marker; starting over soon"),
        }
    }

    /// Pushes jobs for the free slots, and makes room for a tenant without one.
    async fn top_up(&mut self, conn: &mut PgConnection, pool: Pool) -> Result<(), sqlx::Error> {
        let patience = self.bus_patience();
        let Some(queue) = self.queues.get_mut(&pool) else {
            return Ok(());
        };
        let due = lanes::due(conn, pool, &queue.walk, queue.depth()).await?;
        let all = queue.settle(&due);
        if due.jobs.is_empty() {
            queue.backlog = due.next.is_some();
            queue.walked(false, []);
            return Ok(());
        }
        let running = lanes::running(conn, pool).await?;
        queue.held =
            due.weights.iter().map(|(tenant, &weight)| (*tenant, Holding { jobs: 0, weight })).collect();
        queue.hold(&running);
        let in_hand = queue.in_hand();
        if queue.has_overdue() && in_hand < queue.slots {
            // Slots are free, and yet the ids are not taken: were they lost, or is a worker slow?
            match timeout(patience, deliver::queued(&self.database.bus, pool)).await {
                Ok(Ok(queued)) if queued >= queue.tasks() => queue.trust(),
                Ok(Ok(_)) => queue.forget_overdue(),
                failed => tracing::debug!(?failed, "could not read the queue"),
            }
        }
        let holdings = queue.holdings();
        let starving = starving(&due, &running);
        // With a limit, each pass has to count anew.
        let all = all && due.rooms.is_empty();
        let rooms = due
            .rooms
            .iter()
            .map(|((tenant, kind), room)| {
                let room = room.saturating_sub(queue.pushed_of(*tenant, kind));
                ((*tenant, kind.clone()), room)
            })
            .collect();
        let waiting: HashSet<Uuid> = due.jobs.iter().map(|job| job.tenant).collect();
        let candidates: Vec<_> = due.jobs.into_iter().filter(|job| !queue.holds(job.id)).collect();
        let count = candidates.len();
        let chosen =
            turns::choose(candidates, &holdings, rooms, waiting.len() > 1, queue.share(), clock::now());
        queue.backlog = due.next.is_some() || chosen.len() < count || queue.is_fast();
        queue.walked(all, due.lanes);
        let leaving: usize = running.values().map(|running| running.leaving).sum();
        if starving > leaving
            && in_hand >= queue.slots
            && queue.slots > 0
            && let Some(job) = hand_back::ask(&self.database, pool, &running, &holdings).await?
        {
            metrics::counter!("millrace_hand_backs_asked_total", "pool" => pool.name()).increment(1);
            tracing::info!(%job, %pool, "asked to hand back: another workspace has waited for a slot");
        }
        push(&self.database, pool, queue, chosen, patience).await;
        Ok(())
    }

    /// Takes claimed ids out of all queues, before the notes of claims are shortened.
    async fn hear_of_claims(&mut self, conn: &mut PgConnection) -> Result<(), sqlx::Error> {
        let (newest, claimed) = lanes::claimed_since(conn, self.claims).await?;
        self.claims = newest;
        self.queues.values_mut().for_each(|queue| queue.claimed(&claimed));
        Ok(())
    }

    /// Pushes more of the lanes of the last walk, from its end: the work between two
    /// walks when a pool drains thousands per second.
    async fn go_on(&mut self, conn: &mut PgConnection, pool: Pool) -> Result<(), sqlx::Error> {
        let patience = self.bus_patience();
        let Some(queue) = self.queues.get_mut(&pool) else {
            return Ok(());
        };
        queue.hold(&lanes::running(conn, pool).await?);
        let ends = queue.ends();
        let each = queue.each(ends.len());
        let beyond = lanes::beyond(conn, pool, &ends, each).await?;
        let mut seen: HashMap<Lane, usize> = ends.into_iter().map(|(lane, _)| (lane, 0)).collect();
        for job in &beyond {
            *seen.entry(job.lane()).or_default() += 1;
        }
        let candidates: Vec<_> = beyond.into_iter().filter(|job| !queue.holds(job.id)).collect();
        let count = candidates.len();
        let tenants: HashSet<Uuid> = seen.keys().map(|lane| lane.tenant).collect();
        let chosen = turns::choose(
            candidates,
            &queue.holdings(),
            HashMap::new(),
            tenants.len() > 1,
            queue.share(),
            clock::now(),
        );
        if chosen.len() == count {
            queue.over(seen.into_iter().filter(|(_, jobs)| *jobs < each).map(|(lane, _)| lane));
        }
        push(&self.database, pool, queue, chosen, patience).await;
        Ok(())
    }

    async fn upkeep(&mut self, lock: &mut PgConnection) -> Result<(), sqlx::Error> {
        self.look_for_the_marker().await;
        self.still_leads(lock).await?;
        self.count_slots().await?;
        schedules::enqueue_due(&self.database, clock::now(), self.config.disable_refused).await?;
        self.still_leads(lock).await?;
        batch::advance(&self.database).await?;
        self.still_leads(lock).await?;
        let began = Instant::now();
        if began >= self.rescue_from {
            let patience = self.bus_patience();
            rescue::rescue(&self.database, &self.config, &mut self.queues, patience).await?;
        }
        if began.elapsed() > self.config.lease / 2 {
            // The database kept us waiting, so it kept the workers waiting too.
            self.rescue_from = Instant::now() + self.config.lease;
        }
        Ok(())
    }

    async fn look_for_the_marker(&mut self) {
        let bus = &self.database.bus;
        let mut connection = bus.connection();
        let mut get = redis::cmd("GET");
        get.arg(bus.marker_key());
        let marker = timeout(self.bus_patience(), get.query_async::<Option<i64>>(&mut connection)).await;
        if let Ok(Ok(None)) = marker {
            tracing::warn!("the bus has lost its data; pushing all ids again");
            metrics::counter!("millrace_dispatch_started_over_total").increment(1);
            self.start_over().await;
        }
    }

    async fn count_slots(&mut self) -> Result<(), sqlx::Error> {
        let rows = sqlx::query!(
            r#"select s.key as "pool!",
                      -- One that takes nothing more counts with what it still holds.
                      sum(case when w.asked is null then s.value::bigint
                               else (select count(*) from running_jobs j
                                      where j.worker = w.id and j.pool = s.key) end
                      )::bigint as "slots!"
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
}

/// Pushes the chosen jobs. Ids that Redis doesn't accept stay due.
async fn push(
    database: &Database,
    pool: Pool,
    queue: &mut Queue,
    chosen: Vec<Candidate>,
    patience: Duration,
) {
    if chosen.is_empty() {
        return;
    }
    let ids: Vec<Uuid> = chosen.iter().map(|job| job.id).collect();
    let bunch = queue.bunch(ids.len());
    match timeout(patience, deliver::push(&database.bus, pool, &ids, bunch)).await {
        Ok(Ok(())) => queue.note(chosen, bunch),
        failed => {
            metrics::counter!("millrace_dispatch_push_failed_total").increment(1);
            tracing::warn!(?failed, %pool, "not pushed; the ids stay due");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// The number of tenants that have no running job and have waited long enough.
fn starving(due: &Due, running: &HashMap<Uuid, Running>) -> usize {
    let since = clock::now() - PATIENCE;
    let tenants: HashSet<Uuid> = due
        .jobs
        .iter()
        .filter(|job| job.run_at <= since && !running.contains_key(&job.tenant))
        .filter(|job| due.rooms.get(&(job.tenant, job.kind.clone())).is_none_or(|room| *room > 0))
        .map(|job| job.tenant)
        .collect();
    tenants.len()
}

fn note(woken: &mut HashSet<Pool>, wake: Option<Pool>) {
    match wake {
        Some(pool) => {
            woken.insert(pool);
        }
        None => woken.extend(Pool::all()),
    }
}
