//! The process's clock, the only one that is read here. Leases, due times and whatever else waits go by the database's
//! clock instead; this one stamps what a process sends, and ends links and tokens.

use chrono::{DateTime, SubsecRound, Utc};

/// The current time, UTC.
#[must_use]
pub fn now() -> DateTime<Utc> {
    #[allow(clippy::disallowed_methods)] // the one place
    Utc::now()
}

/// The current time to the millisecond, as the events of streams tell it.
#[must_use]
pub fn now_in_millis() -> DateTime<Utc> {
    in_millis(now())
}

/// A time without what is finer than a millisecond.
#[must_use]
pub fn in_millis(at: DateTime<Utc>) -> DateTime<Utc> {
    at.trunc_subsecs(3)
}
