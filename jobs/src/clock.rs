//! The process's clock, the only one that is read here. Leases, due times and other waits use the database's
//! clock instead; this one is for timestamps of messages, and for the ends of links and tokens.

use chrono::{DateTime, SubsecRound, Utc};

/// The current time, UTC.
#[must_use]
pub fn now() -> DateTime<Utc> {
    #[allow(clippy::disallowed_methods)] // the one place
    Utc::now()
}

/// The current time to the millisecond, as in the events of streams.
#[must_use]
pub fn now_in_millis() -> DateTime<Utc> {
    in_millis(now())
}

/// A time rounded down to the millisecond.
#[must_use]
pub fn in_millis(at: DateTime<Utc>) -> DateTime<Utc> {
    at.trunc_subsecs(3)
}
