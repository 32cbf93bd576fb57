//! Fair use of a process's connections to PostgreSQL: the maximum number that one workspace holds at once, and of
//! concurrent long reads.
//!
//! A place is taken before a connection, so that waiting requests hold none, and is held until the server has ended
//! the statement, also when the client has left before. All connections that one request holds at a time count as one
//! place: no request waits for itself.

use std::{
    ops::DerefMut,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use futures::FutureExt;
use sqlx::{Connection, PgConnection};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use uuid::Uuid;

use crate::places::{Place, Places};

/// Maximum number of rows of a quick read; a read of more is a long one.
pub const MAX_QUICK_ROWS: i64 = 10_000;

/// Maximum number of waiting long reads of one workspace.
const QUEUE: usize = 8;

/// Maximum wait of a request for a place or a connection.
pub(crate) const ACQUIRE: Duration = Duration::from_secs(10);

/// Maximum time for a returned connection to finish its work. One that takes longer is in a
/// statement whose client has left.
const FINISH: Duration = Duration::from_millis(500);

/// Interval at which the server checks, during a statement, whether its connection is still open.
const LOOK: Duration = Duration::from_millis(250);

/// Limits of a process that answers requests, so that no tenant holds all of its connections, nor keeps all of the
/// server's processors busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FairUse {
    /// Maximum number of one workspace's requests that hold connections at once; further ones wait, without a
    /// connection.
    pub per_workspace: usize,
    /// Maximum number of concurrent long reads of all workspaces; one workspace has at most half of them, and
    /// at least one.
    pub long_reads: usize,
    /// Maximum duration of a statement. A statement whose client leaves earlier ends within about a second.
    pub statement_timeout: Duration,
}

/// The places of a process; clones count together.
#[derive(Debug, Clone)]
pub(crate) struct Fair(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    requests: Places<Uuid>,
    long_reads: Places<Uuid>,
    long_reads_of_one: usize,
    long_reads_of_all: Arc<Semaphore>,
}

/// A taken place. Connections that are held for the same request share it.
#[derive(Debug)]
pub(crate) struct Held {
    // Freed before the workspace's own, so that the next request of the workspace finds both free.
    _of_all: Option<OwnedSemaphorePermit>,
    _place: Place<Uuid>,
}

/// The workspace that a handle works for, and the place that it holds at present.
#[derive(Debug, Clone)]
pub(crate) struct OnBehalf {
    pub(crate) workspace: Uuid,
    held: Arc<Mutex<Weak<Held>>>,
}

impl Fair {
    pub(crate) fn new(fair: &FairUse) -> Self {
        let of_one = (fair.long_reads / 2).max(1);
        Self(Arc::new(Inner {
            requests: Places::of(fair.per_workspace),
            long_reads: Places::of(of_one),
            long_reads_of_one: of_one,
            long_reads_of_all: Arc::new(Semaphore::new(fair.long_reads.max(1))),
        }))
    }

    /// One of the places of a workspace's requests.
    ///
    /// # Errors
    /// [`sqlx::Error::PoolTimedOut`] when none becomes free in time.
    pub(crate) async fn place(&self, workspace: Uuid) -> Result<Arc<Held>, sqlx::Error> {
        // Waiting requests are bounded by the number of open requests, and each of them by its deadline.
        match timeout(ACQUIRE, self.0.requests.take(workspace, usize::MAX)).await {
            Ok(Ok(place)) => Ok(Arc::new(Held { _of_all: None, _place: place })),
            Ok(Err(_)) | Err(_) => Err(sqlx::Error::PoolTimedOut),
        }
    }

    /// One of the places of long reads.
    ///
    /// # Errors
    /// [`sqlx::Error::PoolTimedOut`] when none becomes free in time, or at once when too many of the workspace wait.
    pub(crate) async fn long_read(&self, workspace: Uuid) -> Result<Arc<Held>, sqlx::Error> {
        let taken = async {
            let most = self.0.long_reads_of_one + QUEUE;
            let place = self.0.long_reads.take(workspace, most).await.ok()?;
            let of_all = Arc::clone(&self.0.long_reads_of_all).acquire_owned().await.ok()?;
            Some(Arc::new(Held { _of_all: Some(of_all), _place: place }))
        };
        timeout(ACQUIRE, taken).await.ok().flatten().ok_or(sqlx::Error::PoolTimedOut)
    }
}

