//! A worker process: takes ids from its pools' queues, claims the jobs, runs their handlers as tasks
//! of its own, keeps their leases, and ends them. See [`run`] for one job's life.
//!
//! Killed at any line: the leases of its jobs expire and the leader frees them.

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

/// Maximum time after the grace period for the remaining jobs to be put back.
const HANDING_BACK: Duration = Duration::from_secs(2);
/// Maximum time of the last statements of a worker.
const SIGNING_OFF: Duration = Duration::from_millis(1500);
/// Maximum time of [`work`] after `stop` and the grace period.
pub const BEYOND_GRACE: Duration = Duration::from_secs(4);

/// Configuration of a worker process.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Maximum number of concurrent jobs of each pool. A pool that isn't named is not served.
    pub slots: HashMap<Pool, usize>,
    /// Maximum age of a worker's heartbeat and of its claims.
    pub lease: Duration,
    /// Grace period of jobs after SIGTERM.
    pub grace: Duration,
    /// The process in which a job runs alone after its worker has crashed; without it, the job runs here like
    /// any other.
    pub isolated: Option<IsolatedProcess>,
}

impl WorkerConfig {
    /// A lease of 15 s and a grace of 25 s.
    #[must_use]
    pub fn new(slots: HashMap<Pool, usize>) -> Self {
        Self { slots, lease: Duration::from_secs(15), grace: Duration::from_secs(25), isolated: None }
    }
}

/// The state that the tasks of a worker share.
pub(crate) struct Shared {
    pub id: Uuid,
    pub registration: Registration,
    /// An operator's command to this worker.
    pub asked: watch::Sender<Option<Asked>>,
    /// State of the worker; written to its row.
    pub state: watch::Sender<State>,
    /// Triggers the next renewal, which writes the state and reads the command.
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
    /// The shared state, and a future that resolves once its last holder is gone and its last events have been sent.
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
            let _ = events.await; // it doesn't panic, and is not aborted
        };
        (shared, last_words)
    }
}

impl Shared {
    /// Applies the command in the worker's row. A drain can't be undone.
    fn hear(&self, asked: Option<Asked>) {
        self.asked.send_if_modified(|now| {
            let news = *now != asked && *now != Some(Asked::Drain);
            if news {
                tracing::info!(worker = %self.id, ?asked, "received an operator's command");
                *now = asked;
            }
            news
        });
    }

    /// Sets its state.
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

/// Serves pools until `stop`, or until an operator drains it; then accepts nothing more, lets
/// short jobs end, signals those with checkpoints to hand back, and returns within the grace period.
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
    // The leader counts slots; it need not wait for its poll to find these.
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
            // The leader counts slots; it need not wait for its poll to find these.
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
        tracing::warn!(in_hand = jobs.len(), "the grace period has passed; handing back the remaining jobs");
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
            tracing::warn!(?failed, "could not sign off; the row will be removed when its heartbeat is old");
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
    // The name of the apalis workers: one that has just stopped must not be confused with the next.
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
                // Boxed: a task's future is moved several times, and this one is large.
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
