//! The kind of job that sends email, whose handler is in `workers`; and the pools to which kinds of several areas
//! belong.

use std::time::Duration;

use jobs::{JobKind, Pool, RetryPolicy, kinds::Kind};
use serde::{Deserialize, Serialize};

/// Email, webhooks and notifications.
pub const DELIVERIES: Pool = Pool::new("deliveries", 32);

/// New workspaces and tenants' migrations.
pub const PROVISIONING: Pool = Pool::new("provisioning", 4);

/// The kinds.
pub const KINDS: &[Kind] = &[Kind::of::<SendMail>()];

/// Sends one mail.
/// Killed between the server's answer and the commit: sent again under the same Message-ID.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SendMail {
    /// The recipient's address.
    pub to: String,
    /// One line.
    pub subject: String,
    /// Plain text, which stands by itself.
    pub text: String,
    /// The same as an HTML page, for readers that show one. Earlier payloads have none.
    #[serde(default)]
    pub html: Option<String>,
}

impl JobKind for SendMail {
    const NAME: &'static str = "mail.send";
    const POOL: Pool = DELIVERIES;
    // A server that is down, or wants a stranger to come back later, does so for hours.
    const RETRY: RetryPolicy = RetryPolicy::OUTWARD;
    const TIMEOUT: Duration = Duration::from_secs(60);
    // Links in mails let people in.
    const SECRETS: &'static [&'static str] = &["text", "html"];
}
