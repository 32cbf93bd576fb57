//! A unit of work: several pieces of code, each of which begins and commits its own transaction, made
//! into one that is committed by whoever asked for it.
//!
//! Inside [`Unit::scope`], the first transaction that is begun stays open when it is "committed", and
//! is gone on with by the next. Whoever opened the scope gets it, to add what must be true together with
//! all of it, and commits. This is how the answer to a request with an `Idempotency-Key` is in the
//! transaction of its effect, though no handler knows of keys.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use futures::future::BoxFuture;
use sqlx::{PgConnection, Postgres, Transaction};

use crate::{Tx, database::Aftermath, fair::Held};

tokio::task_local! {
    static CURRENT: Unit;
}

/// What is to be done in the unit's transaction before anything else. False: nobody wants a unit after all.
type First = dyn for<'c> Fn(&'c mut PgConnection) -> BoxFuture<'c, Result<bool, sqlx::Error>> + Send + Sync;

/// A unit of work.
#[derive(Clone)]
pub struct Unit(Arc<Inner>);

struct Inner {
    first: Box<First>,
    begun: AtomicBool,
    lost: AtomicBool,
    parked: Mutex<Option<Parked>>,
}

/// The unit's transaction between two pieces of work.
#[derive(Debug)]
pub(crate) struct Parked {
    pub(crate) transaction: Transaction<'static, Postgres>,
    pub(crate) after: Aftermath,
    pub(crate) place: Option<Arc<Held>>,
}

/// What a transaction that begins inside a unit is.
pub(crate) enum Part {
    /// The unit's own, which some work has gone through already.
    GoesOn(Parked),
    /// The unit's own, just begun: this is to be done first.
    First(Unit),
    /// One of its own: none is wanted, or the unit's is open beside it.
    Apart,
}

impl Unit {
    /// A unit whose transaction begins with that. Where it answers false, transactions are what they are
    /// outside of units.
    pub fn new(
        first: impl for<'c> Fn(&'c mut PgConnection) -> BoxFuture<'c, Result<bool, sqlx::Error>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self(Arc::new(Inner {
            first: Box::new(first),
            begun: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            parked: Mutex::new(None),
        }))
    }

    /// Does work inside the unit. The unit's transaction is left open, for [`Unit::take`].
    pub async fn scope<T>(&self, work: impl Future<Output = T>) -> T {
        CURRENT.scope(self.clone(), work).await
    }

    /// Whether the caller is inside a unit: what it has committed isn't to be seen by others yet, so
    /// that there is no point in waiting for them.
    #[must_use]
    pub fn is_open() -> bool {
        CURRENT.try_with(|_| ()).is_ok()
    }

    /// The unit's transaction, with all that was committed into it, as one of the shared schemas.
    ///
    /// # Errors
    /// [`sqlx::Error::WorkerCrashed`] when a part of the work was rolled back after another had been
    /// committed, and took that with it.
    pub async fn take(&self, database: &crate::Database) -> Result<Option<Tx>, sqlx::Error> {
        if self.0.lost.load(Ordering::Acquire) {
            return Err(sqlx::Error::WorkerCrashed);
        }
        let Some(parked) = self.unpark() else { return Ok(None) };
        let mut tx = Tx::going_on(database, parked).await?;
        tx.leave_unit();
        Ok(Some(tx))
    }

    /// What the transaction that begins here is.
    pub(crate) fn part() -> Part {
        CURRENT
            .try_with(|unit| match unit.unpark() {
                Some(parked) => Part::GoesOn(parked),
                None if unit.0.begun.swap(true, Ordering::AcqRel) => Part::Apart,
                None => Part::First(unit.clone()),
            })
            .unwrap_or(Part::Apart)
    }

    /// The transaction of the unit that the caller is in, if work was committed into it.
    pub(crate) fn parked() -> Option<Parked> {
        CURRENT.try_with(Self::unpark).ok().flatten()
    }

    /// The unit that the caller is in.
    pub(crate) fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    /// Whether the caller goes on with work that isn't committed yet.
    #[must_use]
    pub fn has_work() -> bool {
        CURRENT.try_with(|unit| unit.lock().is_some()).unwrap_or(false)
    }

    /// Whether the transaction is the unit's.
    pub(crate) async fn begin(&self, conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
        (self.0.first)(conn).await
    }

    pub(crate) fn park(&self, parked: Parked) {
        *self.lock() = Some(parked);
    }

    /// Work that others had committed into the transaction was rolled back with it.
    pub(crate) fn lose(&self) {
        self.0.lost.store(true, Ordering::Release);
    }

    /// No part of the unit is in the database any more: the next transaction is its first again.
    pub(crate) fn forget(&self) {
        self.0.begun.store(false, Ordering::Release);
    }

    fn unpark(&self) -> Option<Parked> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Parked>> {
        self.0.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unit").finish_non_exhaustive()
    }
}
