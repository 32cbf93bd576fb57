//! Delivery: apalis over apalis-redis carries job ids from the dispatcher to the workers of a pool.
//!
//! A delivered id is a hint, never a right: the runner's claim in the ledger decides. So the handler that
//! apalis sees only hands ids over and returns at once, and ids that Redis loses or repeats make no difference.
//! An apalis task carries one id, or several where a pool drains so many that the work of Redis for each would
//! exceed that of PostgreSQL. Any Redis error ends an apalis worker; [`receive`] builds a new one, and running
//! jobs are not affected, because they don't run inside it.

pub(crate) mod sweep;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use apalis::prelude::{BackendExt, PollSnapshot, PollStrategy, Task, TaskBuilder, TaskId, WorkerBuilder};
use apalis_redis::{Config, RedisStorage, queries};
use futures::StreamExt;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Interval, MissedTickBehavior},
};
use tokio_util::sync::{CancellationToken, PollSemaphore};
use uuid::Uuid;

use crate::{Bus, Pool};

/// Maximum time for which a queue holds ids without a wake-up.
const POLL: Duration = Duration::from_millis(250);
/// Maximum number of tasks fetched at once. A worker fetches no more than it has slots, or other workers
/// would wait for ids in its memory.
const BATCH: usize = 8;

/// A delivered id and its slot.
pub(crate) type Delivery = (Uuid, OwnedSemaphorePermit);

/// apalis' own locks, results and events are off: each would scan or grow for every job.
fn config(bus: &Bus, pool: Pool, batch: usize) -> Config {
    Config::default()
        .queue(bus.queue(pool))
        .batch_size(batch.clamp(1, BATCH))
        .lock_tasks(false)
        .persist_results(false)
        .emit_events(false)
}

/// Pushes ids onto a pool's queue, so many in a task, and wakes its workers.
pub(crate) async fn push(bus: &Bus, pool: Pool, ids: &[Uuid], bunch: usize) -> Result<(), PushError> {
    let config = config(bus, pool, BATCH);
    // A task's id is new with each push: remains of an earlier push would make apalis skip this one.
    let tasks: Vec<Task<Vec<u8>>> = ids
        .chunks(bunch.max(1))
        .map(|ids| {
            TaskBuilder::new(serde_json::to_vec(ids).unwrap_or_default())
                .task_id(TaskId::from_string(Uuid::now_v7().to_string()))
                .build()
        })
        .collect();
    let mut connection = bus.connection();
    let mut waker = bus.connection();
    let mut wake = redis::cmd("PUBLISH");
    wake.arg(bus.wake_channel(pool)).arg(1);
    // Both use the same connection, in this order; one round trip.
    let (pushed, woken) = tokio::join!(
        queries::push_tasks(&mut connection, &config, &tasks),
        wake.query_async::<()>(&mut waker),
    );
    pushed.map_err(|error| PushError(error.to_string()))?;
    woken.map_err(|error| PushError(error.to_string()))
}

/// The number of tasks in a pool's queue.
pub(crate) async fn queued(bus: &Bus, pool: Pool) -> Result<usize, redis::RedisError> {
    let list = config(bus, pool, BATCH).active_jobs_list();
    redis::cmd("LLEN").arg(list).query_async(&mut bus.connection()).await
}

/// Redis did not accept the ids; they stay due, and are pushed again.
#[derive(Debug, thiserror::Error)]
#[error("Redis did not accept the ids: {0}")]
pub(crate) struct PushError(String);

/// Removes all queued tasks, and all remains of deliveries, of all pools.
pub(crate) async fn empty_queues(bus: &Bus) -> Result<(), redis::RedisError> {
    let mut connection = bus.connection();
    for &pool in Pool::all() {
        let pattern = format!("{}:*", bus.queue(pool));
        let mut cursor = 0u64;
        loop {
            let (next, keys): (u64, Vec<String>) = redis::cmd("SCAN")
                .arg(cursor)
                .arg("MATCH")
                .arg(&pattern)
                .arg("COUNT")
                .arg(1000)
                .query_async(&mut connection)
                .await?;
            // Registrations of live workers stay: without one, a worker's next fetch fails.
            let keys: Vec<_> = keys.into_iter().filter(|key| !key.contains(":workers")).collect();
            if !keys.is_empty() {
                redis::cmd("UNLINK").arg(keys).query_async::<()>(&mut connection).await?;
            }
            if next == 0 {
                break;
            }
            cursor = next;
        }
    }
    Ok(())
}

