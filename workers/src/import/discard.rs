//! Removing the staged, unpublished records of an atomic import, a few thousand at a time.
//!
//! Killed at any line: each transaction removes some records and releases their unique values, or nothing;
//! the next attempt continues with the rest. The mark is removed with the last of them.

use std::sync::Arc;

use domain::{Actor, Event, WorkspaceDb, WorkspaceId};
use domain_data::{imports::staged, job_kinds::DiscardImport};
use jobs::{Answer, Database, JobContext, JobId, Outcome};
use serde_json::json;

use crate::Services;

/// Handles the job that a cancelled import enqueues.
pub async fn discard_import(_: Arc<Services>, job: DiscardImport, context: JobContext) -> Answer {
    let workspace = WorkspaceId(context.require_workspace()?);
    all(context.database(), workspace, &Actor::of_job(&context.origin), job.import_id).await?;
    Ok(Outcome::Done(json!({})))
}

/// Removes all of them.
pub(crate) async fn all(
    database: &Database,
    workspace: WorkspaceId,
    actor: &Actor,
    import: JobId,
) -> Result<(), sqlx::Error> {
    loop {
        let mut db = WorkspaceDb::write(database, workspace, actor.clone()).await?;
        let more = staged::discard_some(&mut db, import).await?;
        if !more {
            db.record(Event::new("import", "discarded", import, json!({}))).await?;
        }
        db.commit().await?;
        if !more {
            return Ok(());
        }
    }
}
