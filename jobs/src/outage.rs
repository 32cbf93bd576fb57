//! Classification of database errors: the connection to the server, or the statement itself.

/// Whether the database was unreachable, or can't be written to: no failure of the request.
///
/// Class 08 are connection exceptions; 57P0x: the server is being stopped, started, or has ended the session;
/// 25006: it is read-only, as a standby is; 53300: it has no connection left.
#[must_use]
pub fn is_outage(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            code.starts_with("08") || code.starts_with("57P0") || code == "25006" || code == "53300"
        }),
        _ => false,
    }
}

/// Whether the database refused the statement, and would refuse it again: class 22 are values that
/// it can't store, 23 violated constraints, 54 exceeded limits.
pub(crate) fn is_refusal(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Encode(_) => true,
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.starts_with(class)))
        }
        _ => false,
    }
}
