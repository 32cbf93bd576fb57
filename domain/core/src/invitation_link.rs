//! The link by which an invitation is accepted.

use crate::secret;

/// The newest token of an invitation, and the URL with it.
#[derive(Clone)]
pub struct Link {
    /// The token; stored as its hash only.
    pub token: String,
    /// URL of the web app's page that accepts it.
    pub url: String,
}

impl Link {
    /// A new token, and its URL.
    pub fn fresh(url: impl FnOnce(&str) -> String) -> Self {
        let token = secret::generate();
        Self { url: url(&token), token }
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Link(…)")
    }
}