impl OnBehalf {
    pub(crate) fn of(workspace: Uuid) -> Self {
        Self { workspace, held: Arc::default() }
    }

    /// The place that is held already, or a new one.
    pub(crate) async fn place(&self, fair: &Fair) -> Result<Arc<Held>, sqlx::Error> {
        if let Some(held) = self.lock().upgrade() {
            return Ok(held);
        }
        let held = fair.place(self.workspace).await?;
        *self.lock() = Arc::downgrade(&held);
        Ok(held)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Weak<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The settings of a connection that answers requests, times in milliseconds. One statement keeps one
/// processor busy, and the server ends a statement whose connection is closed, which [`has_finished`] causes.
pub(crate) fn settings(fair: &FairUse) -> [(&'static str, String); 3] {
    [
        ("statement_timeout", fair.statement_timeout.as_millis().to_string()),
        ("client_connection_check_interval", LOOK.as_millis().to_string()),
        ("max_parallel_workers_per_gather", "0".to_owned()),
    ]
}

/// Whether a returned connection can be used again: not while it is still in a statement, whose client
/// must have left. That one is closed, so that the server ends the statement and the next request finds room.
pub(crate) async fn has_finished(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    match timeout(FINISH, connection.flush()).await {
        Ok(finished) => finished.map(|()| true),
        Err(_) => Ok(false),
    }
}

/// Returns a connection, and its place as soon as the server has ended the statement.
pub(crate) fn give_back<C>(mut connection: C, place: Arc<Held>)
where
    C: DerefMut<Target = PgConnection> + Send + 'static,
{
    if connection.flush().now_or_never().is_some() {
        return;
    }
    tokio::spawn(async move {
        let finished = timeout(FINISH, connection.flush()).await.is_ok();
        // Unfinished, it is closed on its way back to the pool, which the server detects.
        drop(connection);
        if !finished {
            sleep(FINISH + LOOK).await;
        }
        drop(place);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fair(per_workspace: usize, long_reads: usize) -> Fair {
        Fair::new(&FairUse { per_workspace, long_reads, statement_timeout: Duration::from_secs(1) })
    }

    #[tokio::test]
    async fn a_request_that_holds_a_place_needs_no_other() {
        let (fair, workspace) = (fair(1, 1), Uuid::from_u128(1));
        let request = OnBehalf::of(workspace);
        let first = request.place(&fair).await.unwrap();
        let again = request.place(&fair).now_or_never().expect("it does not wait for itself").unwrap();
        drop(first);
        assert!(OnBehalf::of(workspace).place(&fair).now_or_never().is_none(), "the place is still held");
        drop(again);
        assert!(OnBehalf::of(workspace).place(&fair).now_or_never().is_some());
    }

    #[tokio::test]
    async fn long_reads_of_one_workspace_leave_room_for_those_of_others_and_for_its_own_requests() {
        let (fair, one, other) = (fair(1, 4), Uuid::from_u128(1), Uuid::from_u128(2));
        let _first = fair.long_read(one).await.unwrap();
        let _second = fair.long_read(one).await.unwrap();
        assert!(fair.long_read(one).now_or_never().is_none(), "half of them");
        assert!(fair.long_read(other).now_or_never().is_some());
        assert!(fair.place(one).now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_long_read_that_is_one_too_many_is_refused_at_once() {
        let (fair, workspace) = (fair(1, 1), Uuid::from_u128(1));
        let _held = fair.long_read(workspace).await.unwrap();
        let mut waiting: Vec<_> = (0..QUEUE).map(|_| Box::pin(fair.long_read(workspace))).collect();
        assert!(waiting.iter_mut().all(|read| read.as_mut().now_or_never().is_none()));
        let refused = fair.long_read(workspace).now_or_never().expect("it does not wait");
        assert!(matches!(refused, Err(sqlx::Error::PoolTimedOut)));
    }
}
