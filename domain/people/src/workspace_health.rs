//! Workspace health: the setup state of a workspace, and whether its tables are at the version of this
//! release. Contract section "Workspace Health" (W-HEALTH).
//!
//! All of it works while migrations are missing: nothing here relies on what a migration adds.

use domain::{WorkspaceDb, audit::Entry, migrations};
use jobs::{Enqueued, JobId, NewJob};
use serde_json::json;

use crate::job_kinds::MigrateWorkspace;

/// Setup state of a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // flags of different things
pub struct WorkspaceHealth {
    /// Whether the workspace has a brand: a name or a logo to show.
    pub brand: bool,
    /// Whether the workspace's tables lack a migration of this release.
    pub migration_required: bool,
    /// Whether the acting account has completed onboarding.
    pub personal_onboarding_complete: bool,
    /// Whether the onboarding of the workspace itself is completed, as a member who may edit the workspace has
    /// set it.
    pub company_onboarding_complete: bool,
}

/// The setup state of the workspace.
pub async fn check(db: &mut WorkspaceDb) -> Result<WorkspaceHealth, sqlx::Error> {
    let (workspace, user) = (db.workspace().0, db.user_id());
    // A member's row as JSON: the column comes with a migration that may not have run.
    let query = sqlx::query!(
        r#"select w.migrations,
                  coalesce(nullif(trim(w.branding->>'brand_name'), ''), nullif(trim(w.branding->>'logo_url'), ''))
                      is not null as "brand!",
                  exists (select from members m where m.user_id = $2 and to_jsonb(m)->>'onboarded_at' is not null)
                      as "personal!",
                  exists (select from settings where key = 'onboarding' and value->'completed' = 'true')
                      as "company!"
             from workspaces w where w.id = $1"#,
        workspace,
        user,
    );
    let row = db.with_accounts(async |accounts| query.fetch_one(accounts.conn()).await).await?;
    Ok(WorkspaceHealth {
        brand: row.brand,
        migration_required: !migrations::are_complete(&row.migrations),
        personal_onboarding_complete: row.personal,
        company_onboarding_complete: row.company,
    })
}

/// Starts the migration of the workspace's tables. While one is in progress, the answer is the same job.
pub async fn start_migration(db: &mut WorkspaceDb) -> Result<JobId, sqlx::Error> {
    match db.enqueue(NewJob::new(&MigrateWorkspace {})).await? {
        Enqueued::New(job) => {
            let details = json!({ "job_id": job });
            db.note(Entry::new("workspace", "migration_requested", db.workspace().0, details)).await?;
            Ok(job)
        }
        Enqueued::Duplicate(job) => {
            db.is_noted_elsewhere();
            Ok(job)
        }
    }
}
