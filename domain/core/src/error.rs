//! How the domain says no: a plain section by [`EntityError`], one with more to say by an enum of its own.
//! What all of them share is that they can tell a [`Refusal`], which one place in `api` turns into an answer
//! per surface.

mod of_runtime;

use std::{borrow::Cow, collections::BTreeMap};

use crate::storage_use::StorageUseError;

/// The code of what can't be done since PostgreSQL is out of reach, or takes no writes.
pub const DATABASE_UNREACHABLE: &str = "database_unreachable";

/// Reasons by field, in a stable order.
pub type FieldErrors = BTreeMap<String, Vec<String>>;

/// What kind of no it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It doesn't exist, or the caller may not see it. 404 `record_not_found`.
    NotFound,
    /// Values that break a rule, by field. 422 `record_invalid`.
    Invalid(FieldErrors),
    /// Members that there are not, by path, with those that there are. 422 `parameter_unknown`.
    Unknown(FieldErrors),
    /// Required values that are absent, by name. 422 `parameter_missing`.
    Missing(Vec<String>),
    /// The state it is in doesn't allow that. 409, with the code given here.
    Conflict(Cow<'static, str>),
    /// The caller is known and may not. 403 `forbidden`.
    Forbidden,
    /// The credential is not good. 401 `token_invalid`.
    Unauthenticated,
    /// The address and the password, or the access code, don't belong together. 401 `credentials_invalid`.
    WrongCredentials,
    /// Too often. 429 `rate_limited`, with the seconds to wait.
    RateLimited(u64),
    /// Too much of something else than requests. 429 with the code given here, with the seconds to wait.
    TooMany(&'static str, u64),
    /// The means of payment was refused. 402 `payment_refused`.
    PaymentRefused,
    /// More than the plan allows. 402 `limit_exceeded`.
    LimitExceeded,
    /// More bytes than a route takes. 413 `payload_too_large`.
    TooLarge,
    /// It was there, and is gone for good. 410 `gone`.
    Gone,
    /// Something outside is not configured or not reachable. 503, with the code given here.
    Unavailable(&'static str),
    /// More than can be done at once. 503 `overloaded`, with the seconds to wait.
    Overloaded(u64),
    /// A fault of ours. 500 `internal`, its cause only in the log.
    Internal,
}

impl Refusal {
    /// One field, one reason.
    pub fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid(FieldErrors::from([(field.into(), vec![reason.into()])]))
    }
}

/// An error of an area of the domain. Its `Display` is a sentence for the caller, unless the refusal
/// is [`Refusal::Internal`].
pub trait DomainError: std::error::Error + Send + Sync + 'static {
    /// What kind of no it is.
    fn refusal(&self) -> Refusal;
}

/// PostgreSQL's code for a statement that ran into its timeout.
const QUERY_CANCELED: &str = "57014";

/// The database failing is never the caller's business.
impl DomainError for sqlx::Error {
    fn refusal(&self) -> Refusal {
        // Found by the database at the commit, where a check before it was overtaken.
        let violated = self.as_database_error().and_then(|error| error.constraint());
        if violated == Some("workspace_keeps_an_owner") {
            return Refusal::Conflict("last_owner".into());
        }
        match self {
            Self::PoolTimedOut => Refusal::Overloaded(1),
            // A statement that took longer than one may: the client sees what it sees of a slow request.
            Self::Database(error) if error.code().as_deref() == Some(QUERY_CANCELED) => {
                Refusal::Unavailable("timeout")
            }
            error if jobs::is_outage(error) => Refusal::Unavailable(DATABASE_UNREACHABLE),
            _ => Refusal::Internal,
        }
    }
}

/// Why something about an entity of a plain section didn't happen.
///
/// From an [`sqlx::Error`] it is what the database meant: a row that was to be fetched and isn't there is
/// [`EntityError::NotFound`], and the violation of a unique constraint or index named `<table>_<field>_key`
/// is [`EntityError::Taken`] of that field. A section thus says no by its SQL, with `?` and no code of its own.
#[derive(Debug, thiserror::Error)]
pub enum EntityError {
    /// It doesn't exist in this workspace, or was deleted. 404 `record_not_found`.
    #[error("there is no such thing here")]
    NotFound,
    /// Another one has this value of that field. 409 `<field>_taken`.
    #[error("another one has this {0}")]
    Taken(Cow<'static, str>),
    /// Values that break a rule, by field. 422 `record_invalid`.
    #[error("some values are not valid")]
    Invalid(FieldErrors),
    /// The plan doesn't allow to store that much. 402 `limit_exceeded`.
    #[error("{0}")]
    LimitExceeded(String),
    /// The database failed.
    #[error(transparent)]
    Database(sqlx::Error),
}

impl EntityError {
    /// One field, one reason.
    pub fn invalid(field: &str, reason: &str) -> Self {
        Self::Invalid(FieldErrors::from([(field.to_owned(), vec![reason.to_owned()])]))
    }
}

impl From<StorageUseError> for EntityError {
    fn from(error: StorageUseError) -> Self {
        match error {
            StorageUseError::Database(error) => error.into(),
            exceeded @ StorageUseError::Exceeded { .. } => Self::LimitExceeded(exceeded.to_string()),
        }
    }
}

impl From<sqlx::Error> for EntityError {
    fn from(error: sqlx::Error) -> Self {
        let violated = error.as_database_error().filter(|error| error.is_unique_violation());
        let taken = violated.and_then(|error| taken_field(error.table()?, error.constraint()?));
        match (taken, error) {
            (Some(field), _) => Self::Taken(field.into()),
            (None, sqlx::Error::RowNotFound) => Self::NotFound,
            (None, error) => Self::Database(error),
        }
    }
}

/// The field that the name of a unique constraint tells.
fn taken_field(table: &str, constraint: &str) -> Option<String> {
    let field = constraint.strip_prefix(table)?.strip_prefix('_')?.strip_suffix("_key")?;
    Some(field.to_owned())
}

impl DomainError for EntityError {
    fn refusal(&self) -> Refusal {
        match self {
            Self::NotFound => Refusal::NotFound,
            Self::Taken(field) => Refusal::Conflict(format!("{field}_taken").into()),
            Self::Invalid(errors) => Refusal::Invalid(errors.clone()),
            Self::LimitExceeded(_) => Refusal::LimitExceeded,
            Self::Database(error) => error.refusal(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_constraint_tells_the_field() {
        assert_eq!(taken_field("bookmarks", "bookmarks_name_key").as_deref(), Some("name"));
        assert_eq!(taken_field("price_lists", "price_lists_valid_from_key").as_deref(), Some("valid_from"));
        assert_eq!(taken_field("bookmarks", "bookmarks_pkey"), None);
        assert_eq!(taken_field("bookmarks", "bookmarksname_key"), None);
        assert_eq!(taken_field("bookmarks", "other_name_key"), None);
    }

    #[test]
    fn a_row_that_is_not_there_is_not_found_and_other_faults_stay_ours() {
        assert_eq!(EntityError::from(sqlx::Error::RowNotFound).refusal(), Refusal::NotFound);
        assert_eq!(EntityError::from(sqlx::Error::WorkerCrashed).refusal(), Refusal::Internal);
        let taken = EntityError::Taken("name".into());
        assert_eq!(taken.refusal(), Refusal::Conflict("name_taken".into()));
        assert_eq!(taken.to_string(), "another one has this name");
    }
}
