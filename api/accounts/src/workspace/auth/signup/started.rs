//! A sign-up, or whatever else makes a workspace, after it was accepted: its links, the wait for it, and what
//! it ends with.

use domain::WorkspaceId;
use std::time::Duration;

use api_kit::{Answer, ApiError, App, Visitor, wait_for_end};
use domain_accounts::signups::{Delivered, Started};
use jobs::watch::{Snapshot, Status};
use poem::http::StatusCode;
use poem_openapi::Object;

use super::super::Tokens;

/// How long a request waits for its job.
const PATIENCE: Duration = Duration::from_secs(30);

/// A workspace on its way.
#[derive(Debug, Object)]
pub struct SignupStarted {
    /// Names it in its URLs. A secret: its holder gets the tokens.
    job_id: String,
    /// Its snapshot, for polling.
    status_url: String,
    /// Its events, for `EventSource`.
    stream_url: String,
}

/// An account with its first session.
#[derive(Debug, Object)]
pub(super) struct SignedUp {
    #[oai(flatten)]
    tokens: Tokens,
    /// The new workspace.
    workspace_id: WorkspaceId,
    /// What it is called.
    workspace_name: String,
    /// Where payments are taken and nothing was said to pay with: the page to say it.
    #[oai(skip_serializing_if_is_none)]
    checkout_url: Option<String>,
}

impl From<Started> for SignupStarted {
    fn from(started: Started) -> Self {
        let status_url = format!("/api/v1/auth/signup/jobs/{}", started.token);
        Self { stream_url: format!("{status_url}/stream"), status_url, job_id: started.token }
    }
}

impl SignedUp {
    pub(super) fn of(app: &App, delivered: Delivered) -> Answer<Self> {
        // A session that has just been opened can't be over.
        let opened = delivered.session.ok_or_else(ApiError::token_invalid)?;
        Ok(Self {
            tokens: Tokens::as_of(app, opened, delivered.opened_at)?,
            workspace_id: delivered.workspace_id,
            workspace_name: delivered.workspace_name,
            checkout_url: delivered.checkout_url,
        })
    }
}

/// Waits for the workspace, for as long as a request may: whether it is there. For routes that are
/// `unhurried`. A request with an `Idempotency-Key` doesn't wait: its job is committed with its answer.
///
/// # Errors
/// Why it never will be; with the code that is given, unless there is a better one.
pub(crate) async fn is_ready(
    app: &App,
    visitor: &Visitor,
    started: &Started,
    code: &'static str,
) -> Answer<bool> {
    match wait_for_end(&app.hub, visitor, started.job, PATIENCE).await? {
        Some(end) if end.event.status == Status::Completed => Ok(true),
        Some(end) => Err(failed(&end, code)),
        None => Ok(false),
    }
}

/// The job ended without a workspace.
fn failed(end: &Snapshot, code: &'static str) -> ApiError {
    let detail = end.event.error_message.as_deref().unwrap_or("it was stopped");
    let said = end.error.as_ref().and_then(|error| error["code"].as_str());
    match said {
        Some("email_taken") => ApiError::conflict("email_taken", detail),
        Some("payment_refused") => ApiError::new(StatusCode::PAYMENT_REQUIRED, "payment_refused", detail),
        _ => ApiError::conflict(code, detail),
    }
}

/// Refuses what has to do with payments where none are taken.
pub(crate) fn takes_payments(app: &App) -> Answer<()> {
    let refused = |error: runtime::stripe::NotConfigured| {
        ApiError::unavailable("stripe_not_configured", error.to_string())
    };
    app.payments.account().map(|_| ()).map_err(refused)
}
