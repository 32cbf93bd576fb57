//! Counting at the edge, for requests that no extractor counts. A request without a credential is counted before any
//! work for it, any other one when it is answered uncounted.

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

/// Probes of supervisors: counted by each process alone, in a bucket of their own, so that
/// neither other requests from the same address nor an outage of Redis lets a supervisor consider the process dead.
const PROBES: [&str; 3] = ["/health", "/ready", "/metrics"];

/// A request as counted at the edge.
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
    /// 429 beyond the limit.
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

    /// Counts an answered request that was not counted before. Beyond the limit, a read or refused request is refused
    /// for it; a completed effect is not, and its answer is sent.
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
