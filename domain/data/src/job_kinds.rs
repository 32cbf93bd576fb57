//! The job kinds of imports and exports. Their handlers are in `workers`.

use std::time::Duration;

use jobs::{JobId, JobKind, Needs, Pool, RetryPolicy, kinds::Kind};
use serde::{Deserialize, Serialize};

/// Permissions that imports need: they create records.
const OF_IMPORTS: Needs = Needs {
    view: &["imports:view"],
    start: &["imports:create", "records:create"],
    cancel: &["imports:cancel"],
    delete: &["imports:delete"],
};

/// Permissions that exports need: they show records.
const OF_EXPORTS: Needs = Needs {
    view: &["exports:view"],
    start: &["exports:create", "records:view"],
    cancel: &["exports:cancel"],
    delete: &["exports:delete"],
};

/// Imports of files into records.
pub const IMPORTS: Pool = Pool::new("imports", 2);

/// Exports of records into files.
pub const EXPORTS: Pool = Pool::new("exports", 2);

/// The job kinds.
pub const KINDS: &[Kind] = &[
    Kind::of::<ImportRecords>(),
    Kind::of::<DiscardImport>(),
    Kind::of::<ExportRecords>(),
    Kind::of::<ScheduledExport>(),
    Kind::of::<SweepUploads>(),
];

/// Reads an uploaded file into the records of a recordset.
/// Killed at any line: rows and cursor commit together, the next holder continues after the last batch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ImportRecords {
    /// The row of `imports` that says what to read and how.
    pub import_id: JobId,
}

impl JobKind for ImportRecords {
    const NAME: &'static str = "records.import";
    const POOL: Pool = IMPORTS;
    const NEEDS: Needs = OF_IMPORTS;
    const TIMEOUT: Duration = Duration::from_secs(6 * 3600);
    const CHECKPOINTS: bool = true;
}

/// Removes the staged records of a cancelled atomic import.
/// Killed at any line: the next attempt removes the rest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DiscardImport {
    /// The import.
    pub import_id: JobId,
}

impl JobKind for DiscardImport {
    const NAME: &'static str = "records.discard_import";
    const POOL: Pool = Pool::MAINTENANCE;
    const NEEDS: Needs = OF_IMPORTS;
    const TIMEOUT: Duration = Duration::from_secs(3600);
    const PRIORITY: i16 = 3;
}

/// Writes the records of a recordset to a file, as of the start of the job.
/// Killed at any line: segments and cursor commit together; a segment written but not committed is
/// overwritten by the next holder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExportRecords {
    /// The row of `exports` that says what to write and how.
    pub export_id: JobId,
}

impl JobKind for ExportRecords {
    const NAME: &'static str = "records.export";
    const POOL: Pool = EXPORTS;
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
    const POOL: Pool = EXPORTS;
    const NEEDS: Needs = OF_EXPORTS;
    const TIMEOUT: Duration = Duration::from_secs(6 * 3600);
    const CHECKPOINTS: bool = true;
}

/// Removes uploads that no import has used within a day, with their stored bytes.
/// Killed at any line: a file goes before its row, so what is left is found again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SweepUploads {}

impl JobKind for SweepUploads {
    const NAME: &'static str = "uploads.sweep";
    const POOL: Pool = Pool::MAINTENANCE;
    const RETRY: RetryPolicy = RetryPolicy::NEVER;
}

#[cfg(test)]
mod tests {
    use domain::access::{Denied, Held, Lacking, Override, Role, Scope};
    use jobs::{Act, kinds::NoOp};

    use super::*;

    #[test]
    fn jobs_ask_for_what_their_feature_asks_for_and_for_what_they_touch() {
        jobs::kinds::install(&[KINDS]);
        let denied = vec![Override { permission: "records:view".to_owned(), granted: false }];
        let member = Held::of_role(Role::Member, denied);
        let refused = member.need_for_job(ExportRecords::NAME, Act::Start);
        assert_eq!(refused, Err(Denied { permission: "records:view", lacking: Lacking::Permission }));
        assert_eq!(member.need_for_job(ImportRecords::NAME, Act::Start), Ok(()));
        assert_eq!(member.need_for_job(NoOp::NAME, Act::Delete), Ok(()));
        assert!(!member.kinds_denied(Act::View).has(ImportRecords::NAME));
        assert!(member.kinds_denied(Act::View).has("of another release"));
        assert!(!Held::of_role(Role::Admin, vec![]).kinds_denied(Act::View).has("of another release"));
        let files = Held::of_role(Role::Admin, vec![]).within(vec![Scope::Files]);
        let refused = files.need_for_job(ImportRecords::NAME, Act::Start);
        assert_eq!(
            refused,
            Err(Denied { permission: "records:create", lacking: Lacking::Scope(Scope::Write) })
        );
    }
}
