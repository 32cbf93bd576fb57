//! How recordsets say no.

use crate::{DomainError, FieldErrors, Refusal};

/// Why something about a recordset didn't happen.
#[derive(Debug, thiserror::Error)]
pub enum RecordsetError {
    /// It doesn't exist in this workspace, or lies in the trash.
    #[error("there is no such recordset")]
    NotFound,
    /// Values that break a rule. Fields of the recordset are named `fields.<key>`.
    #[error("the recordset is not valid")]
    Invalid(FieldErrors),
    /// The slug that was asked for belongs to another recordset, maybe one in the trash.
    #[error("another recordset has this slug")]
    SlugTaken,
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl DomainError for RecordsetError {
    fn refusal(&self) -> Refusal {
        match self {
            Self::NotFound => Refusal::NotFound,
            Self::Invalid(errors) => Refusal::Invalid(errors.clone()),
            Self::SlugTaken => Refusal::Conflict("slug_taken"),
            Self::Database(error) => error.refusal(),
        }
    }
}
