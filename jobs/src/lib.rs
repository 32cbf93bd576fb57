//! The job engine: PostgreSQL decides, Redis delivers.
//!
//! The ledger (`shard.jobs`) is the truth. [`enqueue()`] inserts a row in the caller's transaction; the
//! [`dispatch`] leader moves due ids to Redis; apalis carries an id to a worker of its pool
//! ([`deliver`]); the [`worker`] claims the job, runs its handler and finishes it; [`watch`] shows
//! every transition and every progress to watchers. The crate knows no domain: a payload is the
//! responsibility of its kind ([`kinds`]) and its handler.

pub mod audit;
pub mod batch;
pub mod border;
pub mod clock;
pub mod control;
pub mod dead_letters;
pub mod dispatch;
pub mod figures;
pub mod kinds;
pub mod limits;
pub mod operator;
pub mod pauses;
pub mod places;
pub mod queues;
pub mod retention;
pub mod roster;
pub mod schedules;
pub mod server;
pub mod shares;
pub mod steps;
#[cfg(feature = "testing")]
pub mod testing;
pub mod throughput;
pub mod trace;
pub mod watch;

mod bus;
mod coalesce;
mod context;
mod database;
mod deliver;
mod enqueue;
mod fair;
mod handler;
mod id;
mod kind;
mod ledger;
mod logs;
mod origin;
mod outage;
mod owner;
mod payload;
mod pool;
mod progress;
mod reach;
mod tcp;
mod unique;
pub mod waiting;
pub mod worker;

pub use bus::{Bus, RedisError};
pub use context::{JobContext, Resumed};
pub use database::{Connect, ConnectError, Database, Reader, Tx, workspace_schema};
pub use enqueue::{Enqueued, NewJob, enqueue, enqueue_all};
pub use fair::{FairUse, MAX_QUICK_ROWS};
pub use handler::{Answer, JobError, MAX_RETRY_AFTER, Outcome, Registry};
pub use id::{Id, JobId, LimitId, PauseId, ScheduleId, WorkerId};
pub use kind::{Act, Jitter, JobKind, Needs, RetryPolicy};
pub use logs::JobLogs;
pub use origin::{ActorType, CredentialType, Origin, Surface};
pub use outage::is_outage;
pub use owner::Owner;
pub use payload::{MalformedKeys, PayloadError, PayloadKeys};
pub use pool::Pool;
pub use progress::Progress;
pub use reach::Reach;
pub use retention::Retention;
pub use schedules::Recurring;
pub use steps::Steps;
pub use trace::TraceParent;
pub use unique::Unique;

// A change of the file rebuilds the crate.
const _: &str = include_str!("../sqlx.toml");
