//! How a connection to PostgreSQL begins. Its settings are statements after the start, never part of it: a pooler
//! such as `PgBouncer` refuses a start-up message with settings that it doesn't know, and in session mode keeps those
//! that a statement has made.

use std::str::FromStr;

use sqlx::{AssertSqlSafe, Connection, PgConnection, postgres::PgConnectOptions};

/// The options of a connection under Millrace's own login, which PostgreSQL lists under `application`.
///
/// # Errors
/// [`sqlx::Error::Configuration`] when the URL is malformed.
pub fn options(url: &str, application: &str) -> Result<PgConnectOptions, sqlx::Error> {
    // Floats travel in binary, so their number of digits needs no setting.
    Ok(PgConnectOptions::from_str(url)?.application_name(application).extra_float_digits(None))
}

/// The statements that make these settings, each for as long as the connection lasts. Names and values are the
/// program's own.
pub(crate) fn settings<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    settings
        .into_iter()
        .map(|(name, value)| format!("set {name} = {value};"))
        // Compiling a plan costs more than any of these statements takes.
        .chain(["set jit = off;".to_owned(), "set timezone = 'UTC';".to_owned()])
        .collect()
}

/// Runs the statements of [`settings`] on a connection.
pub(crate) async fn apply(connection: &mut PgConnection, settings: &str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(settings.to_owned())).execute(connection).await?;
    Ok(())
}

/// A connection of its own with these settings.
pub(crate) async fn connect(options: &PgConnectOptions, settings: &str) -> Result<PgConnection, sqlx::Error> {
    let mut connection = PgConnection::connect_with(options).await?;
    apply(&mut connection, settings).await?;
    Ok(connection)
}
