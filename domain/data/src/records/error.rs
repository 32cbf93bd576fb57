//! How records say no.

use domain::{DomainError, EntityError, FieldErrors, Refusal, storage_use::StorageUseError};

/// Why something about a record didn't happen. Nothing of the transaction may be committed then.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It doesn't exist in this workspace, was deleted, or its recordset lies in the trash.
    #[error("there is no such record")]
    NotFound,
    /// The recordset doesn't exist in this workspace, or lies in the trash.
    #[error("there is no such recordset")]
    NoRecordset,
    /// Values or parameters that break a rule, by name.
    #[error("the record is not valid")]
    Invalid(FieldErrors),
    /// The record is not at the version that the caller has seen.
    #[error("the record has changed meanwhile: it is at version {0}")]
    VersionConflict(i32),
    /// It is somebody else's, and the caller may touch only their own.
    #[error("this is for records that one has created oneself")]
    NotTheirs,
    /// The workspace would store more than its plan allows.
    #[error(transparent)]
    Storage(StorageUseError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl From<StorageUseError> for RecordError {
    fn from(error: StorageUseError) -> Self {
        match error {
            StorageUseError::Database(error) => Self::Database(error),
            exceeded @ StorageUseError::Exceeded { .. } => Self::Storage(exceeded),
        }
    }
}

impl RecordError {
    /// One parameter or field, one reason.
    pub(super) fn invalid(name: &str, reason: impl Into<String>) -> Self {
        Self::Invalid(FieldErrors::from([(name.to_owned(), vec![reason.into()])]))
    }
}

impl From<EntityError> for RecordError {
    fn from(error: EntityError) -> Self {
        match error {
            EntityError::Database(error) => Self::Database(error),
            EntityError::Invalid(errors) => Self::Invalid(errors),
            EntityError::NotFound | EntityError::Taken(_) | EntityError::LimitExceeded(_) => {
                Self::NoRecordset
            }
        }
    }
}

impl DomainError for RecordError {
    fn refusal(&self) -> Refusal {
        match self {
            Self::NotFound | Self::NoRecordset => Refusal::NotFound,
            Self::Invalid(errors) => Refusal::Invalid(errors.clone()),
            Self::VersionConflict(_) => Refusal::Conflict("version_conflict".into()),
            Self::NotTheirs => Refusal::Forbidden,
            Self::Storage(error) => error.refusal(),
            Self::Database(error) => error.refusal(),
        }
    }
}
