//! Every kind of job there is, as a table of contents. A payload holds ids and choices; what a kill
//! means for a kind is said here, its handler lives in `workers` under the same name.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::{Act, JobKind, Needs, Pool, Retention, RetryPolicy, Unique};

/// What imports ask for: they make records.
const OF_IMPORTS: Needs = Needs {
    view: &["imports:view"],
    start: &["imports:create", "records:create"],
    cancel: &["imports:cancel"],
    delete: &["imports:delete"],
};

/// What exports ask for: they show records.
const OF_EXPORTS: Needs = Needs {
    view: &["exports:view"],
    start: &["exports:create", "records:view"],
    cancel: &["exports:cancel"],
    delete: &["exports:delete"],
};

/// What webhooks ask for: schedules call them.
const OF_WEBHOOKS: Needs = Needs {
    view: &["schedules:view"],
    start: &["schedules:manage"],
    cancel: &["schedules:manage"],
    delete: &["schedules:manage"],
};

/// Declares the catalogue.
macro_rules! kinds {
    ($($kind:ident),* $(,)?) => {
        /// The names of all kinds.
        pub const NAMES: &[&str] = &[$($kind::NAME),*];

        /// The permissions that each kind asks for beside those of jobs in general.
        pub const NEEDS: &[(&str, Needs)] = &[$(($kind::NAME, $kind::NEEDS)),*];

        /// The rows of the table of policies.
        #[cfg(test)]
        fn rows() -> Vec<String> {
            vec![$(tests::row::<$kind>()),*]
        }
    };
}

kinds![
    ProvisionWorkspace,
    MigrateWorkspace,
    ImportRecords,
    DiscardImport,
    ExportRecords,
    ScheduledExport,
    CallWebhook,
    SendMail,
    WriteToAccount,
    SweepAccounts,
    MailWorkspaces,
    SweepUploads,
    PruneJobs,
    NoOp,
    Steps,
];

/// The permissions that something done with a job of that kind asks for, beside those of jobs in general.
#[must_use]
pub fn needs(kind: &str, act: Act) -> &'static [&'static str] {
    NEEDS.iter().find(|(name, _)| *name == kind).map_or(&[], |(_, needs)| needs.to(act))
}

/// Creates a signed-up user's account and workspace.
/// Killed at any line: every step looks at what is there first, so the next attempt goes on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProvisionWorkspace {
    /// The reserved sign-up that holds email, password hash and company.
    pub signup_id: Uuid,
}

impl JobKind for ProvisionWorkspace {
    const NAME: &'static str = "workspaces.provision";
    const POOL: Pool = Pool::Provisioning;
    const TIMEOUT: Duration = Duration::from_secs(120);
    const PRIORITY: i16 = 1;
}

/// Brings a workspace's tables up to date. One at a time per workspace: while a job lives, it stands for
/// others like it.
/// Killed at any line: each migration is a transaction, and the workspace counts as migrated after the
/// last, so the next attempt goes on with the first that is missing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MigrateWorkspace {}

impl JobKind for MigrateWorkspace {
    const NAME: &'static str = "workspaces.migrate";
    const POOL: Pool = Pool::Provisioning;
    const NEEDS: Needs = Needs {
        view: &[],
        start: &["workspace:migrate"],
        cancel: &["workspace:migrate"],
        delete: &["workspace:migrate"],
    };
    // A migration that fails by itself fails again; what is worth another attempt is a lock or an outage.
    const RETRY: RetryPolicy =
        RetryPolicy { attempts: 3, base: Duration::from_secs(2), cap: Duration::from_secs(60) };
    const TIMEOUT: Duration = Duration::from_secs(3600);
    const PRIORITY: i16 = 1;

    fn unique(&self) -> Option<Unique> {
        Some(Unique::until_done("tables"))
    }
}

