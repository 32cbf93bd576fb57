//! What is in an uploaded file: looked at once, kept with the file, shown to whoever maps its columns.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use bytes::Bytes;
use domain::{Actor, NewFile, WorkspaceDb, WorkspaceId, audit::Entry};
use fields::Field;
use futures::Stream;
use runtime::{
    heavy::{HeavyError, HeavyPool, MAX_NICE, Whose, heavy},
    storage::Storage,
};
use serde_json::{Value, json};
use tabular::{Analysis, Bounds, Limits, Options};

use super::ImportError;
use crate::files::{self, File, UploadLimit};

/// Looks at once, and some that wait: each for [`LONGEST_LOOK`] at the most.
static LOOKERS: LazyLock<HeavyPool> = LazyLock::new(|| HeavyPool::new("looks-at-files", 2, 8, MAX_NICE));

/// The longest look at a file: a client waits for it.
const LONGEST_LOOK: Duration = Duration::from_secs(8);

/// How far into a file a look goes. An import reads all of it.
fn bounds() -> Bounds {
    Bounds {
        max_rows: Some(2_000_000),
        max_bytes: Some(128 << 20),
        max_time: Some(LONGEST_LOOK),
        is_abandoned: None,
    }
}

/// What a look may hold in memory: less than an import, since other requests are answered beside it.
fn limits() -> Limits {
    Limits { max_held_bytes: 128 << 20, max_cells: 4 << 20, ..Limits::default() }
}

/// Refuses a look at a file that would be refused once the file is found, or has come.
///
/// # Errors
/// [`ImportError`] while too many files are looked at, of all or of this workspace.
pub fn require_room(workspace: WorkspaceId) -> Result<(), ImportError> {
    Ok(LOOKERS.require_room(&Whose::Workspace(workspace.0))?)
}

/// Takes in a file and looks at it. A file that can't be read is removed again.
///
/// # Errors
/// [`ImportError::Unreadable`] for what is not a file of rows, [`ImportError::File`] for what can't be
/// stored.
pub async fn take_in(
    database: &jobs::Database,
    storage: &Storage,
    whose: (WorkspaceId, Actor),
    new: NewFile,
    bytes: impl Stream<Item = std::io::Result<Bytes>> + Send,
    limit: UploadLimit,
) -> Result<(File, Analysis), ImportError> {
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

/// Keeps what was found in a file for imports that don't say otherwise.
pub async fn keep_analysis(
    db: &mut WorkspaceDb,
    file: &File,
    options: &Options,
    analysis: &Analysis,
) -> Result<(), ImportError> {
    files::keep_analysis(db, file.id, analysis).await?;
    let details = json!({ "name": file.name, "options": options });
    Ok(db.note(Entry::new("file", "analyzed", file.id, details)).await?)
}

/// Looks at a stored file, as the options say. No transaction is open meanwhile.
///
/// # Errors
/// [`ImportError::Unreadable`].
pub async fn look(
    storage: &Storage,
    workspace: WorkspaceId,
    file: &File,
    options: &Options,
) -> Result<Analysis, ImportError> {
    let source = storage.reader(&file.storage_key).await.map_err(files::FileError::from)?;
    let (options, name) = (options.clone(), file.name.clone());
    let looked = heavy(&LOOKERS, Whose::Workspace(workspace.0), move |stop| {
        let stop = stop.clone();
        let bounds = Bounds { is_abandoned: Some(Arc::new(move || stop.is_asked_for())), ..bounds() };
        tabular::look(|| Ok(source.clone()), &options, &name, &limits(), &bounds)
    });
    match looked.await {
        Ok(Ok(analysis)) => Ok(without_nul(analysis)),
        Ok(Err(tabular::FileError::Io(error))) => Err(ImportError::Reading(error)),
        Ok(Err(error)) => Err(ImportError::Unreadable { code: error.code(), message: error.to_string() }),
        // A parser that panics has met a file that is not what it says.
        Err(HeavyError::BrokenOff(_)) => {
            let message = "the file is damaged in a way that broke its reader".to_owned();
            Err(ImportError::Unreadable { code: "corrupt_file", message })
        }
        Err(error @ HeavyError::Overloaded) => Err(error.into()),
    }
}

/// Samples may have a U+0000, which PostgreSQL can't store: a stand-in takes its place.
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

/// What was found in a file.
pub(super) fn kept(file: &File) -> Result<Analysis, ImportError> {
    let analysis = file.analysis.clone().ok_or(ImportError::NotAnalysed)?;
    // One that a newer release wrote and this one can't read is as good as none.
    serde_json::from_value(analysis).map_err(|_| ImportError::NotAnalysed)
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
