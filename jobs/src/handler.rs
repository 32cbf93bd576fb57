//! Handlers: their outcomes, and the registry of the kinds that a process handles.

use std::{collections::HashMap, pin::Pin, sync::Arc, time::Duration};

use serde_json::Value;

use crate::{
    Jitter, JobContext, JobKind, PayloadError, PayloadKeys, Pool, RetryPolicy,
    ledger::Claimed,
    outage::is_outage,
    payload,
    retention::{Policies, Retention},
};

/// Maximum wait that an external service may ask for.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Delay before the retry of a job that needs an unreachable service, and its random part.
const AWAY: Duration = Duration::from_secs(10);

/// Outcome of an attempt, chosen by the handler.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Done; the value is the job's result, visible to its watchers. One of more than
    /// [`crate::border::MAX_RESULT_BYTES`] fails the job.
    Done(Value),
    /// Not now: again after the wait. Does not count as an attempt.
    Snooze(Duration),
    /// Never: no further attempt would end otherwise. The message is for display.
    Fail {
        /// Stable error code, for programs.
        code: String,
        /// Error message, for display.
        message: String,
    },
    /// Stopped on request, with everything committed so far kept.
    Cancelled,
    /// Given back at a checkpoint, for another worker to continue. Does not count as an attempt.
    HandBack,
}

impl Outcome {
    /// [`Outcome::Fail`].
    pub fn fail(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Fail { code: code.into(), message: message.into() }
    }
}

/// The reason why an attempt could not continue. The engine decides, by the kind's policy, whether to try again.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// A newer holder has taken the job over; this attempt may commit nothing more.
    #[error("another worker holds this job")]
    Fenced,
    /// The database failed or refused.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// Anything else that may be different next time. The text is logged and not shown to watchers.
    #[error("{0}")]
    Retry(String),
    /// The same, with a message for watchers.
    #[error("{0}")]
    RetryWithMessage(String),
    /// The same, where the external service has given a minimum wait.
    #[error("{message}")]
    RetryAfter {
        /// Minimum wait; no longer than [`MAX_RETRY_AFTER`].
        wait: Duration,
        /// Message for watchers.
        message: String,
    },
    /// A service that the job needs is full or unreachable, which is no failure of the job: retried later,
    /// without counting as an attempt.
    #[error("{0}")]
    Away(String),
    /// No further attempt would end otherwise: [`Outcome::Fail`], for use with `?`.
    #[error("{code}: {message}")]
    Final {
        /// Stable error code, for programs.
        code: &'static str,
        /// Error message, for display.
        message: String,
    },
}

impl JobError {
    /// The message for watchers: never internal details.
    pub(crate) fn public_message(&self) -> String {
        match self {
            Self::RetryWithMessage(sentence)
            | Self::Away(sentence)
            | Self::RetryAfter { message: sentence, .. }
            | Self::Final { message: sentence, .. } => sentence.clone(),
            Self::Fenced | Self::Database(_) | Self::Retry(_) => "an internal error occurred".to_owned(),
        }
    }

    /// The reason for waiting, if a service that the job needs is unreachable, which is no failure of the job.
    pub(crate) fn away(&self) -> Option<String> {
        match self {
            Self::Away(sentence) => Some(sentence.clone()),
            Self::Database(error) if is_outage(error) => Some("the database is unreachable".to_owned()),
            _ => None,
        }
    }

    /// An error worth another attempt, with a text for the log.
    pub fn retry(error: impl std::fmt::Display) -> Self {
        Self::Retry(error.to_string())
    }

    /// An error that no further attempt would fix, with a message for watchers.
    pub fn fatal(code: &'static str, message: impl Into<String>) -> Self {
        Self::Final { code, message: message.into() }
    }
}

/// The result of a handler.
pub type Answer = Result<Outcome, JobError>;

type Run = dyn Fn(Value, JobContext) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync;

/// A kind as the runner sees it: its policy, and its handler with the payload's type erased.
#[derive(Clone)]
pub(crate) struct Entry {
    pub name: &'static str,
    pub version: i16,
    upgrade: fn(i16, Value) -> Result<Value, PayloadError>,
    pub retry: RetryPolicy,
    pub timeout: Duration,
    pub checkpoints: bool,
    pub retention: Retention,
    jitter: Jitter,
    pub run: Arc<Run>,
}

