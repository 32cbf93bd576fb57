//! The clock: the only source of the present time. Leases and due times use the database's clock instead;
//! this one is for timestamps of messages.

use chrono::{DateTime, SubsecRound, Utc};

/// The current time, UTC.
#[must_use]
pub fn now() -> DateTime<Utc> {
    #[allow(clippy::disallowed_methods)] // the only place
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
