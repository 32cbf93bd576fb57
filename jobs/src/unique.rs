//! Unique keys: the identity of equal jobs of a kind, and its duration.
//!
//! A key belongs to one tenant and kind. Enqueueing under a taken key answers the job that
//! took it. A job that fails or is cancelled always releases its key, so that another may try.

use std::{borrow::Cow, time::Duration};

use serde::Serialize;
use sha2::{Digest, Sha256};

/// A key, and the time for which it stays taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Unique {
    key: String,
    until: Until,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Until {
    Done,
    Period(Duration),
    Ever,
}

impl Unique {
    /// Taken until the job has ended.
    #[must_use]
    pub fn until_done(key: impl Into<String>) -> Self {
        Self { key: key.into(), until: Until::Done }
    }

    /// Taken for a time from the enqueueing, also when the job is done sooner.
    #[must_use]
    pub fn within(period: Duration, key: impl Into<String>) -> Self {
        Self { key: key.into(), until: Until::Period(period) }
    }

    /// Taken permanently once the job has succeeded.
    #[must_use]
    pub fn for_ever(key: impl Into<String>) -> Self {
        Self { key: key.into(), until: Until::Ever }
    }

    /// A key made of arguments: equal ones give equal keys, whatever their size.
    #[must_use]
    pub fn key_of<T: Serialize>(arguments: &T) -> String {
        // A value that can't be serialised can't be a payload either; enqueueing reports it.
        let json = serde_json::to_value(arguments).unwrap_or_default().to_string();
        hex::encode(Sha256::digest(json.as_bytes()))
    }

    /// The ledger's form: key, until, seconds.
    pub(crate) fn columns(self) -> (Option<String>, Option<Cow<'static, str>>, Option<f64>) {
        let (until, seconds) = match self.until {
            Until::Done => ("done", None),
            Until::Period(period) => ("period", Some(period.as_secs_f64())),
            Until::Ever => ("ever", None),
        };
        (Some(self.key), Some(Cow::Borrowed(until)), seconds)
    }
}
