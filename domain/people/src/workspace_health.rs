//! Workspace health: whether a workspace is set up, and whether its tables are as this release wants
//! them. Contract section "Workspace Health" (W-HEALTH).
//!
//! All of it works while the tables are behind: nothing here relies on what a migration brings.

use domain::{WorkspaceDb, audit::Entry, migrations};
use jobs::{Enqueued, JobId, NewJob};
use serde_json::json;

use crate::job_kinds::MigrateWorkspace;

/// How far a workspace is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // flags of different things
pub struct WorkspaceHealth {
    /// It has a brand: a name or a logo to show.
    pub brand: bool,
    /// Its tables lack a migration of this release.
    pub migration_required: bool,
    /// The acting person has been shown around.
    pub personal_onboarding_complete: bool,
    /// The workspace's own setting up is done, as somebody who may edit the workspace has said.
    pub company_onboarding_complete: bool,
}

/// How far the workspace is set up.
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

/// Starts bringing the workspace's tables up to date. While that is under way, it is the same job.
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
