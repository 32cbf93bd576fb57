//! The analysis of an uploaded file: made once, stored with the file, shown for mapping its columns.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use bytes::Bytes;
use domain::{Actor, Error, FieldErrors, NewFile, WorkspaceDb, WorkspaceId, audit::Entry};
use fields::Field;
use futures::Stream;
use runtime::{
    heavy::{HeavyError, HeavyPool, MAX_NICE, Whose, heavy},
    storage::Storage,
};
use serde_json::{Value, json};
use tabular::{Analysis, Bounds, Limits, Options};

use crate::files::{self, File, UploadLimit};

/// Concurrent analyses, with a short queue: each for [`LONGEST_LOOK`] at most.
static LOOKERS: LazyLock<HeavyPool> = LazyLock::new(|| HeavyPool::new("looks-at-files", 2, 8, MAX_NICE));

/// Maximum time of an analysis: a client waits for it.
const LONGEST_LOOK: Duration = Duration::from_secs(8);

/// Bounds of an analysis. An import reads the whole file.
fn bounds() -> Bounds {
    Bounds {
        max_rows: Some(2_000_000),
        max_bytes: Some(128 << 20),
        max_time: Some(LONGEST_LOOK),
        is_abandoned: None,
    }
}

/// Memory limits of an analysis: less than for an import, since the process answers other requests, too.
fn limits() -> Limits {
    Limits { max_held_bytes: 128 << 20, max_cells: 4 << 20, ..Limits::default() }
}

/// Refuses an analysis that would be refused once the file is found, or uploaded.
///
/// # Errors
/// `overloaded` while too many analyses are waiting, of all or of this workspace.
pub fn require_room(workspace: WorkspaceId) -> Result<(), Error> {
    Ok(LOOKERS.require_room(&Whose::Workspace(workspace.0))?)
}

/// Stores an uploaded file and analyses it. A file that can't be read is removed again.
///
/// # Errors
/// `record_invalid` for a file without rows; those of [`files::upload`].
pub async fn take_in(
    database: &jobs::Database,
    storage: &Storage,
    whose: (WorkspaceId, Actor),
    new: NewFile,
    bytes: impl Stream<Item = std::io::Result<Bytes>> + Send,
    limit: UploadLimit,
) -> Result<(File, Analysis), Error> {
    let file = files::upload(database, storage, whose.clone(), new, bytes, limit).await?;
    match look(storage, whose.0, &file, &Options::default()).await {
        Ok(analysis) => {
            let mut db = WorkspaceDb::write(database, whose.0, whose.1).await?;
            files::keep_analysis(&mut db, file.id, &analysis).await?;
            db.is_noted_elsewhere(); // the entry is that of the upload
            db.commit().await?;
            Ok((file, analysis))
        }
        Err(error) => {
            let removed = Entry::new("file", "removed", file.id, json!({ "reason": error.to_string() }));
            files::remove(database, storage, whose, file.id, &file.storage_key, Some(removed)).await?;
            Err(error)
        }
    }
}

/// Stores the analysis for imports without options of their own.
pub async fn keep_analysis(
    db: &mut WorkspaceDb,
    file: &File,
    options: &Options,
    analysis: &Analysis,
) -> Result<(), Error> {
    files::keep_analysis(db, file.id, analysis).await?;
    let details = json!({ "name": file.name, "options": options });
    Ok(db.note(Entry::new("file", "analyzed", file.id, details)).await?)
}

/// Analyses a stored file with the given options. No transaction is open meanwhile.
///
/// # Errors
/// `record_invalid` for a file that can't be read.
pub async fn look(
    storage: &Storage,
    workspace: WorkspaceId,
    file: &File,
    options: &Options,
) -> Result<Analysis, Error> {
    let source = storage.reader(&file.storage_key).await?;
    let (options, name) = (options.clone(), file.name.clone());
    let looked = heavy(&LOOKERS, Whose::Workspace(workspace.0), move |stop| {
        let stop = stop.clone();
        let bounds = Bounds { is_abandoned: Some(Arc::new(move || stop.is_asked_for())), ..bounds() };
        tabular::look(|| Ok(source.clone()), &options, &name, &limits(), &bounds)
    });
    match looked.await {
        Ok(Ok(analysis)) => Ok(without_nul(analysis)),
        Ok(Err(tabular::FileError::Io(error))) => Err(Error::internal(error)),
        Ok(Err(error)) => Err(unreadable(error.code(), error.to_string())),
        // A parser panics on a file that is not what it claims to be.
        Err(HeavyError::BrokenOff(_)) => {
            Err(unreadable("corrupt_file", "the file is damaged and cannot be read".to_owned()))
        }
        Err(error @ HeavyError::Overloaded) => Err(error.into()),
    }
}

/// The refusal of a file that can't be read, with a stable code and a sentence.
fn unreadable(code: &str, message: String) -> Error {
    Error::invalid_fields(FieldErrors::from([("file".to_owned(), vec![code.to_owned(), message])]))
}

/// Samples may have a U+0000, which PostgreSQL can't store: it is replaced.
fn without_nul(analysis: Analysis) -> Analysis {
    fn clean(value: &mut Value) {
        match value {
            Value::String(text) if text.contains('\0') => *text = text.replace('\0', "\u{fffd}"),
            Value::Array(items) => items.iter_mut().for_each(clean),
            Value::Object(members) => members.values_mut().for_each(clean),
            _ => {}
        }
    }
    let Ok(mut value) = serde_json::to_value(&analysis) else { return analysis };
    clean(&mut value);
    serde_json::from_value(value).unwrap_or(analysis)
}

/// The stored analysis of a file.
pub(super) fn kept(file: &File) -> Result<Analysis, Error> {
    let not_analysed = || Error::invalid("file_uri", "has not been analysed yet: call the analysis first");
    let analysis = file.analysis.clone().ok_or_else(not_analysed)?;
    // One that a newer release wrote and this one can't read counts as none.
    serde_json::from_value(analysis).map_err(|_| not_analysed())
}

/// Fields that would take all of the file's columns.
#[must_use]
pub fn suggested_fields(analysis: &Analysis) -> Vec<Field> {
    analysis
        .columns
        .iter()
        .map(|column| Field {
            key: column.key.clone(),
            label: column.name.clone(),
            field_type: column.field_type,
            required: false,
            unique: false,
            options: column.options.clone(),
        })
        .collect()
}
