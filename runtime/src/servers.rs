//! The servers that every process needs, from its environment.

use std::time::Duration;

use jobs::{Bus, Connect, ConnectError, Database, FairUse};

use crate::{
    redis_tls,
    settings::{SettingError, Settings},
};

/// Maximum length of `REDIS_PREFIX`.
const MAX_PREFIX_LENGTH: usize = 64;
/// Maximum number of a process's connections to PostgreSQL: no server accepts more.
const MAX_CONNECTIONS: u32 = 10_000;

/// Addresses and use of PostgreSQL and Redis.
#[derive(Clone)]
pub struct Servers {
    /// `DATABASE_URL`: PostgreSQL, as Millrace's own login.
    pub database_url: String,
    /// `REDIS_URL`.
    pub redis_url: String,
    /// `REDIS_TLS_CA_FILE`: CA certificates (PEM) for Redis, in place of the system's.
    pub redis_ca: Option<Vec<u8>>,
    /// `REDIS_PREFIX`: prefix of every name in Redis. Default: `mr`.
    pub redis_prefix: String,
    /// `DATABASE_CONNECTIONS`: maximum number of connections per process.
    pub connections: u32,
    /// `WORKSPACE_CONNECTIONS`: maximum number of these for one workspace's requests. Default: a quarter.
    pub workspace_connections: u32,
    /// `LONG_READS`: maximum number of concurrent long reads. Default: a tenth of the connections.
    pub long_reads: u32,
}

impl Servers {
    /// Reads the variables. `connections` is the default of `DATABASE_CONNECTIONS`.
    ///
    /// # Errors
    /// The first variable that is missing or malformed.
    pub fn from_settings(settings: &Settings, connections: u32) -> Result<Self, SettingError> {
        let connections = settings.within("DATABASE_CONNECTIONS", connections, 1..=MAX_CONNECTIONS)?;
        let of_these = |name, default: u32| settings.within(name, default.max(1), 1..=connections);
        Ok(Self {
            database_url: database_url(settings)?,
            redis_url: redis_url(settings)?,
            redis_ca: redis_tls::ca(settings)?,
            redis_prefix: redis_prefix(settings)?,
            connections,
            workspace_connections: of_these("WORKSPACE_CONNECTIONS", connections / 4)?,
            long_reads: of_these("LONG_READS", connections / 10)?,
        })
    }

    /// Fair use of the connections in a process that answers requests.
    #[must_use]
    pub fn fair_use(&self, statement_timeout: Duration) -> FairUse {
        FairUse {
            per_workspace: self.workspace_connections as usize,
            long_reads: self.long_reads as usize,
            statement_timeout,
        }
    }

    /// Connects to both. Either end of a connection, and an open transaction, may be silent for `silence`. Processes
    /// that answer requests pass limits of fair use.
    ///
    /// # Errors
    /// When a server is unreachable.
    pub async fn connect(
        &self,
        silence: Duration,
        fair_use: Option<FairUse>,
    ) -> Result<Database, ConnectError> {
        Database::connect(&Connect {
            database_url: &self.database_url,
            redis_url: &self.redis_url,
            redis_ca: self.redis_ca.as_deref(),
            redis_prefix: &self.redis_prefix,
            connections: self.connections,
            silence,
            fair_use,
        })
        .await
    }
}

impl std::fmt::Debug for Servers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // URLs hold passwords.
        f.debug_struct("Servers")
            .field("redis_prefix", &self.redis_prefix)
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

/// `DATABASE_URL`.
///
/// # Errors
/// When it is missing or malformed.
pub fn database_url(settings: &Settings) -> Result<String, SettingError> {
    const NAME: &str = "DATABASE_URL";
    let url = settings.required(NAME)?.trim();
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err(SettingError::malformed(NAME, "expected postgres://user:password@host/database"));
    }
    // The faulty part of a URL may be its password, so the parser's own message is left out.
    jobs::server::options(url, "millrace").map_err(|error| {
        let reason = match error {
            sqlx::Error::Configuration(cause) if cause.is::<url::ParseError>() => cause.to_string(),
            _ => "expected postgres://user:password@host/database".to_owned(),
        };
        SettingError::malformed(NAME, reason)
    })?;
    Ok(url.to_owned())
}

fn redis_url(settings: &Settings) -> Result<String, SettingError> {
    const NAME: &str = "REDIS_URL";
    let url = settings.required(NAME)?.trim();
    Bus::check_url(url).map_err(|error| SettingError::malformed(NAME, error))?;
    Ok(url.to_owned())
}

fn redis_prefix(settings: &Settings) -> Result<String, SettingError> {
    let prefix = settings.get("REDIS_PREFIX").unwrap_or("mr");
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
    if prefix.len() > MAX_PREFIX_LENGTH || !prefix.chars().all(is_good) {
        let reason = format!("expected at most {MAX_PREFIX_LENGTH} letters, digits, '_', '-', '.' and ':'");
        return Err(SettingError::malformed("REDIS_PREFIX", reason));
    }
    Ok(prefix.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(changed: (&str, &str)) -> Result<Servers, SettingError> {
        let good =
            [("DATABASE_URL", "postgres://m:p@localhost/m"), ("REDIS_URL", "redis://localhost:6379/0")];
        let variables = good.into_iter().chain([changed]);
        let settings = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Servers::from_settings(&settings, 16)
    }

    #[test]
    fn servers_are_read_with_their_defaults() {
        let servers = read(("REDIS_PREFIX", "staging:mr-1")).unwrap();
        assert_eq!((servers.connections, servers.redis_prefix.as_str()), (16, "staging:mr-1"));
        assert_eq!((servers.workspace_connections, servers.long_reads), (4, 1));
    }

    #[test]
    fn malformed_servers_are_told_without_their_value() {
        for (name, value) in [
            ("DATABASE_URL", "mysql://m:hunter2@localhost/m"),
            ("DATABASE_URL", "hunter2"),
            ("DATABASE_URL", "postgres://m:hunter2@localhost:port/m"),
            ("DATABASE_URL", "postgres://m:hunter2@localhost/m?sslmode=hunter2"),
            ("DATABASE_CONNECTIONS", "0"),
            ("DATABASE_CONNECTIONS", "99999"),
            ("WORKSPACE_CONNECTIONS", "0"),
            ("WORKSPACE_CONNECTIONS", "17"),
            ("LONG_READS", "0"),
            ("LONG_READS", "many"),
            ("REDIS_URL", "http://localhost:6379?hunter2"),
            ("REDIS_URL", "hunter2"),
            ("REDIS_PREFIX", "a b"),
            ("REDIS_PREFIX", "a*"),
        ] {
            let error = read((name, value)).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{name} is malformed: ")), "{error}");
            assert!(!error.contains("hunter2") && !error.contains('\n'), "{error}");
        }
    }
}
