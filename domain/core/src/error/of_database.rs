//! What the errors of the database are to callers.

use super::{DATABASE_UNREACHABLE, Error};

/// PostgreSQL's code for a statement that ran into its timeout.
const QUERY_CANCELED: &str = "57014";

/// What the database means: a row that was to be fetched and isn't there is [`Error::not_found`], and the violation of
/// a unique constraint or index named `<table>_<field>_key` is [`Error::taken`] of that field. A section thus refuses by
/// its SQL, with `?` and no code of its own. The cause is kept for the log and for jobs.
impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let refusal = match &error {
            sqlx::Error::RowNotFound => Some(Self::not_found()),
            sqlx::Error::Database(reported) => violation(&**reported),
            _ => None,
        };
        if let Some(refusal) = refusal {
            return Self { source: Some(error.into()), ..refusal };
        }
        match &error {
            sqlx::Error::PoolTimedOut => Self::overloaded(1, error),
            // A statement timeout: the client sees what it sees of a slow request.
            sqlx::Error::Database(reported) if reported.code().as_deref() == Some(QUERY_CANCELED) => {
                Self::unavailable("timeout", error)
            }
            _ if jobs::is_outage(&error) => Self::unavailable(DATABASE_UNREACHABLE, error),
            _ => Self::internal(error),
        }
    }
}

/// The error of a violated constraint: one that only the database can decide, or that was not violated when it was
/// checked and no longer is at the commit.
fn violation(error: &dyn sqlx::error::DatabaseError) -> Option<Error> {
    match error.constraint()? {
        "workspace_keeps_an_owner" => Some(Error::last_owner()),
        "users_email_key" => Some(Error::email_taken()),
        constraint if error.is_unique_violation() => {
            taken_field(error.table()?, constraint).map(Error::taken)
        }
        _ => None,
    }
}

/// The field that the name of a unique constraint tells.
fn taken_field<'c>(table: &str, constraint: &'c str) -> Option<&'c str> {
    constraint.strip_prefix(table)?.strip_prefix('_')?.strip_suffix("_key")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn the_name_of_a_constraint_tells_the_field() {
        assert_eq!(taken_field("bookmarks", "bookmarks_name_key"), Some("name"));
        assert_eq!(taken_field("price_lists", "price_lists_valid_from_key"), Some("valid_from"));
        assert_eq!(taken_field("bookmarks", "bookmarks_pkey"), None);
        assert_eq!(taken_field("bookmarks", "bookmarksname_key"), None);
        assert_eq!(taken_field("bookmarks", "other_name_key"), None);
    }

    #[test]
    fn a_row_that_is_not_there_is_not_found_and_other_faults_stay_ours() {
        assert_eq!(Error::from(sqlx::Error::RowNotFound).kind(), &ErrorKind::NotFound);
        assert_eq!(Error::from(sqlx::Error::WorkerCrashed).kind(), &ErrorKind::Internal);
        assert_eq!(Error::from(sqlx::Error::PoolTimedOut).kind(), &ErrorKind::Overloaded(1));
        let taken = Error::taken("name");
        assert_eq!(taken.kind(), &ErrorKind::Conflict("name_taken".into()));
        assert_eq!(taken.to_string(), "this name is already taken");
    }
}
