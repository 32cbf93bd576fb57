//! How large an upload may be.

use domain::{
    Actor, Error, WorkspaceDb, WorkspaceId,
    storage_use::{self, StorageUse},
    usage,
};
use jobs::Database;
use runtime::storage::StorageError;

/// The maximum size of an upload, known before any of it is read.
#[derive(Debug, Clone, Copy)]
pub struct UploadLimit {
    file: u64,
    storage: StorageUse,
}

impl UploadLimit {
    /// The limit by a workspace's plan and storage, in an installation with this maximum file size in bytes.
    ///
    /// # Errors
    /// `limit_exceeded` when nothing can be stored any more.
    pub async fn of(
        database: &Database,
        (workspace, actor): (WorkspaceId, Actor),
        installation: u64,
    ) -> Result<Self, Error> {
        let mut reader = database.reader().await?;
        let file = usage::plan(reader.conn(), workspace).await?.upload_bytes(installation);
        drop(reader);
        let mut db = WorkspaceDb::read(database, workspace, actor).await?;
        let storage = storage_use::get(&mut db).await?;
        storage.require(1)?;
        Ok(Self { file, storage })
    }

    /// Bytes that are taken at the most.
    #[must_use]
    pub fn bytes(self) -> u64 {
        let room = self.storage.room().and_then(|room| room.try_into().ok());
        room.map_or(self.file, |room: u64| room.min(self.file))
    }

    /// Refuses a file of so many bytes that is too large.
    ///
    /// # Errors
    /// `limit_exceeded` if the workspace's storage has no room for it; `payload_too_large`.
    pub fn check(self, bytes: u64) -> Result<(), Error> {
        if bytes > self.bytes() { Err(self.passed(StorageError::TooLarge(self.file))) } else { Ok(()) }
    }

    /// The error of an upload that ended by an error of the store.
    pub(crate) fn passed(self, error: StorageError) -> Error {
        match (error, self.storage.limit) {
            (StorageError::TooLarge(_), Some(limit)) if self.bytes() < self.file => {
                self.storage.exceeded(limit)
            }
            (error, _) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::ErrorKind;

    use super::*;

    #[test]
    fn an_upload_is_refused_for_what_limits_it() {
        let limit = |file, used, limit| UploadLimit { file, storage: StorageUse { used, limit } };
        limit(10, 0, None).check(10).unwrap();
        limit(10, 90, Some(100)).check(10).unwrap();
        let refused = limit(10, 90, Some(100)).check(11).unwrap_err();
        assert_eq!(refused.kind(), &ErrorKind::TooLarge);
        let refused = limit(10, 95, Some(100)).check(6).unwrap_err();
        assert_eq!(refused.kind(), &ErrorKind::LimitExceeded);
    }
}
