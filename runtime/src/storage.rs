//! Storage of files' bytes: an object store by URL, a local folder by default.
//!
//! Nothing here holds a whole file in memory. An object is complete or absent: a failure half
//! way leaves no object. The tables that hold the keys determine which objects exist.

mod reader;

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream::BoxStream};
use object_store::{
    ObjectStore, ObjectStoreExt, PutPayload, WriteMultipart, local::LocalFileSystem, path::Path,
    prefix::PrefixStore,
};
use sha2::{Digest, Sha256};
use url::Url;
use uuid::Uuid;

pub use reader::ObjectReader;

use crate::settings::{SettingError, Settings};

/// Bytes in one part of an upload: more than the minimum of object stores, few enough to hold some in memory.
const PART: usize = 6 << 20;

/// A handle on the object store; clones share it.
#[derive(Debug, Clone)]
pub struct Storage {
    store: Arc<dyn ObjectStore>,
    /// Folder, if the store is one.
    folder: Option<PathBuf>,
}

/// Result of [`Storage::put_stream`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 in hex.
    pub sha256: String,
}

/// The reason why bytes could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// No such object.
    #[error("the file no longer exists")]
    NotFound,
    /// More bytes than allowed; nothing was stored.
    #[error("the file is larger than {0} bytes")]
    TooLarge(u64),
    /// The sender's stream was aborted or invalid; nothing was stored.
    #[error("the upload was aborted: {0}")]
    Interrupted(std::io::Error),
    /// The store is full.
    #[error("the file storage is full")]
    Full,
    /// `STORAGE_URL` is not supported by this build.
    #[error("{0}")]
    BadUrl(String),
    /// The store can't be written to.
    #[error("the file storage can't be written to: {0}")]
    OutOfReach(String),
    /// Anything else.
    #[error("the file storage failed")]
    Failed(#[source] object_store::Error),
}

impl From<object_store::Error> for StorageError {
    fn from(error: object_store::Error) -> Self {
        use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};

        if matches!(error, object_store::Error::NotFound { .. }) {
            return Self::NotFound;
        }
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(current) = cause {
            if let Some(io) = current.downcast_ref::<std::io::Error>()
                && matches!(io.kind(), StorageFull | QuotaExceeded | FileTooLarge)
            {
                return Self::Full;
            }
            cause = current.source();
        }
        Self::Failed(error)
    }
}

impl Storage {
    /// Opens a store. `file:///folder` creates a missing folder and syncs its writes;
    /// other schemes (`s3://`, `gs://`, `az://`) need a build with that feature of `object_store`.
    ///
    /// # Errors
    /// [`StorageError::BadUrl`], or [`StorageError::OutOfReach`] when the folder can't be created.
    pub fn open(url: &str) -> Result<Self, StorageError> {
        // Never the URL itself: it may contain a secret.
        let bad = |reason: &dyn std::fmt::Display| StorageError::BadUrl(reason.to_string());
        let parsed = Url::parse(url).map_err(|error| bad(&error))?;
        if parsed.scheme() == "file" {
            let folder = parsed.to_file_path().map_err(|()| bad(&"not an absolute path of this machine"))?;
            let out_of_reach = |reason: &dyn std::fmt::Display| StorageError::OutOfReach(reason.to_string());
            std::fs::create_dir_all(&folder).map_err(|error| out_of_reach(&error))?;
            let store = LocalFileSystem::new_with_prefix(&folder).map_err(|error| out_of_reach(&error))?;
            let store = store.with_fsync(true);
            return Ok(Self { store: Arc::new(store), folder: Some(folder) });
        }
        let (store, prefix) = object_store::parse_url(&parsed).map_err(|error| bad(&error))?;
        Ok(Self { store: Arc::new(PrefixStore::new(store, prefix)), folder: None })
    }

    /// The store of `STORAGE_URL`. Default: the folder `.millrace/files` below the working
    /// directory, which then has to be the same for every process.
    ///
    /// # Errors
    /// When the store can't be opened.
    pub fn from_settings(settings: &Settings) -> Result<Self, SettingError> {
        const NAME: &str = "STORAGE_URL";
        let malformed = |error: &dyn std::fmt::Display| SettingError::malformed(NAME, error);
        let url = if let Some(url) = settings.get(NAME) {
            url.to_owned()
        } else {
            let here = std::env::current_dir().map_err(|error| malformed(&error))?;
            let folder = Url::from_directory_path(here.join(".millrace/files"));
            folder.map_err(|()| malformed(&"there is no working directory"))?.into()
        };
        Self::open(&url).map_err(|error| match error {
            StorageError::OutOfReach(_) => SettingError::OutOfReach { name: NAME, reason: error.to_string() },
            error => malformed(&error),
        })
    }

