//! A sign-up, or another request for a workspace, after it was accepted: its links, the wait for it, and its
//! result.

use domain::WorkspaceId;
use std::time::Duration;

use api_kit::{Answer, ApiError, App, Visitor, wait_for_end};
use domain_accounts::signups::{Delivered, Started};
use jobs::watch::{Snapshot, Status};
use poem::http::StatusCode;
use poem_openapi::Object;

use super::super::Tokens;

/// Maximum time that a request waits for its job.
const PATIENCE: Duration = Duration::from_secs(30);

/// A workspace that is being created.
#[derive(Debug, Object)]
pub struct SignupStarted {
    /// Id of the sign-up in its URLs. A secret: its holder receives the tokens.
    job_id: String,
    /// URL of the sign-up's snapshot, for polling.
    status_url: String,
    /// URL of the sign-up's events, for `EventSource`.
    stream_url: String,
}

/// A new account with its first session.
#[derive(Debug, Object)]
pub(super) struct SignedUp {
    #[oai(flatten)]
    tokens: Tokens,
    /// Id of the new workspace.
    workspace_id: WorkspaceId,
    /// Name of the new workspace.
    workspace_name: String,
    /// URL of the page to enter a payment method, where payments are enabled and none was given; null otherwise.
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
        // A session that has just been opened can't have ended.
        let opened = delivered.session.ok_or_else(ApiError::token_invalid)?;
        Ok(Self {
            tokens: Tokens::as_of(app, opened, delivered.opened_at)?,
            workspace_id: delivered.workspace_id,
            workspace_name: delivered.workspace_name,
            checkout_url: delivered.checkout_url,
        })
    }
}

/// Waits for the workspace, up to the limit of a request: whether it was created. For routes that are
/// `no_deadline`. A request with an `Idempotency-Key` doesn't wait: its job is committed with its answer.
///
/// The reason why it was not created; with the given code, unless there is a better one.
/// Error of a sign-up that can't complete; with the given code, unless there is a more specific one.
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
    let detail = end.event.error_message.as_deref().unwrap_or("the job was cancelled");
    let said = end.error.as_ref().and_then(|error| error["code"].as_str());
    match said {
        Some("email_taken") => ApiError::conflict("email_taken", detail),
        Some("payment_refused") => ApiError::new(StatusCode::PAYMENT_REQUIRED, "payment_refused", detail),
        _ => ApiError::conflict(code, detail),
    }
}

/// Refuses payments where they are not enabled.
pub(crate) fn takes_payments(app: &App) -> Answer<()> {
    let refused = |error: runtime::stripe::NotConfigured| {
        ApiError::unavailable("stripe_not_configured", error.to_string())
    };
    app.payments.account().map(|_| ()).map_err(refused)
}
