//! Heavy work: work that keeps a core busy, or takes much memory, for one request. Each kind has a pool of few
//! threads, a short queue in front of it, and room in both for others than the busiest caller.
//!
//! A thread is held by the work and not by its caller: a request whose client leaves is dropped at once, its
//! work can't be. The work is notified that its result is not needed ([`Stop`]) and may end early.

use std::{
    fmt,
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use jobs::places::Places;
use tokio::sync::{Semaphore, oneshot};
use uuid::Uuid;

/// Lowest priority of a thread, see nice(2): for work that may take all of the processor time that is left over.
pub const MAX_NICE: i32 = 19;
/// Seconds after which a refused caller may retry.
pub const COME_BACK: u64 = 2;

tokio::task_local! {
    static CLIENT: Option<IpAddr>;
}

/// Threads for one kind of heavy work.
pub struct HeavyPool {
    name: &'static str,
    threads: Arc<Semaphore>,
    /// Callers with running work: the last thread is not for a caller that has all the others.
    holders: Places<Whose>,
    /// Running or waiting works: maximum, maximum of one caller, and present number.
    most: usize,
    max_of_one: usize,
    now: Arc<AtomicUsize>,
    /// Niceness of the threads in favour of those that answer requests, see nice(2).
    gives_way: i32,
}

/// The caller on whose behalf work is done.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Whose {
    /// A workspace.
    Workspace(Uuid),
    /// A client, by its address; the first half of one of IPv6.
    Client(IpAddr),
    /// None in particular.
    Unknown,
}

/// Notifies work that its result is not needed.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

/// The reason why heavy work has no result.
#[derive(Debug, thiserror::Error)]
pub enum HeavyError {
    /// Too much of it waits already. 503 `overloaded`.
    #[error("too much work of this kind is waiting; retry later")]
    Overloaded,
    /// It panicked, or no thread could be started: an internal error.
    #[error("heavy work of the pool {0} was aborted")]
    BrokenOff(&'static str),
}

impl HeavyPool {
    /// So many threads, and a queue for so many works beside the running ones.
    #[must_use]
    pub fn new(name: &'static str, threads: usize, queue: usize, gives_way: i32) -> Self {
        let most = threads + queue;
        Self {
            name,
            threads: Arc::new(Semaphore::new(threads)),
            holders: Places::of(threads.saturating_sub(1)),
            most,
            max_of_one: most.div_ceil(2),
            now: Arc::default(),
            gives_way,
        }
    }

    /// Number of running or waiting works.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.now.load(Ordering::Acquire)
    }

    /// Refuses in the same cases as [`heavy`] would now: for requests that do some work before.
    ///
    /// # Errors
    /// [`HeavyError::Overloaded`].
    pub fn require_room(&self, whose: &Whose) -> Result<(), HeavyError> {
        let is_full = self.under_way() >= self.most || self.holders.is_crowded(whose, self.max_of_one);
        if is_full { Err(HeavyError::Overloaded) } else { Ok(()) }
    }

    fn enter(&self) -> Result<Entered, HeavyError> {
        let entered = Entered(Arc::clone(&self.now));
        // Counted before it is compared, so that of two concurrent calls only one is the last.
        let before = self.now.fetch_add(1, Ordering::AcqRel);
        if before >= self.most { Err(HeavyError::Overloaded) } else { Ok(entered) }
    }
}

