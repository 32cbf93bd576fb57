//! Maintenance: removing unreferenced data, workspace by workspace.
//!
//! Killed at any line: bytes are removed before the row that names them, marks are set before their effect, so
//! the next run finds the rest.

use std::sync::Arc;

use domain::{Actor, WorkspaceDb, WorkspaceId};
use domain_accounts::{avatars, maintenance};
use domain_data::{files, imports::staged, job_kinds::SweepUploads, remains::Remains};
use jobs::{Answer, JobContext, JobError, Outcome};
use serde_json::json;

use crate::{Services, import};

/// Maximum number of files removed by one run in one workspace.
const FILES_AT_ONCE: i64 = 1_000;

/// Removes uploads that no import has used within a day, staged records of abandoned atomic imports, imports and
/// exports whose jobs are no longer in the history, and unreferenced avatar images.
pub async fn sweep_uploads(services: Arc<Services>, _: SweepUploads, context: JobContext) -> Answer {
    let mut swept = 0;
    for workspace in maintenance::workspaces(context.database()).await? {
        if context.is_cancelled() {
            return Ok(Outcome::Cancelled);
        }
        let sweep = Sweep { services: &services, context: &context, workspace };
        // An error in one workspace must not keep the others from being swept.
        match sweep.run().await {
            Ok(files) => swept += files,
            Err(error) => {
                tracing::error!(%workspace, %error, "sweep");
                context.log(tracing::Level::ERROR, format!("workspace {workspace}: {error}"));
            }
        }
    }
    let pictures = avatars::sweep(context.database(), &services.storage, FILES_AT_ONCE).await?;
    Ok(Outcome::Done(json!({ "files": swept, "pictures": pictures })))
}

struct Sweep<'a> {
    services: &'a Services,
    context: &'a JobContext,
    workspace: WorkspaceId,
}

impl Sweep<'_> {
    async fn run(&self) -> Result<usize, JobError> {
        let database = self.context.database();
        let actor = Actor::of_job(&self.context.origin);
        self.discard_abandoned(&actor).await?;
        self.remove_orphans(&actor).await?;

        let mut db = WorkspaceDb::write(database, self.workspace, actor.clone()).await?;
        let unused = files::mark_unused(&mut db, FILES_AT_ONCE).await?;
        db.commit().await?;
        for (id, key) in &unused {
            let whose = (self.workspace, actor.clone());
            files::remove(database, &self.services.storage, whose, *id, key, None).await?;
        }
        Ok(unused.len())
    }

    /// A cancelled or failed atomic import discards its staged records by itself; this finds those of imports
    /// that were aborted before.
    async fn discard_abandoned(&self, actor: &Actor) -> Result<(), JobError> {
        let database = self.context.database();
        let mut db = WorkspaceDb::read(database, self.workspace, actor.clone()).await?;
        let unpublished = staged::unpublished(&mut db).await?;
        drop(db);
        for job in maintenance::ended_jobs(database, &unpublished).await? {
            let mut db = WorkspaceDb::write(database, self.workspace, actor.clone()).await?;
            staged::begin_discarding(&mut db, job).await?;
            db.commit().await?;
            import::discard_all(database, self.workspace, actor, job).await?;
        }
        Ok(())
    }

    /// The imports and exports of jobs that retention has removed are removed, too.
    async fn remove_orphans(&self, actor: &Actor) -> Result<(), JobError> {
        let database = self.context.database();
        let mut db = WorkspaceDb::read(database, self.workspace, actor.clone()).await?;
        let (imports, exports) = maintenance::imports_and_exports(&mut db).await?;
        drop(db);
        let storage = &self.services.storage;
        for job in maintenance::unknown_jobs(database, &[imports, exports].concat()).await? {
            let remains = Remains::new(self.workspace, job);
            remains.remove_files(storage).await.map_err(crate::storage_failed)?;
            let mut more = true;
            while more {
                let mut db = WorkspaceDb::write(database, self.workspace, actor.clone()).await?;
                more = remains.remove_some(&mut db).await?;
                db.commit().await?;
            }
        }
        Ok(())
    }
}
