//! The job kind that sends email, whose handler is in `workers`; and the pools of kinds of several areas.

use std::time::Duration;

use jobs::{JobKind, Pool, RetryPolicy, kinds::Kind};
use serde::{Deserialize, Serialize};

/// Email, webhooks and notifications.
pub const DELIVERIES: Pool = Pool::new("deliveries", 32);

/// New workspaces and tenants' migrations.
pub const PROVISIONING: Pool = Pool::new("provisioning", 4);

/// The job kinds.
pub const KINDS: &[Kind] = &[Kind::of::<SendMail>()];

/// Sends one email.
/// Killed between the server's answer and the commit: sent again under the same Message-ID.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SendMail {
    /// Email address of the recipient.
    pub to: String,
    /// Subject, one line.
    pub subject: String,
    /// Plain text, complete by itself.
    pub text: String,
    /// The same as an HTML page. Absent in earlier payloads.
    #[serde(default)]
    pub html: Option<String>,
}

impl JobKind for SendMail {
    const NAME: &'static str = "mail.send";
    const POOL: Pool = DELIVERIES;
    // A server that is down, or that greylists, may take hours to accept.
    const RETRY: RetryPolicy = RetryPolicy::OUTWARD;
    const TIMEOUT: Duration = Duration::from_secs(60);
    // Links in emails give access.
    const SECRETS: &'static [&'static str] = &["text", "html"];
}
