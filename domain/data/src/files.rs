//! Files: bytes in the store, described by a row. The row comes before the bytes and goes after them,
//! so that no bytes are ever without a row to find them by.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use domain::{Actor, Error, NewFile, WorkspaceDb, WorkspaceId, audit::Entry, storage_use};
use futures::Stream;
use runtime::storage::Storage;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::types::Json;

mod limit;

pub use limit::UploadLimit;

domain::ids! {
    /// A file.
    FileId = "file",
}

/// Maximum length of a file name, in characters.
const MAX_NAME: usize = 255;

/// A client's reference to a file: `file:` and its id; opaque.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileUri(pub FileId);

/// The text is no [`FileUri`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the URI of an uploaded file")]
pub struct NotAFileUri;

impl std::str::FromStr for FileUri {
    type Err = NotAFileUri;

    fn from_str(text: &str) -> Result<Self, NotAFileUri> {
        let id = text.strip_prefix("file:").ok_or(NotAFileUri)?;
        id.parse().map(Self).map_err(|_| NotAFileUri)
    }
}

impl TryFrom<String> for FileUri {
    type Error = NotAFileUri;

    fn try_from(text: String) -> Result<Self, NotAFileUri> {
        text.parse()
    }
}

impl From<FileUri> for String {
    fn from(uri: FileUri) -> Self {
        uri.to_string()
    }
}

impl std::fmt::Display for FileUri {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "file:{}", self.0)
    }
}

/// A file whose bytes are all stored.
#[derive(Debug, Clone, PartialEq)]
pub struct File {
    /// File id.
    pub id: FileId,
    /// Name, as given by the client.
    pub name: String,
    /// Content type, as given by the client.
    pub content_type: Option<String>,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 in hex.
    pub sha256: String,
    /// Key of its bytes in the storage.
    pub storage_key: String,
    /// Stored analysis.
    pub analysis: Option<Value>,
    /// Start time of the upload.
    pub created_at: DateTime<Utc>,
}

/// Stores an upload within its limit. No transaction is open while the bytes arrive. If
/// they can't be stored, nothing remains; if this process dies meanwhile, the sweep finds the row. The audit entry
/// is added with the size, from which on the file counts.
///
/// # Errors
/// Those of the storage; `limit_exceeded` as soon as the file has more bytes than the workspace has room for.
pub async fn upload(
    database: &jobs::Database,
    storage: &Storage,
    (workspace, actor): (WorkspaceId, Actor),
    new: NewFile,
    bytes: impl Stream<Item = std::io::Result<Bytes>> + Send,
    limit: UploadLimit,
) -> Result<File, Error> {
    let id = FileId::new();
    let key = format!("{}/uploads/{id}", workspace.0.simple());
    let name = plain_name(&new.name);

    let mut db = WorkspaceDb::write(database, workspace, actor.clone()).await?;
    let created_by = db.user_id();
    let created_at = sqlx::query_scalar!(
        "insert into files (id, name, content_type, storage_key, purpose, created_by)
         values ($1, $2, $3, $4, 'import', $5)
         returning created_at",
        id.0,
        name,
        new.content_type,
        key,
        created_by,
    )
    .fetch_one(db.conn())
    .await?;
    db.is_noted_elsewhere();
    db.commit().await?;

    let stored = match storage.put_stream(&key, bytes, limit.bytes()).await {
        Ok(stored) => stored,
        Err(error) => {
            remove(database, storage, (workspace, actor), id, &key, None).await?;
            return Err(limit.passed(error));
        }
    };

    let size = i64::try_from(stored.size).unwrap_or(i64::MAX);
    let mut db = WorkspaceDb::write(database, workspace, actor.clone()).await?;
    // Concurrent uploads count, too.
    if let Err(full) = storage_use::add(&mut db, size).await {
        drop(db);
        remove(database, storage, (workspace, actor), id, &key, None).await?;
        return Err(full);
    }
    sqlx::query!("update files set size = $2, sha256 = $3 where id = $1", id.0, size, stored.sha256)
        .execute(db.conn())
        .await?;
    let details = json!({ "name": name, "size": size, "sha256": stored.sha256 });
    db.note(Entry::new("file", "uploaded", id, details)).await?;
    db.commit().await?;
    Ok(File {
        id,
        name,
        content_type: new.content_type,
        size: stored.size,
        sha256: stored.sha256,
        storage_key: key,
        analysis: None,
        created_at,
    })
}

