//! Watching a job: one numbered sequence of events per job, live and kept, that survives the loss
//! of Redis because its numbers come from the ledger.
//!
//! `seq` = epoch × 2²⁰ + n. A transition increments the ledger's epoch and is n = 0; the holder of the fence
//! numbers its progress n = 1, 2, …. See [`event`] for the shape, [`publish`] for the way out, [`hub`] for the
//! fan-out inside an API process, [`feed`] for all jobs of a workspace, [`lines`] for the growth of logs,
//! [`snapshot`] for the answers of polls.

pub mod event;
mod feed;
pub mod hub;
mod lines;
pub(crate) mod publish;
pub mod snapshot;

pub use event::{Counts, Event, Status};
pub use feed::{FeedWatch, Told};
pub use hub::{Hub, IN_FLIGHT, Subscription};
pub use lines::LogWatch;
pub use snapshot::Snapshot;