    /// Checks that this process may write to the store: writes and removes a small object.
    ///
    /// # Errors
    /// [`StorageError::OutOfReach`] with the store's own reason, for the operator.
    pub async fn probe(&self) -> Result<(), StorageError> {
        let key = Path::from(format!("probe/{}", Uuid::now_v7()));
        let probe = async {
            self.store.put(&key, Bytes::from_static(b"probe").into()).await?;
            self.store.delete(&key).await
        };
        probe.await.map_err(|error| match StorageError::from(error) {
            StorageError::Failed(error) => StorageError::OutOfReach(error.to_string()),
            error => StorageError::OutOfReach(error.to_string()),
        })
    }

    /// Stores a stream of at most `limit` bytes. On any error nothing of it is left; when the caller
    /// is dropped half way, the part in a local folder is removed too.
    ///
    /// # Errors
    /// [`StorageError::TooLarge`] as soon as the limit is passed, [`StorageError::Interrupted`] when
    /// `bytes` fails, [`StorageError::Full`].
    pub async fn put_stream(
        &self,
        key: &str,
        bytes: impl Stream<Item = std::io::Result<Bytes>> + Send,
        limit: u64,
    ) -> Result<Stored, StorageError> {
        let upload = self.store.put_multipart(&Path::from(key)).await?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART);
        match write_all(&mut upload, bytes, limit).await {
            Ok(stored) => {
                upload.finish().await?; // aborts by itself on failure
                Ok(stored)
            }
            Err(error) => {
                if let Err(left) = upload.abort().await {
                    tracing::warn!(key, %left, "could not clean up after a failed upload");
                }
                Err(error)
            }
        }
    }

    /// Stores a few bytes, replacing an existing object.
    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<(), StorageError> {
        self.store.put(&Path::from(key), PutPayload::from_bytes(bytes)).await?;
        Ok(())
    }

    /// Opens an object for reading and seeking on a blocking thread.
    pub async fn reader(&self, key: &str) -> Result<ObjectReader, StorageError> {
        let path = Path::from(key);
        let size = self.store.head(&path).await?.size;
        Ok(ObjectReader::new(Arc::clone(&self.store), path, size))
    }

    /// An object's bytes, from the beginning.
    pub async fn stream(
        &self,
        key: &str,
    ) -> Result<BoxStream<'static, Result<Bytes, StorageError>>, StorageError> {
        let object = self.store.get(&Path::from(key)).await?;
        Ok(object.into_stream().map_err(StorageError::from).boxed())
    }

    /// Removes an object, and the remains of uploads of it that died with their process. An absent
    /// one is no error.
    pub async fn delete(&self, key: &str) -> Result<(), StorageError> {
        match self.store.delete(&Path::from(key)).await.map_err(StorageError::from) {
            Ok(()) | Err(StorageError::NotFound) => {}
            Err(error) => return Err(error),
        }
        if let Some(folder) = &self.folder {
            remove_remnants(folder.join(key)).await;
        }
        Ok(())
    }

    /// The keys below a prefix (a folder of keys).
    pub fn keys(&self, prefix: &str) -> BoxStream<'static, Result<String, StorageError>> {
        self.store.list(Some(&Path::from(prefix))).map(|object| Ok(String::from(object?.location))).boxed()
    }
}

async fn write_all(
    upload: &mut WriteMultipart,
    bytes: impl Stream<Item = std::io::Result<Bytes>> + Send,
    limit: u64,
) -> Result<Stored, StorageError> {
    let mut bytes = std::pin::pin!(bytes);
    let mut size = 0;
    let mut digest = Sha256::new();
    while let Some(chunk) = bytes.next().await {
        let chunk = chunk.map_err(StorageError::Interrupted)?;
        size += chunk.len() as u64;
        if size > limit {
            return Err(StorageError::TooLarge(limit));
        }
        digest.update(&chunk);
        upload.wait_for_capacity(2).await?;
        upload.write(&chunk);
    }
    // So that a part's failure is detected here, where the upload can still be aborted.
    upload.wait_for_capacity(1).await?;
    Ok(Stored { size, sha256: hex::encode(digest.finalize()) })
}

