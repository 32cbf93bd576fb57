//! Links into the web app, which is a separate program.

use url::Url;

use crate::settings::{SettingError, Settings};

/// A page of the web app at `base`, with a query.
#[must_use]
pub fn link(base: &Url, page: &str, query: &[(&str, &str)]) -> String {
    let mut url = base.clone();
    url.set_path(&format!("{}/{page}", base.path().trim_end_matches('/')));
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    url.into()
}

/// Default URL of the web app.
///
/// # Panics
/// Never: the address is our own.
#[must_use]
pub fn default_base() -> Url {
    Url::parse("http://localhost:3000").expect("a URL of our own")
}

/// `APP_URL`: URL of the web app.
///
/// # Errors
/// When it is malformed.
pub fn base(settings: &Settings) -> Result<Url, SettingError> {
    Ok(settings.base_url("APP_URL")?.unwrap_or_else(default_base))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_goes_below_the_base_and_its_query_is_escaped() {
        let base = "https://app.example.com/workspaces/".parse().unwrap();
        assert_eq!(
            link(&base, "join", &[("token", "a b")]),
            "https://app.example.com/workspaces/join?token=a+b"
        );
        assert_eq!(link(&default_base(), "billing", &[]), "http://localhost:3000/billing");
    }
}
