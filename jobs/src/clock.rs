//! The door through which time comes in. Leases and due times use the database's clock instead;
//! this one stamps what a process sends.

use chrono::{DateTime, Utc};

/// The current time, UTC.
#[must_use]
pub fn now() -> DateTime<Utc> {
    #[allow(clippy::disallowed_methods)] // the one door
    Utc::now()
}
