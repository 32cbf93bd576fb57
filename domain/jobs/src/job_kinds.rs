//! The kind of job that scheduled jobs alone enqueue. Its handler is in `workers`.

use std::time::Duration;

use domain::job_kinds::DELIVERIES;
use jobs::{JobKind, Needs, Pool, RetryPolicy, kinds::Kind};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What webhooks ask for: schedules call them.
const OF_WEBHOOKS: Needs = Needs {
    view: &["schedules:view"],
    start: &["schedules:manage"],
    cancel: &["schedules:manage"],
    delete: &["schedules:manage"],
};

/// The kinds.
pub const KINDS: &[Kind] = &[Kind::of::<CallWebhook>()];

/// Sends a signed request for a schedule.
/// Killed between the receiver's answer and the commit: sent again under the same webhook-id.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CallWebhook {
    /// Where to.
    pub url: String,
    /// What the schedule's maker wants to be told.
    #[serde(default)]
    pub payload: Value,
}

impl JobKind for CallWebhook {
    const NAME: &'static str = "webhooks.call";
    const POOL: Pool = DELIVERIES;
    const RETRY: RetryPolicy = RetryPolicy::OUTWARD;
    const NEEDS: Needs = OF_WEBHOOKS;
    const TIMEOUT: Duration = Duration::from_secs(60);
}
