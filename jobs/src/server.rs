//! The start of a connection to PostgreSQL. Its settings are statements after the start, never part of it: a pooler
//! such as `PgBouncer` refuses a start-up message with settings that it doesn't know, and in session mode keeps those
//! that a statement has made.

use std::{str::FromStr, sync::Arc, time::Duration};

use sqlx::{
    AssertSqlSafe, Connection, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgSslMode},
};

use crate::tcp;

/// The options of a connection under Millrace's own login, which PostgreSQL lists under `application`.
///
/// # Errors
/// [`sqlx::Error::Configuration`] when the URL is malformed.
pub fn options(url: &str, application: &str) -> Result<PgConnectOptions, sqlx::Error> {
    // Floats travel in binary, so their number of digits needs no setting.
    Ok(PgConnectOptions::from_str(url)?.application_name(application).extra_float_digits(None))
}

/// The statements for these settings, each for the life of the connection, and for the server to give up a
/// client that acknowledges nothing for `silence`. Names and values are the program's own.
pub(crate) fn settings<'a>(
    silence: Duration,
    settings: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> String {
    let (first, pause) = tcp::probes(silence);
    let limits = [
        ("tcp_user_timeout", silence.as_millis()),
        ("tcp_keepalives_idle", first.as_secs().into()),
        ("tcp_keepalives_interval", pause.as_secs().into()),
    ];
    settings
        .into_iter()
        .map(|(name, value)| format!("set {name} = {value};"))
        .chain(limits.map(|(name, value)| format!("set {name} = {value};")))
        // Compiling a plan costs more than any of these statements takes.
        .chain(["set jit = off;".to_owned(), "set timezone = 'UTC';".to_owned()])
        .collect()
}

/// Prepares a new connection: the statements of [`settings`], and a limit on its server's silence.
pub(crate) async fn begin(
    connection: &mut PgConnection,
    port: u16,
    silence: Duration,
    settings: &str,
) -> Result<(), sqlx::Error> {
    #[expect(clippy::disallowed_methods, reason = "it reads /proc once per connection, for no request")]
    let limited = tokio::task::spawn_blocking(move || tcp::limit_silence(port, silence)).await;
    if let Ok(Err(error)) = limited {
        tracing::warn!(%error, "connections to PostgreSQL have no limit on their server's silence");
    }
    sqlx::raw_sql(AssertSqlSafe(settings.to_owned())).execute(connection).await?;
    Ok(())
}

/// The settings of a process's connections; clones share them.
#[derive(Clone)]
pub(crate) struct Recipe(Arc<(PgConnectOptions, Duration, String)>);

impl std::fmt::Debug for Recipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The options hold a password.
        f.write_str("Recipe")
    }
}

impl Recipe {
    pub(crate) fn new(options: PgConnectOptions, silence: Duration, settings: String) -> Self {
        Self(Arc::new((options, silence, settings)))
    }

    /// Prepares a new connection of the pool.
    pub(crate) async fn begin(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let (options, silence, settings) = &*self.0;
        begin(connection, options.get_port(), *silence, settings).await
    }

    /// A connection of its own.
    pub(crate) async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        let mut connection = PgConnection::connect_with(&self.0.0).await?;
        self.begin(&mut connection).await?;
        Ok(connection)
    }
}

/// Logs a warning if `sslmode=prefer`, which is also the default, resulted in no encryption.
pub(crate) async fn tell_of_clear_text(options: &PgConnectOptions, pool: &PgPool) -> Result<(), sqlx::Error> {
    if options.get_socket().is_some()
        || !matches!(options.get_ssl_mode(), PgSslMode::Prefer | PgSslMode::Allow)
    {
        return Ok(());
    }
    let encrypted =
        sqlx::query_scalar!(r#"select ssl as "ssl!" from pg_stat_ssl where pid = pg_backend_pid()"#)
            .fetch_optional(pool)
            .await?;
    if encrypted != Some(true) {
        tracing::warn!(
            host = options.get_host(),
            "the connection to PostgreSQL is not encrypted; DATABASE_URL can require it by sslmode=verify-full, \
             or confirm that it is meant by sslmode=disable"
        );
    }
    Ok(())
}
