//! The link by which an invitation is accepted.

use crate::secret;

/// The newest token of an invitation, and the page that takes it.
#[derive(Clone)]
pub struct Link {
    /// The token; stored as its hash only.
    pub token: String,
    /// Where the web app accepts it.
    pub url: String,
}

impl Link {
    /// A fresh token, in a link that is made of it.
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