/// Counts while it lives.
struct Entered(Arc<AtomicUsize>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Whose {
    /// The client of the present request, if there is one.
    #[must_use]
    pub fn client() -> Self {
        match CLIENT.try_with(|address| *address).ok().flatten() {
            Some(IpAddr::V6(address)) => Self::Client(IpAddr::V6((u128::from(address) >> 64 << 64).into())),
            Some(address) => Self::Client(address),
            None => Self::Unknown,
        }
    }
}

impl Stop {
    /// Whether the work may as well end.
    #[must_use]
    pub fn is_asked_for(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Requests a stop when it is dropped.
struct AsksForStop(Stop);

impl Drop for AsksForStop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// Runs the work of a request, on behalf of the client at that address.
pub async fn for_client<T>(address: Option<IpAddr>, work: impl Future<Output = T>) -> T {
    CLIENT.scope(address, work).await
}

/// Does heavy work on a thread of its pool, and answers its result. Resources held during it are moved to the
/// work: they are released at its end, also when this future has been dropped.
///
/// # Errors
/// [`HeavyError::Overloaded`] when too much waits already, of all or of this caller; [`HeavyError::BrokenOff`] when
/// the work panicked.
pub async fn heavy<T: Send + 'static>(
    pool: &HeavyPool,
    whose: Whose,
    work: impl FnOnce(&Stop) -> T + Send + 'static,
) -> Result<T, HeavyError> {
    let entered = pool.enter()?;
    let place = pool.holders.take(whose, pool.max_of_one).await.map_err(|_| HeavyError::Overloaded)?;
    let thread = Arc::clone(&pool.threads).acquire_owned().await;
    let thread = thread.map_err(|_| HeavyError::BrokenOff(pool.name))?;
    let asks = AsksForStop(Stop::default());
    let (stop, gives_way) = (asks.0.clone(), pool.gives_way);
    let (send, result) = oneshot::channel();
    // A thread of its own: its niceness can't be reset, so it must not be reused.
    let spawned = thread::Builder::new().name(pool.name.to_owned()).spawn(move || {
        let held = (thread, place, entered);
        give_way(gives_way);
        let done = catch_unwind(AssertUnwindSafe(|| work(&stop)));
        // Before the answer, so that its receiver may request more at once.
        drop(held);
        if let Ok(done) = done {
            let _ = send.send(done); // the receiver may have left
        }
    });
    spawned.map_err(|_| HeavyError::BrokenOff(pool.name))?;
    result.await.map_err(|_| HeavyError::BrokenOff(pool.name))
}

/// Lets other threads go first. Elsewhere than on Linux this would affect the whole process.
#[cfg(target_os = "linux")]
fn give_way(by: i32) {
    if by > 0
        && let Err(error) = rustix::process::nice(by)
    {
        tracing::debug!(%error, "heavy work runs with normal priority");
    }
}

#[cfg(not(target_os = "linux"))]
fn give_way(_: i32) {}

impl fmt::Debug for HeavyPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeavyPool").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures::{FutureExt, future::join_all};

    use super::*;

    fn holder(n: u128) -> Whose {
        Whose::Workspace(Uuid::from_u128(n))
    }

    /// Work that reports that it runs, and ends on request.
    fn held(running: &Arc<AtomicUsize>, until: mpsc::Receiver<()>) -> impl FnOnce(&Stop) + Send + 'static {
        let running = Arc::clone(running);
        move |_| {
            running.fetch_add(1, Ordering::AcqRel);
            let _ = until.recv();
            running.fetch_sub(1, Ordering::AcqRel);
        }
    }

    async fn until(what: impl Fn() -> bool) {
        while !what() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn work_whose_clients_left_keeps_its_threads() {
        let pool = HeavyPool::new("test", 2, 10, 0);
        let running = Arc::default();
        let mut ends = Vec::new();
        for n in 0..6 {
            let (end, ended) = mpsc::channel();
            ends.push(end);
            // Polled once, and then dropped, as when a client leaves.
            assert!(heavy(&pool, holder(n), held(&running, ended)).now_or_never().is_none());
        }
        until(|| running.load(Ordering::Acquire) == 2).await;
        assert_eq!(pool.under_way(), 2, "those that only waited have left");
        drop(ends);
        until(|| pool.under_way() == 0).await;
        heavy(&pool, holder(9), |_| ()).await.unwrap();
    }

    #[tokio::test]
    async fn one_holder_never_has_all_threads_nor_all_of_the_queue() {
        let pool = HeavyPool::new("test", 2, 4, 0);
        let running = Arc::default();
        let (_ends, works): (Vec<_>, Vec<_>) = (0..3)
            .map(|_| {
                let (end, ended) = mpsc::channel();
                (end, Box::pin(heavy(&pool, holder(1), held(&running, ended))))
            })
            .unzip();
        let mut works = Box::pin(join_all(works));
        assert!(works.as_mut().now_or_never().is_none());
        assert!(matches!(pool.require_room(&holder(1)), Err(HeavyError::Overloaded)));
        assert!(matches!(heavy(&pool, holder(1), |_| ()).await, Err(HeavyError::Overloaded)));
        pool.require_room(&holder(2)).unwrap();
        heavy(&pool, holder(2), |_| ()).await.unwrap();
        drop(works);
    }

    #[tokio::test]
    async fn beyond_the_queue_everybody_is_told_to_come_back() {
        let pool = HeavyPool::new("test", 1, 1, 0);
        let (_end, ended) = mpsc::channel();
        let running = Arc::default();
        let mut first = Box::pin(heavy(&pool, holder(1), held(&running, ended)));
        assert!(first.as_mut().now_or_never().is_none());
        let mut second = Box::pin(heavy(&pool, holder(2), |_| ()));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(pool.require_room(&holder(3)).is_err());
        let refused = heavy(&pool, holder(3), |_| ()).await.unwrap_err();
        assert!(matches!(refused, HeavyError::Overloaded), "{refused}");
    }

    #[tokio::test]
    async fn work_learns_that_nobody_waits_for_it() {
        let pool = HeavyPool::new("test", 1, 1, 0);
        let work = |stop: &Stop| {
            while !stop.is_asked_for() {
                thread::yield_now();
            }
        };
        assert!(heavy(&pool, Whose::Unknown, work).now_or_never().is_none());
        until(|| pool.under_way() == 0).await;
    }

    #[tokio::test]
    async fn work_that_panics_gives_its_thread_back() {
        let pool = HeavyPool::new("test", 1, 1, 0);
        let broken = heavy(&pool, Whose::Unknown, |_| panic!("on purpose")).await;
        assert!(matches!(broken, Err::<(), _>(HeavyError::BrokenOff("test"))));
        heavy(&pool, Whose::Unknown, |_| ()).await.unwrap();
    }

    #[tokio::test]
    async fn a_client_is_known_by_its_network() {
        let whose = async |address: &str| for_client(address.parse().ok(), async { Whose::client() }).await;
        assert_eq!(whose("2001:db8::1").await, whose("2001:db8::2").await);
        assert_ne!(whose("192.0.2.1").await, whose("192.0.2.2").await);
        assert_eq!(Whose::client(), Whose::Unknown);
    }
}
