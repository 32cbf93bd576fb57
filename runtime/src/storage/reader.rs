//! An object as `Read + Seek`, for parsers without support for object stores.

use std::{
    io::{Error, ErrorKind, Read, Result, Seek, SeekFrom},
    sync::Arc,
};

use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use tokio::runtime::Handle;

/// Bytes fetched at once.
const WINDOW: u64 = 2 << 20;

/// Reads an object by ranges, with one window of it in memory. For blocking threads only: it waits for
/// the store on the runtime that opened it.
#[derive(Debug, Clone)]
pub struct ObjectReader {
    store: Arc<dyn ObjectStore>,
    path: Path,
    runtime: Handle,
    size: u64,
    position: u64,
    window: Bytes,
    window_at: u64,
}

impl ObjectReader {
    /// To be called on the runtime.
    pub(super) fn new(store: Arc<dyn ObjectStore>, path: Path, size: u64) -> Self {
        Self {
            store,
            path,
            runtime: Handle::current(),
            size,
            position: 0,
            window: Bytes::new(),
            window_at: 0,
        }
    }

    /// The object's size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The rest of the window from the position on, fetched if it is empty.
    fn buffered(&mut self) -> Result<&[u8]> {
        let end = self.window_at + self.window.len() as u64;
        if !(self.window_at..end).contains(&self.position) {
            let range = self.position..(self.position + WINDOW).min(self.size);
            let fetched = self.runtime.block_on(self.store.get_range(&self.path, range));
            self.window = fetched.map_err(|error| match error {
                object_store::Error::NotFound { .. } => Error::new(ErrorKind::NotFound, error),
                other => Error::other(other),
            })?;
            self.window_at = self.position;
        }
        let from = usize::try_from(self.position - self.window_at).map_err(Error::other)?;
        Ok(&self.window[from..])
    }
}

impl Read for ObjectReader {
    fn read(&mut self, into: &mut [u8]) -> Result<usize> {
        if self.position >= self.size || into.is_empty() {
            return Ok(0);
        }
        let bytes = self.buffered()?;
        let n = bytes.len().min(into.len());
        into[..n].copy_from_slice(&bytes[..n]);
        self.position += n as u64;
        Ok(n)
    }
}

impl Seek for ObjectReader {
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        let position = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = position.ok_or(ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
