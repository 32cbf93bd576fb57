//! Maintenance: removing what nobody refers to any more, workspace by workspace.
//!
//! Killed at any line: bytes go before the row that names them, marks come before what they announce, so
//! what is left is found again by the next run.

use std::sync::Arc;

use domain::{Actor, WorkspaceDb, WorkspaceId};
use domain_accounts::{avatars, upkeep};
use domain_data::{
    exports, files,
    imports::{self, staged},
    job_kinds::SweepUploads,
};
use futures::TryStreamExt;
use jobs::{Answer, JobContext, JobError, Outcome};
use runtime::storage::StorageError;
use serde_json::json;

use crate::{Services, import};

/// Files removed by one run in one workspace.
const FILES_AT_ONCE: i64 = 1_000;

/// Removes uploads that no import has used within a day, what abandoned atomic imports have staged, imports and exports
/// whose jobs are no longer in the history, and pictures that nobody has any more.
pub async fn sweep_uploads(services: Arc<Services>, _: SweepUploads, context: JobContext) -> Answer {
    let mut swept = 0;
    for workspace in upkeep::workspaces(context.database()).await? {
        if context.is_cancelled() {
            return Ok(Outcome::Cancelled);
        }
        let sweep = Sweep { services: &services, context: &context, workspace };
        // One workspace in trouble must not keep the others from being swept.
        match sweep.run().await {
            Ok(files) => swept += files,
            Err(error) => {
                tracing::error!(%workspace, %error, "sweep");
                context.log(tracing::Level::ERROR, format!("workspace {workspace}: {error}"));
            }
        }
    }
    let pictures = avatars::sweep(context.database(), &services.storage, FILES_AT_ONCE).await;
    let pictures = pictures.map_err(JobError::retry)?;
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
        self.forget_forgotten(&actor).await?;

        let mut db = WorkspaceDb::write(database, self.workspace, actor.clone()).await?;
        let unused = files::mark_unused(&mut db, FILES_AT_ONCE).await?;
        db.commit().await?;
        for (id, key) in &unused {
            let whose = (self.workspace, actor.clone());
            files::remove(database, &self.services.storage, whose, *id, key, None)
                .await
                .map_err(JobError::retry)?;
        }
        Ok(unused.len())
    }

    /// A cancelled or failed atomic import discards what it staged by itself; this finds what was
    /// aborted before it could.
    async fn discard_abandoned(&self, actor: &Actor) -> Result<(), JobError> {
        let database = self.context.database();
        let mut db = WorkspaceDb::read(database, self.workspace, actor.clone()).await?;
        let unpublished = staged::unpublished(&mut db).await?;
        drop(db);
        for job in upkeep::over(database, &unpublished).await? {
            let mut db = WorkspaceDb::write(database, self.workspace, actor.clone()).await?;
            staged::begin_discarding(&mut db, job).await?;
            db.commit().await?;
            import::discard_all(database, self.workspace, actor, job).await?;
        }
        Ok(())
    }

    /// Finished jobs leave the history in time; what they imported and exported by goes with them.
    async fn forget_forgotten(&self, actor: &Actor) -> Result<(), JobError> {
        let database = self.context.database();
        let mut db = WorkspaceDb::read(database, self.workspace, actor.clone()).await?;
        let (imports, exports) = upkeep::imports_and_exports(&mut db).await?;
        drop(db);
        for job in upkeep::forgotten(database, &imports).await? {
            let mut more = true;
            while more {
                let mut db = WorkspaceDb::write(database, self.workspace, actor.clone()).await?;
                more = imports::forget_some(&mut db, job).await?;
                db.commit().await?;
            }
        }
        for job in upkeep::forgotten(database, &exports).await? {
            let db = WorkspaceDb::read(database, self.workspace, actor.clone()).await?;
            let prefix = exports::prefix(&db, job);
            drop(db);
            let storage = &self.services.storage;
            let keys: Result<Vec<String>, StorageError> = storage.keys(&prefix).try_collect().await;
            for key in keys.map_err(crate::storage_failed)? {
                storage.delete(&key).await.map_err(crate::storage_failed)?;
            }
            let mut db = WorkspaceDb::write(database, self.workspace, actor.clone()).await?;
            exports::forget(&mut db, job).await?;
            db.commit().await?;
        }
        Ok(())
    }
}
