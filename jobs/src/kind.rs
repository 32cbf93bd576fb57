//! The declaration of a job kind: its name, its pool and its policy.

use std::time::Duration;

use rand::RngExt;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{PayloadError, Pool, Unique, retention::Retention};

/// A kind of job: a small serialisable payload (ids, never models) and its policy.
pub trait JobKind: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Name in the ledger, which never changes. `area.verb`, for example `records.import`.
    const NAME: &'static str;
    /// Names in older releases, whose jobs this kind still runs.
    const FORMER_NAMES: &'static [&'static str] = &[];
    /// Version of the payload's shape; incremented whenever an older release couldn't read it, or this
    /// one couldn't read that of an older one.
    const VERSION: i16 = 1;
    /// Fields that only the handler may read, as dotted paths. They are encrypted at rest and
    /// masked wherever a payload is shown. Each must be present, if only as null.
    const SECRETS: &'static [&'static str] = &[];
    /// Pool that runs it.
    const POOL: Pool;
    /// Handling of a failed attempt.
    const RETRY: RetryPolicy = RetryPolicy::DEFAULT;
    /// Maximum duration of one attempt, after which it is aborted and counted as failed.
    const TIMEOUT: Duration = Duration::from_secs(300);
    /// Retention of a finished job in the history.
    const RETENTION: Retention = Retention::DEFAULT;
    /// Whether a handler of this kind commits checkpoints, and so may be handed back at any time.
    const CHECKPOINTS: bool = false;
    /// Priority, from 0 (first) to 9 (last), among the due jobs of its workspace in the pool.
    const PRIORITY: i16 = 5;
    /// Permissions of the feature that it belongs to.
    const NEEDS: Needs = Needs::NONE;

    /// The key by which two jobs of this kind are the same; none: all are different.
    fn unique(&self) -> Option<Unique> {
        None
    }

    /// Upgrades a payload of an older version to the present one, for a job that was enqueued by an older
    /// release. Its secrets are decrypted.
    ///
    /// # Errors
    /// [`PayloadError`] when that can't be done: the job ends for that reason.
    fn upgrade(version: i16, payload: Value) -> Result<Value, PayloadError> {
        let _ = payload;
        Err(PayloadError::UnsupportedVersion { found: version, current: Self::VERSION })
    }
}

/// The permissions that jobs of a kind need, in addition to those for jobs in general: of the feature that they
/// belong to, and of the data that they affect. Named as in the catalogue of `domain::access`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// To view a job, its log and its payload.
    pub view: &'static [&'static str],
    /// To start a job, in any way, and to prioritise waiting ones.
    pub start: &'static [&'static str],
    /// To cancel a job.
    pub cancel: &'static [&'static str],
    /// To remove a job from the history, or from the dead letters.
    pub delete: &'static [&'static str],
}

/// An action on a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Viewing it.
    View,
    /// Starting or retrying it.
    Start,
    /// Cancelling it.
    Cancel,
    /// Deleting it.
    Delete,
}

impl Needs {
    /// No further permissions.
    pub const NONE: Self = Self { view: &[], start: &[], cancel: &[], delete: &[] };

    /// The permissions for that action.
    #[must_use]
    pub const fn to(&self, act: Act) -> &'static [&'static str] {
        match act {
            Act::View => self.view,
            Act::Start => self.start,
            Act::Cancel => self.cancel,
            Act::Delete => self.delete,
        }
    }
}

/// Number of attempts of a failing job, and the waits between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Maximum number of attempts; 1 means that the first failure is final.
    pub attempts: i32,
    /// Upper bound of the first wait.
    pub base: Duration,
    /// Upper bound of every wait.
    pub cap: Duration,
}

impl RetryPolicy {
    /// Eight attempts, the last no later than about ten minutes after the first: 5 s, doubling to 300 s.
    pub const DEFAULT: Self =
        Self { attempts: 8, base: Duration::from_secs(5), cap: Duration::from_secs(300) };
    /// For outbound deliveries, whose receivers are unreachable for as long as a deployment or an outage over
    /// night takes: fifteen attempts, the last no later than about six hours after the first.
    pub const OUTWARD: Self =
        Self { attempts: 15, base: Duration::from_secs(10), cap: Duration::from_secs(3600) };
    /// One attempt.
    pub const NEVER: Self = Self { attempts: 1, ..Self::DEFAULT };

    /// The wait after the given failed attempt (1 is the first): exponential with full jitter
    /// (Brooker, "Exponential Backoff and Jitter", 2015), so that jobs that failed together don't
    /// return together.
    #[must_use]
    pub fn backoff(&self, attempt: i32, jitter: Jitter) -> Duration {
        let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(0).min(30);
        let bound = self.base.saturating_mul(1 << doublings).min(self.cap);
        match jitter {
            Jitter::Full => rand::rng().random_range(Duration::ZERO..=bound),
            Jitter::Held(share) => bound.mul_f64(share.clamp(0.0, 1.0)),
        }
    }
}

/// The share of a wait's upper bound that is waited: the source of randomness.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Jitter {
    /// Any share, uniformly distributed.
    #[default]
    Full,
    /// That share (0 to 1), for tests.
    Held(f64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backoff_stays_below_its_doubling_bound_and_the_cap() {
        let policy = RetryPolicy { attempts: 20, base: Duration::from_secs(1), cap: Duration::from_secs(60) };
        for attempt in 1..=40 {
            let bound = Duration::from_secs(1 << (attempt - 1).min(6)).min(policy.cap);
            for _ in 0..50 {
                assert!(policy.backoff(attempt, Jitter::Full) <= bound, "attempt {attempt}");
            }
        }
    }

    #[test]
    fn policies_reach_as_far_as_they_say() {
        let reach = |policy: RetryPolicy| {
            let waits = (1..policy.attempts).map(|attempt| policy.backoff(attempt, Jitter::Held(1.0)));
            waits.sum::<Duration>().as_secs()
        };
        assert_eq!(reach(RetryPolicy::DEFAULT), 615);
        assert_eq!(reach(RetryPolicy::OUTWARD), 5110 + 5 * 3600);
    }

    #[test]
    fn a_held_jitter_makes_a_backoff_known() {
        let policy = RetryPolicy { attempts: 20, base: Duration::from_secs(2), cap: Duration::from_secs(60) };
        assert_eq!(policy.backoff(1, Jitter::Held(1.0)), Duration::from_secs(2));
        assert_eq!(policy.backoff(3, Jitter::Held(0.5)), Duration::from_secs(4));
        assert_eq!(policy.backoff(30, Jitter::Held(1.0)), policy.cap);
    }
}
