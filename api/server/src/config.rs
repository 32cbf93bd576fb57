//! The configuration of the API process.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use api_kit::ApiConfig;
use domain::{
    servers::Servers,
    settings::{SettingError, Settings},
    storage::Storage,
    stripe::Payments,
};
use jobs::PayloadKeys;

/// How short `MILLRACE_SECRET` may be.
const SECRET_LENGTH: usize = 32;

/// What the API process is told by its environment.
#[derive(Clone)]
pub struct Config {
    /// PostgreSQL and Redis; 20 connections unless `DATABASE_CONNECTIONS` says otherwise.
    pub servers: Servers,
    /// `MILLRACE_SECRET`: what tokens, tickets and links are signed with; 32 characters or more, the same
    /// in every API process.
    pub secret: String,
    /// `JOB_ENCRYPTION_KEY`: what secrets in jobs' payloads are encrypted with.
    pub payload_keys: PayloadKeys,
    /// `HOST` and `PORT`: where it listens. `127.0.0.1:8080`.
    pub listen: SocketAddr,
    /// `SHUTDOWN_DELAY_SECONDS`: how long `/ready` says 503, after SIGTERM, before the listener closes. 5.
    pub shutdown_delay: Duration,
    /// `STORAGE_URL`: where files' bytes are. See [`Storage::from_settings`].
    pub storage: Storage,
    /// `STRIPE_…`: how payments are taken. See [`Payments::from_settings`].
    pub payments: Payments,
    /// How requests are taken.
    pub api: ApiConfig,
}

impl Config {
    /// Reads it.
    ///
    /// # Errors
    /// The first variable that is missing or malformed.
    pub fn read(settings: &Settings) -> Result<Self, SettingError> {
        let secret = settings.required("MILLRACE_SECRET")?;
        if secret.chars().count() < SECRET_LENGTH {
            return Err(SettingError::malformed(
                "MILLRACE_SECRET",
                format!("needs {SECRET_LENGTH} characters or more"),
            ));
        }
        let host = settings.parsed("HOST", IpAddr::V4(Ipv4Addr::LOCALHOST))?;
        Ok(Self {
            servers: Servers::from_settings(settings, 20)?,
            secret: secret.to_owned(),
            payload_keys: settings.required_as("JOB_ENCRYPTION_KEY")?,
            listen: SocketAddr::new(host, settings.parsed("PORT", 8080)?),
            shutdown_delay: Duration::from_secs(settings.parsed("SHUTDOWN_DELAY_SECONDS", 5)?),
            storage: Storage::from_settings(settings)?,
            payments: Payments::from_settings(settings)?,
            api: ApiConfig::from_settings(settings)?,
        })
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // URLs hold passwords.
        f.debug_struct("Config").field("listen", &self.listen).field("api", &self.api).finish_non_exhaustive()
    }
}