/// Reads an uploaded file into the records of a recordset.
/// Killed at any line: rows and cursor commit together, the next holder goes on after the last batch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ImportRecords {
    /// The row of `imports` that says what to read and how.
    pub import_id: Uuid,
}

impl JobKind for ImportRecords {
    const NAME: &'static str = "records.import";
    const POOL: Pool = Pool::Imports;
    const NEEDS: Needs = OF_IMPORTS;
    const TIMEOUT: Duration = Duration::from_secs(6 * 3600);
    const CHECKPOINTS: bool = true;
}

/// Removes what a cancelled atomic import has staged.
/// Killed at any line: the next attempt removes what is left.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DiscardImport {
    /// The import.
    pub import_id: Uuid,
}

impl JobKind for DiscardImport {
    const NAME: &'static str = "records.discard_import";
    const POOL: Pool = Pool::Maintenance;
    const NEEDS: Needs = OF_IMPORTS;
    const TIMEOUT: Duration = Duration::from_secs(3600);
    const PRIORITY: i16 = 3;
}

/// Writes the records of a recordset to a file, as they were when the job began.
/// Killed at any line: segments and cursor commit together; a segment written but not committed is
/// overwritten by the next holder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExportRecords {
    /// The row of `exports` that says what to write and how.
    pub export_id: Uuid,
}

impl JobKind for ExportRecords {
    const NAME: &'static str = "records.export";
    const POOL: Pool = Pool::Exports;
    const NEEDS: Needs = OF_EXPORTS;
    const TIMEOUT: Duration = Duration::from_secs(6 * 3600);
    const CHECKPOINTS: bool = true;
}

/// Exports a recordset for a schedule, as `records.export` does; its first run makes the export's row.
/// Killed at any line: as with `records.export`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ScheduledExport {
    /// The recordset's id or slug.
    pub recordset: String,
    /// The keys of the fields to write; all of them if absent.
    #[serde(default)]
    pub fields: Option<Vec<String>>,
}

impl JobKind for ScheduledExport {
    const NAME: &'static str = "records.export_scheduled";
    const POOL: Pool = Pool::Exports;
    const NEEDS: Needs = OF_EXPORTS;
    const TIMEOUT: Duration = Duration::from_secs(6 * 3600);
    const CHECKPOINTS: bool = true;
}

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
    const POOL: Pool = Pool::Deliveries;
    const RETRY: RetryPolicy = RetryPolicy::OUTWARD;
    const NEEDS: Needs = OF_WEBHOOKS;
    const TIMEOUT: Duration = Duration::from_secs(60);
}

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
    const POOL: Pool = Pool::Deliveries;
    // A server that is down, or wants a stranger to come back later, does so for hours.
    const RETRY: RetryPolicy = RetryPolicy::OUTWARD;
    const TIMEOUT: Duration = Duration::from_secs(60);
    // Links in mails let people in.
    const SECRETS: &'static [&'static str] = &["text", "html"];
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
    const POOL: Pool = Pool::Deliveries;
    const TIMEOUT: Duration = Duration::from_secs(60);
}

/// Forgets what accounts don't need any more: counts of failed sign-ins, used and expired links.
/// Killed at any line: the next run finds what is left.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SweepAccounts {}

impl JobKind for SweepAccounts {
    const NAME: &'static str = "accounts.sweep";
    const POOL: Pool = Pool::Maintenance;
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
    const POOL: Pool = Pool::Deliveries;
    const TIMEOUT: Duration = Duration::from_secs(60);
}

/// Removes uploads that no import has used within a day, with their stored bytes.
/// Killed at any line: a file goes before its row, so what is left is found again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SweepUploads {}

impl JobKind for SweepUploads {
    const NAME: &'static str = "uploads.sweep";
    const POOL: Pool = Pool::Maintenance;
    const RETRY: RetryPolicy = RetryPolicy::NEVER;
}

