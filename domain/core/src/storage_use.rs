//! Number of bytes that a workspace stores, and that its plan allows: records with their versions, uploaded files,
//! exports, and the reports of imports. Every change of these counts here, in the same transaction, so
//! that the figure is never found by counting.
//!
//! The table `storage_use` has as many rows as there were concurrent transactions; each takes a row that no
//! other one holds, and none waits for another. The limit is compared with the committed total: concurrent
//! transactions may exceed it together, by what each of them adds (a record, a batch of an import, a segment of
//! an export).

use serde::Serialize;

use crate::{Error, WorkspaceDb};

/// Storage of a record in addition to the text of its values: its id, its times, its index entries.
const RECORD_OVERHEAD: usize = 128;

/// Storage of a workspace: used and allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StorageUse {
    /// Bytes in use.
    pub used: i64,
    /// Bytes that the plan allows; none if it sets no limit.
    pub limit: Option<i64>,
}

impl StorageUse {
    /// Bytes that may be added; none if there is no limit.
    #[must_use]
    pub fn room(self) -> Option<i64> {
        self.limit.map(|limit| limit.saturating_sub(self.used).max(0))
    }

    /// Requires room for so many more bytes.
    ///
    /// # Errors
    /// `limit_exceeded`
    pub fn require(self, bytes: i64) -> Result<(), Error> {
        match self.limit {
            Some(limit) if self.used.saturating_add(bytes) > limit => Err(self.exceeded(limit)),
            _ => Ok(()),
        }
    }

    /// The error of storing more than these bytes, which the plan allows.
    #[must_use]
    pub fn exceeded(self, limit: i64) -> Error {
        let used = self.used;
        Error::limit_exceeded(format!(
            "the plan allows {limit} bytes of storage, of which {used} are in use: delete exports, imports with \
             reports and uploads that are not needed any more, or choose a larger plan"
        ))
    }
}

/// Storage of a record whose values have so many bytes as JSON.
#[must_use]
pub fn of_json(bytes: usize) -> i32 {
    i32::try_from(bytes + RECORD_OVERHEAD).unwrap_or(i32::MAX)
}

/// Storage of a record with these values.
pub fn of_record(data: &impl Serialize) -> Result<i32, sqlx::Error> {
    let text = serde_json::to_string(data).map_err(|error| sqlx::Error::Encode(error.into()))?;
    Ok(of_json(text.len()))
}

/// Storage in use and allowed.
pub async fn get(db: &mut WorkspaceDb) -> Result<StorageUse, sqlx::Error> {
    let workspace = db.workspace().0;
    sqlx::query_as!(
        StorageUse,
        r#"select (select coalesce(sum(bytes), 0)::bigint from storage_use) as "used!", storage_limit($1) as "limit""#,
        workspace,
    )
    .fetch_one(db.conn())
    .await
}

/// Counts bytes that this transaction adds.
///
/// # Errors
/// `limit_exceeded`, after which the transaction is not to be committed.
pub async fn add(db: &mut WorkspaceDb, bytes: i64) -> Result<(), Error> {
    if bytes == 0 {
        return Ok(());
    }
    change(db, bytes).await?.require(bytes)
}

/// Counts bytes that this transaction removes.
pub async fn release(db: &mut WorkspaceDb, bytes: i64) -> Result<(), sqlx::Error> {
    if bytes != 0 {
        change(db, -bytes).await?;
    }
    Ok(())
}

/// Counts a change; answers the storage before it.
async fn change(db: &mut WorkspaceDb, by: i64) -> Result<StorageUse, sqlx::Error> {
    let workspace = db.workspace().0;
    sqlx::query_as!(
        StorageUse,
        r#"with free as (
               select id from storage_use limit 1 for no key update skip locked
           ), changed as (
               update storage_use u set bytes = u.bytes + $1 from free f where u.id = f.id returning u.id
           ), added as (
               insert into storage_use (bytes) select $1 where not exists (select from changed)
           )
           select (select coalesce(sum(bytes), 0)::bigint from storage_use) as "used!",
                  storage_limit($2) as "limit""#,
        by,
        workspace,
    )
    .fetch_one(db.conn())
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn there_is_room_up_to_the_limit_and_without_one() {
        let of = |used, limit| StorageUse { used, limit };
        of(60, Some(100)).require(40).unwrap();
        let refused = of(60, Some(100)).require(41).unwrap_err();
        assert_eq!(refused.kind(), &ErrorKind::LimitExceeded);
        assert!(
            refused.to_string().contains("allows 100 bytes of storage, of which 60 are in use"),
            "{refused}"
        );
        of(60, None).require(i64::MAX).unwrap();
        assert_eq!((of(60, Some(100)).room(), of(160, Some(100)).room()), (Some(40), Some(0)));
    }
}