/// Receives a pool's ids until `stop`, each with a slot of `slots` already taken for it.
pub(crate) async fn receive(
    bus: Bus,
    pool: Pool,
    worker: String,
    slots: Arc<Semaphore>,
    deliveries: mpsc::UnboundedSender<Delivery>,
    stop: CancellationToken,
) {
    let (waker, wakes) = mpsc::channel(1);
    let listener = tokio::spawn(listen(bus.clone(), pool, waker));
    let traces = Traces::start(bus.clone(), pool);
    let batch = slots.available_permits();
    let mut backoff = Duration::from_millis(50);
    let mut wakes = Some(wakes);
    let mut build = 0u32;
    while !stop.is_cancelled() {
        build += 1;
        let name = format!("{worker}/{build}");
        let started = tokio::time::Instant::now();
        let (strategy, returned) = WakeStrategy::new(wakes.take());
        let service = HandOver {
            slots: PollSemaphore::new(Arc::clone(&slots)),
            permit: None,
            in_hand: VecDeque::new(),
            deliveries: deliveries.clone(),
            traces: traces.named(&name),
        };
        let storage = RedisStorage::<Vec<Uuid>>::new(bus.connection()).with_config(config(&bus, pool, batch));
        let apalis =
            WorkerBuilder::new(name.as_str()).backend(storage.poll_with_strategy(strategy)).build(service);
        let result = tokio::select! {
            result = apalis.run() => result,
            () = stop.cancelled() => break,
        };
        wakes = returned.lock().unwrap_or_else(PoisonError::into_inner).take();
        if started.elapsed() > Duration::from_secs(10) {
            backoff = Duration::from_millis(50);
        }
        metrics::counter!("millrace_delivery_rebuilds_total", "pool" => pool.name()).increment(1);
        tracing::warn!(%pool, ?result, ?backoff, "delivery stopped; rebuilding it");
        tokio::select! {
            () = tokio::time::sleep(backoff) => {}
            () = stop.cancelled() => break,
        }
        backoff = (backoff * 2).min(Duration::from_secs(1));
    }
    listener.abort();
}