/// Removes from the history what its kind, or the table `job_retention`, no longer keeps.
/// Killed at any line: each batch is removed or not, and the next run finds what is left.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PruneJobs {}

impl JobKind for PruneJobs {
    const NAME: &'static str = "jobs.prune";
    const POOL: Pool = Pool::Maintenance;
    const RETRY: RetryPolicy = RetryPolicy::NEVER;
    const TIMEOUT: Duration = Duration::from_secs(3600);
    const RETENTION: Retention = Retention::of_days(1, 30);
}

/// Does nothing, or sleeps: for measuring the engine and for trying out an installation.
/// Killed at any line: nothing to lose.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct NoOp {
    /// How long the handler sleeps, in milliseconds.
    #[serde(default)]
    pub sleep_ms: u64,
    /// Reports its progress that often while it sleeps, in milliseconds; 0: never.
    #[serde(default)]
    pub report_ms: u64,
    /// Fails that many attempts before it completes.
    #[serde(default)]
    pub failures: i32,
    /// Fails for good.
    #[serde(default)]
    pub fails: bool,
    /// Sleeps on when it is asked to stop.
    #[serde(default)]
    pub deaf: bool,
    /// After its sleep, ends the process that it runs in. For trying out the quarantine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crash: Option<Crash>,
    /// Lines that it says to its log before anything else.
    #[serde(default)]
    pub lines: u32,
}

/// How a [`NoOp`] ends its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Crash {
    /// By abort, as a failed assertion in foreign code does.
    Abort,
    /// By taking memory until there is none. Where nothing limits a process, this takes the machine's.
    EatMemory,
}

impl JobKind for NoOp {
    const NAME: &'static str = "engine.no_op";
    const POOL: Pool = Pool::Maintenance;
    // Whoever tries the engine out does not want to wait.
    const RETRY: RetryPolicy = RetryPolicy { base: Duration::from_secs(1), ..RetryPolicy::DEFAULT };
    const PRIORITY: i16 = 9;
}

/// Sleeps step by step, with a checkpoint after each: for trying out long work that can be handed back.
/// Killed at any line: the next holder goes on after the last checkpoint.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Steps {
    /// How many.
    pub steps: i64,
    /// How long each takes, in milliseconds.
    pub step_ms: u64,
}

impl JobKind for Steps {
    const NAME: &'static str = "engine.steps";
    const POOL: Pool = Pool::Maintenance;
    const TIMEOUT: Duration = Duration::from_secs(6 * 3600);
    const CHECKPOINTS: bool = true;
    const PRIORITY: i16 = 9;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kind's row in the table of policies.
    pub(super) fn row<K: JobKind>() -> String {
        let RetryPolicy { attempts, base, cap } = K::RETRY;
        let waits = if attempts == 1 {
            "–".to_owned()
        } else {
            format!("{} s, doubling to {} s", base.as_secs(), cap.as_secs())
        };
        let (timeout, checkpoints) = (K::TIMEOUT.as_secs(), if K::CHECKPOINTS { "yes" } else { "no" });
        let secrets =
            if K::SECRETS.is_empty() { "–".to_owned() } else { format!("`{}`", K::SECRETS.join("`, `")) };
        format!(
            "| `{}` | {} | {attempts} | {waits} | {timeout} s | {checkpoints} | {} | {secrets} |",
            K::NAME,
            K::POOL.name(),
            K::PRIORITY
        )
    }

    #[test]
    fn a_kind_is_asked_for_the_permissions_of_its_act() {
        assert_eq!(needs(ExportRecords::NAME, Act::Start), ["exports:create", "records:view"]);
        assert!(needs(NoOp::NAME, Act::Delete).is_empty());
    }

    #[test]
    fn the_table_of_policies_says_what_the_code_does() {
        let page = include_str!("../../docs/add-a-job-kind.md");
        for row in rows() {
            assert!(page.contains(&row), "docs/add-a-job-kind.md lacks\n{row}");
        }
    }
}
