//! The job kind that only scheduled jobs enqueue. Its handler is in `workers`.

use std::time::Duration;

use domain::job_kinds::DELIVERIES;
use jobs::{JobKind, Needs, Pool, RetryPolicy, kinds::Kind};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Permissions that webhooks need: schedules call them.
const OF_WEBHOOKS: Needs = Needs {
    view: &["schedules:view"],
    start: &["schedules:manage"],
    cancel: &["schedules:manage"],
    delete: &["schedules:manage"],
};

/// The job kinds.
pub const KINDS: &[Kind] = &[Kind::of::<CallWebhook>()];

/// Sends a signed request for a schedule.
/// Killed between the receiver's answer and the commit: sent again under the same webhook-id.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CallWebhook {
    /// URL of the receiver.
    pub url: String,
    /// Payload set by the creator of the schedule.
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
