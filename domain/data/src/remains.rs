//! What an import or export keeps beside its job: its rows, its report, its file. They go with the job: when it is
//! deleted, or when the history no longer has it.

use domain::{WorkspaceDb, WorkspaceId};
use futures::TryStreamExt;
use jobs::JobId;
use runtime::storage::{Storage, StorageError};

use crate::{exports, imports};

/// What a job of a workspace has left. Both parts are to be removed, the files first: rows that still name them lead
/// the sweep to what a process that died has left.
#[derive(Debug, Clone, Copy)]
pub struct Remains {
    workspace: WorkspaceId,
    job: JobId,
}

impl Remains {
    /// Remains of that job, which has ended.
    #[must_use]
    pub fn new(workspace: WorkspaceId, job: JobId) -> Self {
        Self { workspace, job }
    }

    /// Removes the parts of an export's file.
    pub async fn remove_files(&self, storage: &Storage) -> Result<(), StorageError> {
        let prefix = exports::prefix(self.workspace, self.job);
        storage.keys(&prefix).try_for_each(|key| async move { storage.delete(&key).await }).await
    }

    /// Removes some rows; answers whether there are more, for another transaction.
    pub async fn remove_some(&self, db: &mut WorkspaceDb) -> Result<bool, sqlx::Error> {
        db.is_noted_elsewhere(); // it is part of what was deleted
        let more = imports::forget_some(db, self.job).await?;
        if !more {
            exports::forget(db, self.job).await?;
        }
        Ok(more)
    }
}