/// Turns the pool's wake channel into wake-ups, and survives lost connections.
async fn listen(bus: Bus, pool: Pool, waker: mpsc::Sender<()>) {
    loop {
        if let Ok(mut messages) = bus.messages(bus.wake_channel(pool)).await {
            while messages.next().await.is_some() {
                // Full means that a wake-up is pending already.
                let _ = waker.try_send(());
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

type WakesBack = Arc<Mutex<Option<mpsc::Receiver<()>>>>;

/// Polls when woken and every [`POLL`]. It drains both until they are pending, and so always leaves
/// a waker behind; a strategy that stops at the first wake-up loses the next.
struct WakeStrategy {
    wakes: Option<mpsc::Receiver<()>>,
    interval: Interval,
    back: WakesBack,
}

impl WakeStrategy {
    fn new(wakes: Option<mpsc::Receiver<()>>) -> (Self, WakesBack) {
        let back = WakesBack::default();
        let mut interval = tokio::time::interval(POLL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        (Self { wakes, interval, back: back.clone() }, back)
    }
}

impl PollStrategy for WakeStrategy {
    fn poll_drive(&mut self, cx: &mut Context<'_>, _: &PollSnapshot) -> Poll<Option<()>> {
        if let Some(wakes) = &mut self.wakes {
            while let Poll::Ready(Some(())) = wakes.poll_recv(cx) {}
        }
        while self.interval.poll_tick(cx).is_ready() {}
        Poll::Ready(Some(()))
    }
}

impl Drop for WakeStrategy {
    fn drop(&mut self) {
        // The next build of the worker continues with the same listener.
        *self.back.lock().unwrap_or_else(PoisonError::into_inner) = self.wakes.take();
    }
}

/// The service that apalis calls: hands each id over as soon as there is a slot for it, and accepts the next
/// task only then.
struct HandOver {
    slots: PollSemaphore,
    permit: Option<OwnedSemaphorePermit>,
    /// Ids of the last task that have no slot yet. If lost by a stop, they are due still, and pushed again.
    in_hand: VecDeque<Uuid>,
    deliveries: mpsc::UnboundedSender<Delivery>,
    traces: NamedTraces,
}

impl HandOver {
    fn hand_over(&mut self) {
        if let Some(id) = self.in_hand.pop_front()
            && let Some(permit) = self.permit.take()
        {
            // The runner is gone only when the process stops; the id is due still and is delivered elsewhere.
            let _ = self.deliveries.send((id, permit));
        }
    }
}

impl tower_service::Service<Task<Vec<Uuid>>> for HandOver {
    type Response = ();
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<(), Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        while self.permit.is_none() {
            match ready!(self.slots.poll_acquire(cx)) {
                Some(permit) => self.permit = Some(permit),
                // Closed: the worker is stopping, and accepts nothing more.
                None => return Poll::Pending,
            }
            self.hand_over();
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, task: Task<Vec<Uuid>>) -> Self::Future {
        if let Some(id) = task.task_id() {
            self.traces.delivered(id.to_string());
        }
        self.in_hand.extend(task.args);
        self.hand_over();
        std::future::ready(Ok(()))
    }
}

/// Deletes the data that apalis leaves in Redis for each delivered task.
#[derive(Clone)]
struct Traces {
    sender: mpsc::UnboundedSender<(String, String)>,
}

struct NamedTraces {
    inflight: String,
    traces: Traces,
}

impl Traces {
    fn start(bus: Bus, pool: Pool) -> Self {
        let (sender, mut receiver) = mpsc::unbounded_channel::<(String, String)>();
        let config = config(&bus, pool, BATCH);
        tokio::spawn(async move {
            let (data, meta) = (config.job_data_hash(), config.job_meta_hash());
            let inflight = config.inflight_jobs_set();
            let mut batch = Vec::new();
            while receiver.recv_many(&mut batch, 256).await > 0 {
                let mut pipe = redis::pipe();
                let ids: Vec<_> = batch.iter().map(|(_, id)| id.as_str()).collect();
                let keys: Vec<_> = ids.iter().map(|id| format!("{meta}:{id}")).collect();
                pipe.hdel(&data, &ids).ignore().unlink(&keys).ignore();
                let mut by_worker = std::collections::BTreeMap::<&str, Vec<&str>>::new();
                for (worker, id) in &batch {
                    by_worker.entry(worker).or_default().push(id);
                }
                for (worker, ids) in by_worker {
                    pipe.srem(format!("{inflight}:{worker}"), ids).ignore();
                }
                if let Err(error) = pipe.query_async::<()>(&mut bus.connection()).await {
                    tracing::debug!(%error, "the remains of deliveries stay until the queues are emptied");
                }
                batch.clear();
            }
        });
        Self { sender }
    }

    fn named(&self, worker: &str) -> NamedTraces {
        NamedTraces { inflight: worker.to_owned(), traces: self.clone() }
    }
}

impl NamedTraces {
    fn delivered(&self, id: String) {
        let _ = self.traces.sender.send((self.inflight.clone(), id));
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tower_service::Service;

    use super::*;

    #[tokio::test]
    async fn of_a_bunch_each_id_waits_for_a_slot_of_its_own_and_the_next_task_for_all_of_them() {
        let slots = Arc::new(Semaphore::new(2));
        let (deliveries, mut delivered) = mpsc::unbounded_channel();
        let (traced, _traces) = mpsc::unbounded_channel();
        let mut service = HandOver {
            slots: PollSemaphore::new(Arc::clone(&slots)),
            permit: None,
            in_hand: VecDeque::new(),
            deliveries,
            traces: Traces { sender: traced }.named("worker"),
        };
        let ids: Vec<Uuid> = (0..3).map(Uuid::from_u128).collect();
        let ready = |service: &mut HandOver| {
            std::future::poll_fn(|cx| Service::<Task<Vec<Uuid>>>::poll_ready(service, cx)).now_or_never()
        };

        assert!(ready(&mut service).is_some());
        service.call(TaskBuilder::new(ids.clone()).build()).await.unwrap();
        assert!(ready(&mut service).is_none(), "a third id has no slot");
        let mut running: Vec<Delivery> = std::iter::from_fn(|| delivered.try_recv().ok()).collect();
        assert_eq!(running.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ids[..2]);

        running.pop();
        assert!(ready(&mut service).is_none(), "the third id has taken the slot");
        assert_eq!(delivered.try_recv().unwrap().0, ids[2]); // and has ended
        assert!(ready(&mut service).is_some());
    }
}
