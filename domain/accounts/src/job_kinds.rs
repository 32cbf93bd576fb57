//! The job kinds of accounts and of new workspaces. Their handlers are in `workers`.

use std::time::Duration;

use domain::job_kinds::{DELIVERIES, PROVISIONING};
use jobs::{JobKind, Pool, RetryPolicy, kinds::Kind};
use serde::{Deserialize, Serialize};

use crate::signups::SignupId;

/// The job kinds.
pub const KINDS: &[Kind] = &[
    Kind::of::<ProvisionWorkspace>(),
    Kind::of::<WriteToAccount>(),
    Kind::of::<SweepAccounts>(),
    Kind::of::<MailWorkspaces>(),
];

/// Creates a signed-up user's account and workspace.
/// Killed at any line: every step checks the present state first, so the next attempt continues.
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

/// An email about an account that can be requested by naming an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountLetter {
    /// Reply to a registration: creates the account, if the address has none.
    Welcome {
        /// Full name.
        name: String,
    },
    /// Another link to activate an account.
    Activation,
    /// A link to reset the password.
    PasswordReset,
}

/// Finds the account of an address and sends it the requested email; sends none if there is no account.
/// Killed between the commit and its end: sends again, and the newer link is the valid one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WriteToAccount {
    /// Email to send.
    pub letter: AccountLetter,
    /// Email address, as typed.
    pub email: String,
    /// URL of a page of the web app; the pages that emails link to are beside it.
    pub link: String,
}

impl JobKind for WriteToAccount {
    const NAME: &'static str = "accounts.write";
    const POOL: Pool = DELIVERIES;
    const TIMEOUT: Duration = Duration::from_secs(60);
}

/// Removes outdated data of accounts: counts of failed sign-ins, used and expired links.
/// Killed at any line: the next run finds the rest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SweepAccounts {}

impl JobKind for SweepAccounts {
    const NAME: &'static str = "accounts.sweep";
    const POOL: Pool = Pool::MAINTENANCE;
    const RETRY: RetryPolicy = RetryPolicy::NEVER;
}

/// Emails the owner of an address the list of their workspaces; sends nothing if no account has the address.
/// Killed between the commit and its end: sends again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MailWorkspaces {
    /// Email address.
    pub email: String,
    /// URL of the sign-in page.
    pub link: String,
}

impl JobKind for MailWorkspaces {
    const NAME: &'static str = "accounts.mail_workspaces";
    const POOL: Pool = DELIVERIES;
    const TIMEOUT: Duration = Duration::from_secs(60);
}
