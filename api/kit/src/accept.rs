//! The link by which an invitation is accepted.

use domain::invitation_link::Link;

use crate::App;

/// A fresh token, in a link to the page of the web app that accepts it.
#[must_use]
pub fn accept_link(app: &App) -> Link {
    Link::fresh(|token| app.config.app_link("accept-invitation", &[("token", token)]))
}
