//! The kinds of job of accounts and of new workspaces. Their handlers are in `workers`.

use std::time::Duration;

use domain::job_kinds::{DELIVERIES, PROVISIONING};
use jobs::{JobKind, Pool, RetryPolicy, kinds::Kind};
use serde::{Deserialize, Serialize};

use crate::signups::SignupId;

/// The kinds.
pub const KINDS: &[Kind] = &[
    Kind::of::<ProvisionWorkspace>(),
    Kind::of::<WriteToAccount>(),
    Kind::of::<SweepAccounts>(),
    Kind::of::<MailWorkspaces>(),
];

/// Creates a signed-up user's account and workspace.
/// Killed at any line: every step looks at what is there first, so the next attempt goes on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProvisionWorkspace {
    /// The reserved sign-up that holds email, password hash and company.
    pub signup_id: SignupId,
}

impl JobKind for ProvisionWorkspace {
    const NAME: &'static str = "workspaces.provision";
    const POOL: Pool = PROVISIONING;
    const TIMEOUT: Duration = Duration::from_secs(120);
    const PRIORITY: i16 = 1;
}

/// A letter about an account that anybody may ask for by naming an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountLetter {
    /// To whoever registers: makes the account, if the address has none.
    Welcome {
        /// What they are called.
        name: String,
    },
    /// Another link to activate an account.
    Activation,
    /// A link to choose a new password.
    PasswordReset,
}

/// Looks who has an address and writes them what was asked for; writes nothing where nobody has it.
/// Killed between the commit and its end: writes again, and the newer link is the one that is good.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WriteToAccount {
    /// What to write.
    pub letter: AccountLetter,
    /// The address, as it was typed.
    pub email: String,
    /// A page of the web app, beside which those are that letters lead to.
    pub link: String,
}

impl JobKind for WriteToAccount {
    const NAME: &'static str = "accounts.write";
    const POOL: Pool = DELIVERIES;
    const TIMEOUT: Duration = Duration::from_secs(60);
}

/// Forgets what accounts don't need any more: counts of failed sign-ins, used and expired links.
/// Killed at any line: the next run finds what is left.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SweepAccounts {}

impl JobKind for SweepAccounts {
    const NAME: &'static str = "accounts.sweep";
    const POOL: Pool = Pool::MAINTENANCE;
    const RETRY: RetryPolicy = RetryPolicy::NEVER;
}

/// Writes to whoever has an address which workspaces they belong to; to nobody, where nobody has it.
/// Killed between the commit and its end: writes again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MailWorkspaces {
    /// The address.
    pub email: String,
    /// Where they sign in.
    pub link: String,
}

impl JobKind for MailWorkspaces {
    const NAME: &'static str = "accounts.mail_workspaces";
    const POOL: Pool = DELIVERIES;
    const TIMEOUT: Duration = Duration::from_secs(60);
}
