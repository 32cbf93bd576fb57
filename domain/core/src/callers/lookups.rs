//! Lookups of a process's requests: those that come while others are looked up are looked up together, by one statement.
//!
//! Nothing is remembered. Each request is looked up by a statement that begins after it has come, so that a credential
//! that has ended is refused from the next request on, exactly as if each had a statement of its own.

use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jobs::places::Places;
use sqlx::PgPool;
use tokio::{runtime::Handle, sync::oneshot};

use super::{Brought, Found, find, find_all};
use crate::WorkspaceId;

/// Statements at once. The fewer, the more requests share each.
const MAX_AT_ONCE: usize = 2;
/// Requests of one statement.
const MAX_TOGETHER: usize = 64;
/// Requests of one credential that are looked up or wait for it; more of them wait in front, and hold up no other.
const MAX_OF_ONE: usize = MAX_TOGETHER / 4;

/// What a request asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The credential that it brings.
    pub brought: Brought,
    /// The workspace that it names; without one it is the only one that the key or token is good in.
    pub workspace: Option<WorkspaceId>,
    /// Where it comes from.
    pub from: Option<IpAddr>,
}

/// Looks the credentials of a process's requests up.
#[derive(Debug, Clone)]
pub struct Lookups {
    pool: PgPool,
    shares: Places<Brought>,
    queue: Arc<Mutex<Queue>>,
}

#[derive(Debug, Default)]
struct Queue {
    running: usize,
    waiting: VecDeque<Waiting>,
}

/// A request that shares a statement with others.
#[derive(Debug)]
struct Waiting {
    asked: Asked,
    answer: oneshot::Sender<Option<Found>>,
}

/// The right to run a statement. Dropped, it goes to the requests that wait.
struct Turn(Lookups);

impl Lookups {
    /// By the connections of that pool.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self { pool, shares: Places::of(MAX_OF_ONE), queue: Arc::default() }
    }

    /// Looks a credential up, and how its holder stands. None when the credential is not good, or no longer.
    pub async fn find(&self, asked: Asked) -> Result<Option<Found>, sqlx::Error> {
        let share = self.shares.take(asked.brought.clone(), usize::MAX).await;
        let _share = share.map_err(|_| sqlx::Error::PoolTimedOut)?;
        let answer = {
            let mut queue = self.lock();
            if queue.running < MAX_AT_ONCE {
                queue.running += 1;
                None
            } else {
                let (send, answer) = oneshot::channel();
                queue.waiting.push_back(Waiting { asked: asked.clone(), answer: send });
                Some(answer)
            }
        };
        let Some(answer) = answer else {
            let _turn = Turn(self.clone());
            return find(&self.pool, &asked).await;
        };
        match answer.await {
            Ok(found) => Ok(found),
            // What went wrong was perhaps about another one.
            Err(_) => find(&self.pool, &asked).await,
        }
    }

    /// Looks up the waiting requests by one statement.
    fn go_on(&self, turn: Turn, together: Vec<Waiting>) {
        let Ok(runtime) = Handle::try_current() else { return };
        let pool = self.pool.clone();
        runtime.spawn(async move {
            let (asked, answers): (Vec<_>, Vec<_>) =
                together.into_iter().map(|waiting| (waiting.asked, waiting.answer)).unzip();
            match find_all(&pool, &asked).await {
                Ok(found) => {
                    // Before the answers, so that the next statement need not wait for those who have one.
                    drop(turn);
                    for (answer, found) in answers.into_iter().zip(found) {
                        let _ = answer.send(found); // its client may have left
                    }
                }
                Err(error) => tracing::warn!(%error, requests = asked.len(), "a lookup of several failed"),
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut queue = self.0.lock();
        queue.waiting.retain(|waiting| !waiting.answer.is_closed());
        let together = queue.waiting.len().min(MAX_TOGETHER);
        if together == 0 {
            queue.running -= 1;
            return;
        }
        let together = queue.waiting.drain(..together).collect();
        drop(queue);
        self.0.go_on(Self(self.0.clone()), together);
    }
}
