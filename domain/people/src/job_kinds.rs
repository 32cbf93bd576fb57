//! The job kind that migrates a workspace's tables. Its handler is in `workers`.

use std::time::Duration;

use domain::job_kinds::PROVISIONING;
use jobs::{JobKind, Needs, Pool, RetryPolicy, Unique, kinds::Kind};
use serde::{Deserialize, Serialize};

/// The kinds.
pub const KINDS: &[Kind] = &[Kind::of::<MigrateWorkspace>()];

/// Migrates a workspace's tables. At most one per workspace: while such a job is unfinished, another request
/// for it returns the same job. Killed at any line: each migration is a transaction, and the workspace counts
/// as migrated after the last, so the next attempt continues with the first that is missing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MigrateWorkspace {}

impl JobKind for MigrateWorkspace {
    const NAME: &'static str = "workspaces.migrate";
    const POOL: Pool = PROVISIONING;
    const NEEDS: Needs = Needs {
        view: &[],
        start: &["workspace:migrate"],
        cancel: &["workspace:migrate"],
        delete: &["workspace:migrate"],
    };
    // A migration that fails by itself fails again; only a lock or an outage is worth another attempt.
    const RETRY: RetryPolicy =
        RetryPolicy { attempts: 3, base: Duration::from_secs(2), cap: Duration::from_secs(60) };
    const TIMEOUT: Duration = Duration::from_secs(3600);
    const PRIORITY: i16 = 1;

    fn unique(&self) -> Option<Unique> {
        Some(Unique::until_done("tables"))
    }
}
