//! Counting at the edge: whatever no extractor counts. A request without a credential is counted before anything
//! is done for it, one that nobody has counted when it is answered.

use std::net::IpAddr;

use poem::{
    Request, Response,
    http::{Method, header},
};

use super::cors;
use crate::{
    App, ClientAddress,
    error::ApiError,
    rate_limit::{Asking, Standing},
};

/// What supervisors ask for, again and again: counted by each process for itself, in a bucket of its own, so that
/// whatever strangers at the same address do, and whether Redis answers, nobody takes this process for dead.
const PROBES: [&str; 3] = ["/health", "/ready", "/metrics"];

/// A request as it is counted at the edge.
#[derive(Debug, Clone)]
pub(super) struct Charge {
    app: App,
    ip: Option<IpAddr>,
    standing: Standing,
    reads: bool,
}

impl Charge {
    pub(super) fn new(app: &App, request: &Request, standing: &Standing) -> Self {
        Self {
            app: app.clone(),
            ip: request.data::<ClientAddress>().map(|address| address.0),
            standing: standing.clone(),
            reads: matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS),
        }
    }

    fn asking(&self) -> Asking<'_> {
        Asking { ip: self.ip, standing: Some(&self.standing) }
    }

    /// Counts a request that brings no credential, and a preflight request whatever it brings.
    ///
    /// # Errors
    /// 429, when it is one too many.
    pub(super) async fn before(&self, request: &Request) -> Result<(), ApiError> {
        let (app, uri) = (&self.app, request.uri());
        if PROBES.contains(&uri.path()) {
            return app.rates.charge_probe(&app.database, self.asking()).await;
        }
        if cors::is_preflight(request) {
            return app.rates.charge_preflight(&app.database, self.asking()).await;
        }
        let brings_ticket =
            uri.query().is_some_and(|query| query.split('&').any(|pair| pair.starts_with("ticket=")));
        if brings_ticket || request.headers().contains_key(header::AUTHORIZATION) {
            return Ok(());
        }
        app.rates.charge_stranger(&app.database, self.asking()).await
    }

    /// Counts a request that was answered without being counted. What was only read, or refused, is then refused
    /// for being one too many; an effect has happened, and its answer is the client's.
    pub(super) async fn after(
        &self,
        answer: Response,
        render: impl FnOnce(ApiError) -> Response,
    ) -> Response {
        if self.standing.is_charged() {
            return answer;
        }
        match self.app.rates.charge_stranger(&self.app.database, self.asking()).await {
            Err(refused) if self.reads || !answer.status().is_success() => render(refused),
            _ => answer,
        }
    }
}
