//! Actions on jobs: list, find, cancel, retry, prioritise, delete, read the log.
//!
//! Every function takes the owner of the jobs. A job of another owner does not exist for it.

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
