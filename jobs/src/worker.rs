//! A worker process: takes ids from its pools' queues, claims the jobs, runs their handlers as tasks
//! of its own, keeps their leases, and ends them. See [`run`] for one job's life.
//!
//! Killed at any line: the leases of its jobs run out and the leader frees them.

mod isolated;
pub(crate) mod run;
mod running;

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::FutureExt;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use crate::{
    Database, Pool, Registry,
    coalesce::Coalescer,
    deliver,
    ledger::{self, Claimed, End, Ended, Returned},
    logs::LogSink,
    roster::{Asked, Registration, State},
    throughput::{self, Tally},
    watch::publish::Publisher,
};
use isolated::Isolation;
use running::RunningJobs;

pub use isolated::{IsolatedProcess, RUN_ISOLATED, run_isolated};

/// How long jobs that are left after the grace may take to be put back.
const HANDING_BACK: Duration = Duration::from_secs(2);
/// How long the last statements of a worker may take.
const SIGNING_OFF: Duration = Duration::from_millis(1500);
/// How long [`work`] may take after `stop` beyond the grace, whatever hangs.
pub const BEYOND_GRACE: Duration = Duration::from_secs(4);

/// What a worker process is told.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// How many jobs of each pool it runs at once. A pool that isn't named is not served.
    pub slots: HashMap<Pool, usize>,
    /// How long the ledger believes in a worker that says nothing.
    pub lease: Duration,
    /// How long jobs may go on after SIGTERM.
    pub grace: Duration,
    /// What runs a job alone whose worker has died with it; without, it runs here like any other.
    pub isolated: Option<IsolatedProcess>,
}

impl WorkerConfig {
    /// A lease of 15 s and a grace of 25 s.
    #[must_use]
    pub fn new(slots: HashMap<Pool, usize>) -> Self {
        Self { slots, lease: Duration::from_secs(15), grace: Duration::from_secs(25), isolated: None }
    }
}

/// What the tasks of a worker share.
pub(crate) struct Shared {
    pub id: Uuid,
    pub registration: Registration,
    /// What an operator asks of this worker.
    pub asked: watch::Sender<Option<Asked>>,
    /// What it does; goes into its row.
    pub state: watch::Sender<State>,
    /// Brings the next renewal forward, which writes the state and reads what is asked.
    pub look: Notify,
    pub throughput: Arc<Tally>,
    pub database: Database,
    pub registry: Registry,
    pub running: RunningJobs,
    pub publisher: Publisher,
    pub logs: LogSink,
    pub claims: Coalescer<Uuid, Option<Claimed>>,
    pub ends: Coalescer<Arc<Ended>, Option<End>>,
    pub returns: Coalescer<Returned, Option<i64>>,
    pub hand_back: CancellationToken,
    pub isolation: Option<Isolation>,
}

impl Shared {
    /// What is shared, and what resolves once its last holder is gone and its last words have been sent.
    fn start_with(
        registration: Registration,
        database: &Database,
        registry: Registry,
        hand_back: CancellationToken,
        isolation: Option<Isolation>,
    ) -> (Self, impl Future<Output = ()> + use<>) {
        let (publisher, events) = Publisher::start(database.bus.clone());
        let (id, lease) = (registration.id, registration.lease);
        let shared = Self {
            id,
            registration,
            asked: watch::Sender::new(None),
            state: watch::Sender::new(State::Taking),
            look: Notify::new(),
            throughput: Arc::default(),
            running: RunningJobs::default(),
            publisher,
            logs: LogSink::start(database.clone()),
            claims: Coalescer::start(database.pool.clone(), move |conn, ids: &[Uuid]| {
                ledger::claim(conn, id, lease, ids).boxed()
            }),
            ends: Coalescer::start(database.pool.clone(), |conn, ended: &[Arc<Ended>]| {
                ledger::end(conn, ended).boxed()
            }),
            returns: Coalescer::start(database.pool.clone(), |conn, returned: &[Returned]| {
                ledger::put_back(conn, returned).boxed()
            }),
            hand_back,
            isolation,
            registry,
            database: database.clone(),
        };
        let last_words = async move {
            let _ = events.await; // it doesn't panic, and nobody aborts it
        };
        (shared, last_words)
    }
}

impl Shared {
    /// Takes in what the worker's row says. Who has been asked to leave, leaves.
    fn hear(&self, asked: Option<Asked>) {
        self.asked.send_if_modified(|now| {
            let news = *now != asked && *now != Some(Asked::Drain);
            if news {
                tracing::info!(worker = %self.id, ?asked, "an operator asks");
                *now = asked;
            }
            news
        });
    }

    /// Says what it does from now on.
    fn turn(&self, state: State) {
        if self.state.send_replace(state) != state {
            self.look.notify_one();
        }
    }

    /// Starts the tasks that write for all of a worker's jobs.
    #[cfg(feature = "testing")]
    pub(crate) fn start(registration: Registration, database: &Database, registry: Registry) -> Self {
        Self::start_with(registration, database, registry, CancellationToken::new(), None).0
    }
}

