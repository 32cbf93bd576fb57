//! The configuration of the API process.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use api_kit::ApiConfig;
use jobs::PayloadKeys;
use runtime::{
    servers::Servers,
    settings::{SettingError, Settings},
    storage::Storage,
    stripe::Payments,
};

use crate::Crowd;

/// Maximum of `SHUTDOWN_DELAY_SECONDS`.
const MAX_SHUTDOWN_DELAY: u64 = 3600;
/// Maximum of `MAX_CONNECTIONS_PER_ADDRESS`: a process can't open more files.
const MAX_CONNECTIONS: usize = 1_000_000;

/// The environment of the API process.
#[derive(Clone)]
pub struct Config {
    /// PostgreSQL and Redis; 20 connections unless `DATABASE_CONNECTIONS` is set.
    pub servers: Servers,
    /// `MILLRACE_SECRET`: secret for signing tokens, tickets and links; 32 characters or more, the same
    /// in every API process.
    pub secret: String,
    /// `JOB_ENCRYPTION_KEY`: key for encrypting secrets in jobs' payloads.
    pub payload_keys: PayloadKeys,
    /// `HOST` and `PORT`: address to listen on. Default: `127.0.0.1:8080`.
    pub listen: SocketAddr,
    /// `SHUTDOWN_DELAY_SECONDS`: time for which `/ready` answers 503, after SIGTERM, before the listener closes.
    /// Default: 5.
    pub shutdown_delay: Duration,
    /// `STORAGE_URL`: location of files' bytes. See [`Storage::from_settings`].
    pub storage: Storage,
    /// `STRIPE_…`: access to payments. See [`Payments::from_settings`].
    pub payments: Payments,
    /// `MAX_CONNECTIONS_PER_ADDRESS`: maximum number of open connections of one client; 0 for no limit.
    /// Default: 1000.
    pub connections_per_address: usize,
    /// Configuration of the handling of requests.
    pub api: ApiConfig,
}

impl Config {
    /// Reads the configuration.
    ///
    /// # Errors
    /// The first variable that is missing or malformed.
    pub fn read(settings: &Settings) -> Result<Self, SettingError> {
        let secret = settings.secret("MILLRACE_SECRET")?.ok_or(SettingError::Missing("MILLRACE_SECRET"))?;
        let host = settings.parsed("HOST", IpAddr::V4(Ipv4Addr::LOCALHOST))?;
        Ok(Self {
            servers: Servers::from_settings(settings, 20)?,
            secret: secret.to_owned(),
            payload_keys: settings.required_as("JOB_ENCRYPTION_KEY")?,
            listen: SocketAddr::new(host, settings.within("PORT", 8080, 1..=u16::MAX)?),
            shutdown_delay: Duration::from_secs(settings.within(
                "SHUTDOWN_DELAY_SECONDS",
                5,
                0..=MAX_SHUTDOWN_DELAY,
            )?),
            storage: Storage::from_settings(settings)?,
            payments: Payments::from_settings(settings)?,
            connections_per_address: settings.within(
                "MAX_CONNECTIONS_PER_ADDRESS",
                1000,
                0..=MAX_CONNECTIONS,
            )?,
            api: ApiConfig::from_settings(settings)?,
        })
    }

    /// The limit of connections per client.
    #[must_use]
    pub fn crowd(&self) -> Crowd {
        Crowd::new(self.connections_per_address, self.api.trusted_proxies.clone())
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // URLs hold passwords.
        f.debug_struct("Config").field("listen", &self.listen).field("api", &self.api).finish_non_exhaustive()
    }
}
