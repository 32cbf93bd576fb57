//! How imports say no.

use domain::{DomainError, EntityError, FieldErrors, Refusal, storage_use::StorageUseError};
use runtime::heavy::HeavyError;

use crate::files::FileError;

/// Why an import could not be started, or found.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// There is no such import in this workspace.
    #[error("there is no such import")]
    NotFound,
    /// There is no such file, or its bytes are gone.
    #[error("there is no such file; uploads that are not imported are kept for a day")]
    FileNotFound,
    /// The upload was not followed by an analysis that went well.
    #[error("the file has not been analysed")]
    NotAnalysed,
    /// Columns and fields that don't fit.
    #[error("the columns can't be mapped like that")]
    Mapping(FieldErrors),
    /// The file can't be read.
    #[error("{message}")]
    Unreadable {
        /// A stable code.
        code: &'static str,
        /// A sentence.
        message: String,
    },
    /// The stored bytes can't be read just now.
    #[error("the file can't be read just now")]
    Reading(#[source] std::io::Error),
    /// Too many files are being looked at.
    #[error(transparent)]
    Heavy(#[from] HeavyError),
    /// About the recordset.
    #[error(transparent)]
    Recordset(#[from] EntityError),
    /// The store failed or refused.
    #[error(transparent)]
    File(FileError),
    /// The workspace stores as much as its plan allows.
    #[error(transparent)]
    Full(StorageUseError),
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

impl From<StorageUseError> for ImportError {
    fn from(error: StorageUseError) -> Self {
        match error {
            StorageUseError::Database(error) => Self::Database(error),
            exceeded @ StorageUseError::Exceeded { .. } => Self::Full(exceeded),
        }
    }
}

impl From<FileError> for ImportError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::NotFound => Self::FileNotFound,
            other => Self::File(other),
        }
    }
}

impl DomainError for ImportError {
    fn refusal(&self) -> Refusal {
        match self {
            Self::NotFound => Refusal::NotFound,
            Self::FileNotFound => Refusal::invalid(
                "file_uri",
                "names no uploaded file of this workspace, or one that has expired: upload it first",
            ),
            Self::NotAnalysed => {
                Refusal::invalid("file_uri", "has not been analysed yet: call the analysis first")
            }
            Self::Mapping(errors) => Refusal::Invalid(errors.clone()),
            Self::Unreadable { code, message } => {
                let reasons = vec![(*code).to_owned(), message.clone()];
                Refusal::Invalid(FieldErrors::from([("file".to_owned(), reasons)]))
            }
            Self::Reading(_) => Refusal::Internal,
            Self::Heavy(error) => error.refusal(),
            Self::Recordset(error) => error.refusal(),
            Self::File(error) => error.refusal(),
            Self::Full(error) => error.refusal(),
            Self::Database(error) => error.refusal(),
        }
    }
}