/// Serves pools until `stop`, or until an operator asks it to leave; then drains: takes nothing more, lets
/// short jobs end, asks those that checkpoint to hand back, and returns within the grace period.
///
/// # Errors
/// When the worker can't register in the ledger at start.
pub async fn work(
    database: Database,
    registry: Registry,
    config: WorkerConfig,
    stop: CancellationToken,
) -> Result<(), sqlx::Error> {
    let id = Uuid::now_v7();
    let registration = registration(id, &config);
    registration.heartbeat(State::Taking, &mut *database.pool.acquire().await?).await?;
    // The leader counts slots; it need not find these by its poll.
    database.bus.wake(None);
    let isolation = config.isolated.clone().map(|process| Isolation::new(process, config.lease));
    let (shared, _) =
        Shared::start_with(registration, &database, registry, CancellationToken::new(), isolation);
    let shared = Arc::new(shared);

    throughput::begin(shared.registry.names());
    let jobs = TaskTracker::new();
    let upkeep = CancellationToken::new();
    let keepers = [
        tokio::spawn(running::keep_leases(Arc::clone(&shared), true, upkeep.clone())),
        tokio::spawn(running::watch_for_cancels(Arc::clone(&shared), upkeep.clone())),
        tokio::spawn(throughput::keep(
            Arc::clone(&shared.throughput),
            database.clone(),
            config.lease / 3,
            upkeep.clone(),
        )),
    ];
    let slots: HashMap<Pool, Arc<Semaphore>> =
        config.slots.iter().map(|(&pool, &slots)| (pool, Arc::new(Semaphore::new(slots.max(1))))).collect();
    let mut asked = shared.asked.subscribe();
    while !stop.is_cancelled() {
        let now = *asked.borrow_and_update();
        if now == Some(Asked::Drain) {
            break;
        }
        let taking = CancellationToken::new();
        let receivers = TaskTracker::new();
        if now.is_none() {
            tracing::info!(worker = %id, slots = ?config.slots, "taking jobs");
            take(&shared, &slots, &jobs, &receivers, &taking);
            shared.turn(State::Taking);
            // The leader counts slots; it need not find these by its poll.
            database.bus.wake(None);
        } else {
            shared.turn(State::Paused);
        }
        tokio::select! {
            () = stop.cancelled() => {}
            // Its sender lives as long as `shared`.
            _ = asked.changed() => {}
        }
        taking.cancel();
        receivers.close();
        receivers.wait().await;
    }
    shared.turn(State::Leaving);
    jobs.close();
    tracing::info!(in_hand = jobs.len(), "draining");
    shared.hand_back.cancel();
    if tokio::time::timeout(config.grace, jobs.wait()).await.is_err() {
        tracing::warn!(in_hand = jobs.len(), "grace period over; handing back what is left");
        shared.running.abort_all();
        // Each task puts its job back, which takes one statement.
        let _ = tokio::time::timeout(HANDING_BACK, jobs.wait()).await;
    }
    upkeep.cancel();
    let signed_off = tokio::time::timeout(SIGNING_OFF, async {
        for keeper in keepers {
            let _ = keeper.await;
        }
        shared.registration.sign_off(&database).await
    });
    match signed_off.await {
        Ok(Ok(())) => {}
        failed => {
            tracing::warn!(?failed, "could not sign off; the row is removed when its heartbeat is old");
        }
    }
    Ok(())
}

/// Takes jobs of all pools, each as a task of `jobs`, until `taking` is cancelled.
fn take(
    shared: &Arc<Shared>,
    slots: &HashMap<Pool, Arc<Semaphore>>,
    jobs: &TaskTracker,
    receivers: &TaskTracker,
    taking: &CancellationToken,
) {
    // The name of the apalis workers: one that has just stopped is not to be confused with the next.
    let name = format!("{}/{}", shared.id, Uuid::now_v7());
    for (&pool, slots) in slots {
        let (deliveries, mut delivered) = mpsc::unbounded_channel();
        let bus = shared.database.bus.clone();
        receivers.spawn(deliver::receive(
            bus,
            pool,
            name.clone(),
            Arc::clone(slots),
            deliveries,
            taking.clone(),
        ));
        let (shared, jobs) = (Arc::clone(shared), jobs.clone());
        receivers.spawn(async move {
            while let Some((job, slot)) = delivered.recv().await {
                // In a box: a task's future is moved several times, and this one is large.
                jobs.spawn(Box::pin(run::run(Arc::clone(&shared), job.into(), slot)));
            }
        });
    }
}

fn registration(id: Uuid, config: &WorkerConfig) -> Registration {
    let slots: HashMap<_, _> = config.slots.iter().map(|(pool, slots)| (pool.name(), *slots)).collect();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Registration {
        id,
        host: host.trim().to_owned(),
        pid: i32::try_from(std::process::id()).unwrap_or(i32::MAX),
        slots: serde_json::json!(slots),
        lease: config.lease,
    }
}
