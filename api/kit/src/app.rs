//! `App`: what the process has, handed to every handler.

use std::{fmt, ops::Deref, sync::Arc, time::Duration};

use domain::settings::{SettingError, Settings};
use ipnet::IpNet;
use poem::http::HeaderValue;
use url::Url;

use crate::{Admissions, RateLimiter, SharedSecret, Signer};

/// A cheap handle on what the API process has. Handlers take it as `Data<&App>`.
#[derive(Clone)]
pub struct App(Arc<Services>);

/// The parts of an [`App`].
pub struct Services {
    /// PostgreSQL and the bus.
    pub database: jobs::Database,
    /// How this process is set up.
    pub config: ApiConfig,
    /// What signs tokens, tickets and links.
    pub keys: Signer,
    /// What counts requests.
    pub rates: RateLimiter,
    /// Who watches which job.
    pub hub: jobs::watch::Hub,
    /// Who may go on watching.
    pub admissions: Admissions,
    /// Where files' bytes are.
    pub storage: domain::storage::Storage,
    /// How payments are taken.
    pub payments: domain::stripe::Payments,
}

impl App {
    /// An app made of these parts.
    #[must_use]
    pub fn new(services: Services) -> Self {
        Self(Arc::new(services))
    }
}

impl Deref for App {
    type Target = Services;

    fn deref(&self) -> &Services {
        &self.0
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("config", &self.config).finish_non_exhaustive()
    }
}

/// How requests are taken: origins, proxies, sizes and times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiConfig {
    /// `CORS_ORIGINS`: web origins that browsers may call from.
    pub cors_origins: Vec<HeaderValue>,
    /// `APP_URL`: where the web app is, for links in mails.
    pub app_url: Url,
    /// `TRUSTED_PROXIES`: networks whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// `MAX_UPLOAD_BYTES`: the largest file that an upload takes.
    pub max_upload_bytes: u64,
    /// `REGION`: where this installation runs, as `/health` tells it.
    pub region: String,
    /// `OPERATOR_TOKEN`: what opens the routes below `/ops`; without one they are closed.
    pub operator_token: Option<SharedSecret>,
    /// `CLERK_SECRET`: what whoever checks Clerk's people shows; without one that route is closed.
    pub clerk_secret: Option<SharedSecret>,
    /// The largest JSON body.
    pub max_json_bytes: usize,
    /// How long a request may take, streams, uploads and long polls apart.
    pub request_timeout: Duration,
    /// How long an access token is good for.
    pub access_token_lifetime: Duration,
    /// `MAX_OWNED_WORKSPACES`: how many workspaces one person may make.
    pub max_owned_workspaces: i64,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            cors_origins: Vec::new(),
            app_url: domain::web_app::default_base(),
            trusted_proxies: Vec::new(),
            max_upload_bytes: 1 << 30,
            region: "local".to_owned(),
            operator_token: None,
            clerk_secret: None,
            max_json_bytes: 1 << 20,
            request_timeout: Duration::from_secs(30),
            access_token_lifetime: Duration::from_mins(30),
            max_owned_workspaces: 50,
        }
    }
}

impl ApiConfig {
    /// A page of the web app, for a link in a mail: `page` below [`Self::app_url`], with a query.
    #[must_use]
    pub fn app_link(&self, page: &str, query: &[(&str, &str)]) -> String {
        domain::web_app::link(&self.app_url, page, query)
    }

    /// Reads it from a process's settings.
    pub fn from_settings(settings: &Settings) -> Result<Self, SettingError> {
        let defaults = Self::default();
        Ok(Self {
            cors_origins: settings.list("CORS_ORIGINS")?,
            app_url: settings.parsed("APP_URL", defaults.app_url)?,
            trusted_proxies: settings.list("TRUSTED_PROXIES")?,
            max_upload_bytes: settings.parsed("MAX_UPLOAD_BYTES", defaults.max_upload_bytes)?,
            region: settings.get("REGION").map_or(defaults.region, str::to_owned),
            operator_token: settings.optional("OPERATOR_TOKEN")?,
            clerk_secret: settings.optional("CLERK_SECRET")?,
            max_owned_workspaces: settings.parsed("MAX_OWNED_WORKSPACES", defaults.max_owned_workspaces)?,
            ..defaults
        })
    }
}