impl Entry {
    /// The wait after that failed attempt.
    pub(crate) fn backoff(&self, attempt: i32) -> Duration {
        self.retry.backoff(attempt, self.jitter)
    }

    /// The wait of a job that needs an unreachable service: half of it is random, so that jobs that were rejected
    /// together don't return together.
    pub(crate) fn away(&self) -> Duration {
        let policy = RetryPolicy { base: AWAY / 2, ..RetryPolicy::NEVER };
        AWAY / 2 + policy.backoff(1, self.jitter)
    }

    /// The payload in the form for this release's handler: decrypted, of the present version.
    pub(crate) fn read(
        &self,
        keys: &PayloadKeys,
        job: &Claimed,
        mut payload: Value,
    ) -> Result<Value, PayloadError> {
        payload::open(keys, job.id, &mut payload)?;
        if job.version < self.version { (self.upgrade)(job.version, payload) } else { Ok(payload) }
    }
}

/// The kinds that a process handles.
#[derive(Clone, Default)]
pub struct Registry {
    entries: HashMap<&'static str, Entry>,
    pools: Vec<Pool>,
}

impl Registry {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Handles a kind, also under its former names, with `handler(services, job, context)`.
    ///
    /// # Panics
    /// When two kinds have the same name: a mistake in the catalogue.
    #[must_use]
    pub fn on<K, S, F, Fut>(mut self, services: &Arc<S>, handler: F) -> Self
    where
        K: JobKind,
        S: Send + Sync + 'static,
        F: Fn(Arc<S>, K, JobContext) -> Fut + Send + Sync + Copy + 'static,
        Fut: Future<Output = Answer> + Send + 'static,
    {
        let services = Arc::clone(services);
        let run = move |payload: Value, context: JobContext| {
            let services = Arc::clone(&services);
            Box::pin(async move {
                match serde_json::from_value::<K>(payload) {
                    Ok(job) => handler(services, job, context).await,
                    Err(error) => {
                        // serde's message may quote a secret.
                        let reason = if K::SECRETS.is_empty() {
                            error.to_string()
                        } else {
                            "it is not as its kind says".to_owned()
                        };
                        let error = PayloadError::Unreadable(reason);
                        Err(JobError::fatal(error.code(), error.to_string()))
                    }
                }
            }) as Pin<Box<dyn Future<Output = Answer> + Send>>
        };
        if !self.pools.contains(&K::POOL) {
            self.pools.push(K::POOL);
        }
        let entry = Entry {
            name: K::NAME,
            version: K::VERSION,
            upgrade: K::upgrade,
            retry: K::RETRY,
            timeout: K::TIMEOUT,
            checkpoints: K::CHECKPOINTS,
            retention: K::RETENTION,
            jitter: Jitter::Full,
            run: Arc::new(run),
        };
        for name in K::FORMER_NAMES.iter().chain([&K::NAME]) {
            let other = self.entries.insert(name, entry.clone());
            assert!(other.is_none(), "two kinds are named {name}");
        }
        self
    }

    /// Fixes the jitter of every backoff of the kinds so far, so that a test knows the time of a retry.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn with_jitter(mut self, jitter: Jitter) -> Self {
        self.entries.values_mut().for_each(|entry| entry.jitter = jitter);
        self
    }

    /// The pools that the kinds belong to.
    #[must_use]
    pub fn pools(&self) -> &[Pool] {
        &self.pools
    }

    /// Retention of finished jobs of the kinds so far.
    #[must_use]
    pub fn retention(&self) -> Policies {
        Policies::new(self.entries.iter().map(|(name, entry)| (*name, entry.retention)))
    }

    /// The name of each entry's kind. A kind with former names has an entry for each of them, too.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.entries.values().map(|entry| entry.name)
    }

    pub(crate) fn entry(&self, kind: &str) -> Option<&Entry> {
        self.entries.get(kind)
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.entries.keys()).finish()
    }
}
