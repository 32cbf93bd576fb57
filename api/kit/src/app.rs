//! `App`: the resources of the process, passed to every handler.

use std::{fmt, ops::Deref, sync::Arc, time::Duration};

use domain::{WorkspaceId, callers::Brought};
use ipnet::IpNet;
use jobs::{Database, places::Places};
use poem::http::HeaderValue;
use runtime::{
    settings::{SettingError, Settings},
    web_app,
};
use url::Url;

use crate::{Admissions, RateLimiter, SharedSecret, Signer};

/// Maximum of `MAX_UPLOAD_BYTES`: a TiB.
const MAX_UPLOAD: u64 = 1 << 40;
/// Maximum of `MAX_OWNED_WORKSPACES`.
const MAX_OWNED: i64 = 1_000_000;
/// Maximum length of `REGION`.
const MAX_REGION_LENGTH: usize = 64;

/// A cheap handle on the resources of the API process. Handlers take it as `Data<&App>`.
#[derive(Clone)]
pub struct App {
    /// PostgreSQL and the bus: without a workspace, or for a request of one.
    pub database: Arc<Database>,
    services: Arc<Services>,
}

/// The parts of an [`App`].
pub struct Services {
    /// PostgreSQL and the bus.
    pub database: Database,
    /// Configuration of this process.
    pub config: ApiConfig,
    /// Signer of tokens, tickets and links.
    pub keys: Signer,
    /// Counter of requests.
    pub rates: RateLimiter,
    /// Number of concurrent look-ups for the requests of one credential.
    pub lookups: Places<Brought>,
    /// Watchers of jobs.
    pub hub: jobs::watch::Hub,
    /// Authorizations of the open answers.
    pub admissions: Admissions,
    /// Storage of files' bytes.
    pub storage: runtime::storage::Storage,
    /// Access to payments.
    pub payments: runtime::stripe::Payments,
}

impl App {
    /// An app made of these parts.
    #[must_use]
    pub fn new(services: Services) -> Self {
        Self { database: Arc::new(services.database.clone()), services: Arc::new(services) }
    }

    /// The same app for one request of a workspace, whose share of the connections it uses.
    #[must_use]
    pub fn on_behalf_of(&self, workspace: WorkspaceId) -> Self {
        let database = Arc::new(self.database.on_behalf_of(workspace.0));
        Self { database, services: Arc::clone(&self.services) }
    }
}

impl Deref for App {
    type Target = Services;

    fn deref(&self) -> &Services {
        &self.services
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Configuration of the handling of requests: origins, proxies, sizes and times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiConfig {
    /// `CORS_ORIGINS`: web origins that browsers may call from.
    pub cors_origins: Vec<HeaderValue>,
    /// `APP_URL`: URL of the web app, for links in emails.
    pub app_url: Url,
    /// `TRUSTED_PROXIES`: networks whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// `MAX_UPLOAD_BYTES`: maximum size of an uploaded file.
    pub max_upload_bytes: u64,
    /// `REGION`: region of this installation, as `/health` shows it.
    pub region: String,
    /// `OPERATOR_TOKEN`: credential of the routes below `/ops`; without it they are closed.
    pub operator_token: Option<SharedSecret>,
    /// `CLERK_SECRET`: secret of the route that checks Clerk's users; without it that route is closed.
    pub clerk_secret: Option<SharedSecret>,
    /// Maximum size of a JSON body.
    pub max_json_bytes: usize,
    /// Maximum duration of a request, except streams, uploads and long polls.
    pub request_timeout: Duration,
    /// Lifetime of an access token.
    pub access_token_lifetime: Duration,
    /// `MAX_OWNED_WORKSPACES`: maximum number of workspaces that one user may create.
    pub max_owned_workspaces: i64,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            cors_origins: Vec::new(),
            app_url: web_app::default_base(),
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
    /// A page of the web app, for a link in an email: `page` below [`Self::app_url`], with a query.
    #[must_use]
    pub fn app_link(&self, page: &str, query: &[(&str, &str)]) -> String {
        web_app::link(&self.app_url, page, query)
    }

    /// Reads the configuration from the process's settings.
    pub fn from_settings(settings: &Settings) -> Result<Self, SettingError> {
        let defaults = Self::default();
        Ok(Self {
            cors_origins: origins(settings)?,
            app_url: web_app::base(settings)?,
            trusted_proxies: settings.list("TRUSTED_PROXIES")?,
            max_upload_bytes: settings.within(
                "MAX_UPLOAD_BYTES",
                defaults.max_upload_bytes,
                1..=MAX_UPLOAD,
            )?,
            region: region(settings)?.unwrap_or(defaults.region),
            operator_token: settings.optional("OPERATOR_TOKEN")?,
            clerk_secret: settings.optional("CLERK_SECRET")?,
            max_owned_workspaces: settings.within(
                "MAX_OWNED_WORKSPACES",
                defaults.max_owned_workspaces,
                0..=MAX_OWNED,
            )?,
            ..defaults
        })
    }
}

/// `CORS_ORIGINS`: each as browsers write it in `Origin`, since it is compared with that.
fn origins(settings: &Settings) -> Result<Vec<HeaderValue>, SettingError> {
    const NAME: &str = "CORS_ORIGINS";
    let texts: Vec<String> = settings.list(NAME)?;
    let origin = |text: String| {
        let is_one = Url::parse(&text).is_ok_and(|url| {
            let is_web = matches!(url.scheme(), "http" | "https");
            // A URL may have a `*` in its host, which is no wildcard.
            is_web && !text.contains('*') && url.origin().ascii_serialization() == text
        });
        HeaderValue::from_str(&text).ok().filter(|_| is_one).ok_or_else(|| {
            let expected = "expected scheme://host, with :port where it is not the scheme's own, and nothing behind \
                            it, such as https://app.example.com";
            SettingError::malformed(NAME, expected)
        })
    };
    texts.into_iter().map(origin).collect()
}

/// `REGION`.
fn region(settings: &Settings) -> Result<Option<String>, SettingError> {
    const NAME: &str = "REGION";
    let Some(region) = settings.get(NAME).map(str::trim) else { return Ok(None) };
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if region.len() > MAX_REGION_LENGTH || !region.chars().all(is_good) {
        let expected = format!("expected at most {MAX_REGION_LENGTH} of a-z, A-Z, 0-9, '-', '_' and '.'");
        return Err(SettingError::malformed(NAME, expected));
    }
    Ok(Some(region.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, value: &str) -> Result<ApiConfig, SettingError> {
        ApiConfig::from_settings(&[(name.to_owned(), value.to_owned())].into_iter().collect())
    }

    #[test]
    fn origins_are_as_browsers_send_them() {
        let good = read("CORS_ORIGINS", "https://app.example.com, http://localhost:5173").unwrap();
        assert_eq!(good.cors_origins, ["https://app.example.com", "http://localhost:5173"]);
        for bad in [
            "*",
            "app.example.com",
            "https://app.example.com/",
            "https://app.example.com:443",
            "https://App.example.com",
            "https://*.example.com",
            "file:///a",
        ] {
            assert!(read("CORS_ORIGINS", bad).is_err(), "{bad}");
        }
    }
}