/// A file, if all of it is there.
pub async fn get(db: &mut WorkspaceDb, uri: FileUri) -> Result<File, Error> {
    let row = sqlx::query!(
        r#"select id, name, content_type, size as "size!", sha256 as "sha256!", storage_key, analysis, created_at
             from files
            where id = $1 and sha256 is not null and deleted_at is null"#,
        uri.0.0,
    )
    .fetch_optional(db.conn())
    .await?
    .ok_or_else(Error::not_found)?;
    Ok(File {
        id: row.id,
        name: row.name,
        content_type: row.content_type,
        size: row.size.unsigned_abs(),
        sha256: row.sha256,
        storage_key: row.storage_key,
        analysis: row.analysis,
        created_at: row.created_at,
    })
}

/// Keeps what was found in a file.
pub async fn keep_analysis(
    db: &mut WorkspaceDb,
    id: FileId,
    analysis: &(impl Serialize + Sync),
) -> Result<(), sqlx::Error> {
    sqlx::query!("update files set analysis = $2 where id = $1", id.0, Json(analysis) as _)
        .execute(db.conn())
        .await?;
    Ok(())
}

/// Removes a file that is of no use: first its bytes, then its row. None as the audit's entry where it has the
/// removal Removes an unneeded file: first its bytes, then its row. None as the audit entry if the removal has
/// one already, as [`mark_unused`] adds it, or the file never had one.
pub async fn remove(
    database: &jobs::Database,
    storage: &Storage,
    (workspace, actor): (WorkspaceId, Actor),
    id: FileId,
    key: &str,
    entry: Option<Entry>,
) -> Result<(), Error> {
    storage.delete(key).await?;
    let mut db = WorkspaceDb::write(database, workspace, actor).await?;
    let size = sqlx::query_scalar!("delete from files where id = $1 returning size", id.0)
        .fetch_optional(db.conn())
        .await?;
    storage_use::release(&mut db, size.flatten().unwrap_or(0)).await?;
    match entry {
        Some(entry) => db.note(entry).await?,
        None => db.is_noted_elsewhere(),
    }
    db.commit().await?;
    Ok(())
}

/// Marks uploads that no import has used within a day, and lists the marked ones: from now on no import
/// can begin with them, so their bytes may be removed ([`remove`]).
pub async fn mark_unused(db: &mut WorkspaceDb, at_most: i64) -> Result<Vec<(FileId, String)>, sqlx::Error> {
    let marked = sqlx::query!(
        "update files set deleted_at = now()
          where used_at is null and deleted_at is null and created_at < now() - interval '24 hours'",
    )
    .execute(db.conn())
    .await?;
    if marked.rows_affected() > 0 {
        db.note(Entry::new("file", "expired", None, json!({ "files": marked.rows_affected() }))).await?;
    }
    let rows = sqlx::query!(
        "select id, storage_key from files where deleted_at is not null order by created_at limit $1",
        at_most,
    )
    .fetch_all(db.conn())
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.storage_key)).collect())
}

/// The last part of a path, without characters that have no place in a name.
fn plain_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let plain: String = last.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect();
    let plain = plain.trim();
    if plain.is_empty() { "upload".to_owned() } else { plain.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_uri_reads_back_and_nothing_else_is_one() {
        let uri = FileUri(FileId::new());
        assert_eq!(uri.to_string().parse(), Ok(uri));
        for text in ["", "file:", "file:1", "gs://bucket/x", &uri.0.to_string()] {
            assert_eq!(text.parse::<FileUri>(), Err(NotAFileUri), "{text}");
        }
    }

    #[test]
    fn a_client_s_path_becomes_a_plain_name() {
        let cases = [
            ("people.csv", "people.csv"),
            (r"C:\Users\ada\people.csv", "people.csv"),
            ("../../etc/passwd", "passwd"),
            ("a\u{0}b\r\n.csv", "ab.csv"),
            ("  ", "upload"),
            ("", "upload"),
        ];
        for (given, name) in cases {
            assert_eq!(plain_name(given), name, "{given:?}");
        }
    }
}