/// A local upload writes to `<file>#<n>` before it renames; a process that died has left that behind.
async fn remove_remnants(file: PathBuf) {
    for n in 1.. {
        let mut remnant = file.clone().into_os_string();
        remnant.push(format!("#{n}"));
        if tokio::fs::remove_file(&remnant).await.is_err() {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, SeekFrom};

    use futures::stream;

    use super::*;

    fn storage() -> (Storage, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let url = Url::from_directory_path(folder.path()).unwrap();
        (Storage::open(url.as_str()).unwrap(), folder)
    }

    fn files_in(folder: &std::path::Path) -> Vec<String> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.path().is_dir() {
                names.extend(files_in(&entry.path()));
            } else {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names
    }

    fn megabytes(n: usize) -> impl Stream<Item = std::io::Result<Bytes>> {
        stream::iter((0..n).map(|i| Ok(Bytes::from(vec![u8::try_from(i % 251).unwrap(); 1 << 20]))))
    }

    #[tokio::test]
    async fn a_stored_stream_reads_back_from_any_place() {
        let (storage, _folder) = storage();
        let stored = storage.put_stream("a/b", megabytes(15), 1 << 30).await.unwrap();
        assert_eq!(stored.size, 15 << 20);
        let mut reader = storage.reader("a/b").await.unwrap();
        std::thread::spawn(move || {
            let mut byte = [0; 1];
            for megabyte in [14_u8, 0, 7, 8] {
                reader.seek(SeekFrom::Start((u64::from(megabyte) << 20) + 5)).unwrap();
                reader.read_exact(&mut byte).unwrap();
                assert_eq!(byte[0], megabyte);
            }
            assert_eq!(reader.seek(SeekFrom::End(0)).unwrap(), 15 << 20);
            assert_eq!(reader.read(&mut byte).unwrap(), 0);
            reader.seek(SeekFrom::Start(0)).unwrap();
            assert_eq!(std::io::copy(&mut reader, &mut std::io::sink()).unwrap(), 15 << 20);
        })
        .join()
        .unwrap();
        let streamed: Vec<_> = storage.stream("a/b").await.unwrap().try_collect().await.unwrap();
        assert_eq!(streamed.iter().map(Bytes::len).sum::<usize>(), 15 << 20);
    }

    #[tokio::test]
    async fn an_upload_past_its_limit_leaves_nothing_behind() {
        let (storage, folder) = storage();
        let error = storage.put_stream("a/b", megabytes(20), 17 << 20).await.unwrap_err();
        assert!(matches!(error, StorageError::TooLarge(_)), "{error:?}");
        assert_eq!(files_in(folder.path()), Vec::<String>::new());
        assert!(matches!(storage.reader("a/b").await, Err(StorageError::NotFound)));
    }

    #[tokio::test]
    async fn an_upload_that_breaks_off_leaves_nothing_behind() {
        let (storage, folder) = storage();
        let broken = megabytes(9).chain(stream::iter([Err(std::io::Error::other("gone"))]));
        let error = storage.put_stream("a/b", broken, 1 << 30).await.unwrap_err();
        assert!(matches!(error, StorageError::Interrupted(_)), "{error:?}");
        assert_eq!(files_in(folder.path()), Vec::<String>::new());
    }

    #[tokio::test]
    async fn deleting_takes_the_remnants_of_a_dead_upload_along() {
        let (storage, folder) = storage();
        storage.put("a/b", Bytes::from_static(b"x")).await.unwrap();
        std::fs::write(folder.path().join("a/b#1"), "half").unwrap();
        storage.delete("a/b").await.unwrap();
        storage.delete("a/b").await.unwrap();
        assert_eq!(files_in(folder.path()), Vec::<String>::new());
    }

    #[test]
    fn a_full_disk_is_told_from_other_failures() {
        let full = object_store::Error::Generic {
            store: "local",
            source: Box::new(std::io::Error::from(std::io::ErrorKind::StorageFull)),
        };
        assert!(matches!(StorageError::from(full), StorageError::Full));
        let other = object_store::Error::Generic {
            store: "local",
            source: Box::new(std::io::Error::from(std::io::ErrorKind::PermissionDenied)),
        };
        assert!(matches!(StorageError::from(other), StorageError::Failed(_)));
    }

    #[test]
    fn a_scheme_that_the_build_lacks_is_refused_by_name() {
        let error = Storage::open("s3://bucket/prefix").unwrap_err().to_string();
        assert!(error.contains("AmazonS3"), "{error}");
    }
}
