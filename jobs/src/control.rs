//! What people may do with jobs: list, look, cancel, retry, put first or last, delete, read the log.
//!
//! Every function takes the owner whose jobs are meant. A job of another owner does not exist.

mod cancel;
mod delete;
mod figures;
mod filter;
mod list;
mod logs;
mod priority;
mod retry;

pub(crate) use cancel::{Asked, announce, end_if_asked};
pub use cancel::{Cancel, CancelAll, CancelledAll, cancel};
pub use delete::{Delete, delete};
pub use figures::{LiveCount, count_live};
pub use filter::Filter;
pub use list::{MAX_COUNTED, list};
pub use logs::{LogLine, last_logs, logs};
pub use priority::{Prioritize, prioritize};
pub(crate) use retry::begin_anew;
pub use retry::{Retry, retry};
