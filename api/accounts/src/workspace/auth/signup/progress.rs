//! A sign-up's events: those of its job under the sign-up's own token, in words for display, and with
//! tokens at the end. The tokens are created here, when the end is delivered, and stored nowhere.

use domain::WorkspaceId;
use std::sync::Arc;

use api_kit::{ApiError, App, JobStream, Shape, Start};
use chrono::{DateTime, Utc};
use domain_accounts::signups;
use futures::FutureExt;
use jobs::{
    JobId,
    watch::{Event, Status},
};
use poem::{IntoResponse, Response};
use poem_openapi::{
    ApiResponse, Object,
    registry::{MetaResponses, MetaSchema, MetaSchemaRef, Registry},
    types::{ToJSON, Type},
};
use serde_json::json;

use super::super::Tokens;

/// An event of a sign-up, which is also its snapshot.
#[derive(Debug, Object)]
pub struct SignupEvent {
    /// Id of the sign-up in its URLs.
    job_id: String,
    /// Status.
    status: Status,
    /// Progress in percent, 0–100; never decreases.
    progress: i32,
    /// Current step, for example `creating_schema`; null if there is none.
    #[oai(skip_serializing_if_is_none)]
    current_step: Option<String>,
    /// Result so far.
    result: SignupResult,
    /// Stable error code; null unless the status is FAILED.
    #[oai(skip_serializing_if_is_none)]
    error_code: Option<String>,
    /// Error message; null unless the status is FAILED.
    #[oai(skip_serializing_if_is_none)]
    error_message: Option<String>,
    /// Time of the event.
    timestamp: DateTime<Utc>,
    /// Sequence number of the event; strictly increasing.
    seq: i64,
    /// Sequence number of the event before this one.
    prev: i64,
}

/// Result of a sign-up.
#[derive(Debug, Default, Object)]
pub struct SignupResult {
    /// Message for display.
    message: String,
    /// Access token of the account's first session. Present with COMPLETED, for 15 minutes, if the sign-up created
    /// an account, and the same set of tokens at each reading; absent once its refresh token has been used or its
    /// session has ended.
    #[oai(skip_serializing_if_is_none)]
    access_token: Option<String>,
    /// Refresh token of that session.
    #[oai(skip_serializing_if_is_none)]
    refresh_token: Option<String>,
    /// Token type: always `bearer`.
    #[oai(skip_serializing_if_is_none)]
    token_type: Option<String>,
    /// Lifetime of the access token in seconds.
    #[oai(skip_serializing_if_is_none)]
    expires_in: Option<u64>,
    /// Id of the new workspace. Only with COMPLETED.
    #[oai(skip_serializing_if_is_none)]
    workspace_id: Option<WorkspaceId>,
    /// Name of the new workspace.
    #[oai(skip_serializing_if_is_none)]
    workspace_name: Option<String>,
    /// URL of the page to enter a payment method. Only with COMPLETED, where payments are enabled.
    #[oai(skip_serializing_if_is_none)]
    checkout_url: Option<String>,
}

impl SignupEvent {
    /// A job's event as the holder of the sign-up's token sees it. COMPLETED comes with the result, or not at
    /// all, so that its reader needs no further request.
    ///
    /// # Errors
    /// When the sign-up's end can't be delivered now.
    pub async fn of(app: &App, token: &str, event: Event) -> Result<Self, ApiError> {
        let mut result = SignupResult {
            message: sentence(event.status, event.current_step.as_deref()).to_owned(),
            ..SignupResult::default()
        };
        if event.status == Status::Completed {
            result.deliver(app, token).await?;
        }
        Ok(Self {
            job_id: token.to_owned(),
            status: event.status,
            progress: event.progress,
            current_step: event.current_step,
            result,
            error_code: event.error_code,
            error_message: event.error_message,
            timestamp: event.timestamp,
            seq: event.seq,
            prev: event.prev,
        })
    }
}

impl SignupResult {
    async fn deliver(&mut self, app: &App, token: &str) -> Result<(), ApiError> {
        let delivered = signups::deliver(&app.database, token).await?;
        self.workspace_id = Some(delivered.workspace_id);
        self.workspace_name = Some(delivered.workspace_name);
        self.checkout_url = delivered.checkout_url;
        if let Some(opened) = delivered.session {
            let tokens = Tokens::as_of(app, opened, delivered.opened_at)?;
            self.access_token = Some(tokens.access_token);
            self.refresh_token = Some(tokens.refresh_token);
            self.token_type = Some(tokens.token_type);
            self.expires_in = Some(tokens.expires_in);
        } else if delivered.door.makes_account() {
            "Your workspace is ready. Sign in to use it.".clone_into(&mut self.message);
        }
        Ok(())
    }
}

/// The description of a step, for display.
fn sentence(status: Status, step: Option<&str>) -> &'static str {
    match (status, step) {
        (Status::Completed, _) => "Your workspace is ready.",
        (Status::Failed, _) => "The workspace could not be created.",
        (Status::Cancelled, _) => "The sign-up was stopped.",
        (Status::Pending | Status::Queued, _) => "Waiting to start.",
        (Status::Running, Some("creating_user")) => "Creating your account.",
        (Status::Running, Some("creating_workspace")) => "Creating the workspace.",
        (Status::Running, Some("starting_billing")) => "Starting the subscription.",
        (Status::Running, Some("creating_schema" | "running_migrations")) => "Preparing the storage.",
        (Status::Running, Some("creating_member")) => "Adding the owner.",
        (Status::Running, Some("seeding_defaults" | "finishing")) => "Finishing.",
        (Status::Running, _) => "Checking the input.",
    }
}

/// The stream of a sign-up.
pub struct SignupStream(JobStream);

impl SignupStream {
    /// Opens the stream of a sign-up's job. All its events name the sign-up by its token.
    ///
    /// # Errors
    /// 404 when there is no such job.
    pub async fn open(app: &App, job: JobId, token: &str, start: Start) -> Result<Self, ApiError> {
        let (of_app, of_token) = (app.clone(), token.to_owned());
        let shape: Shape = Arc::new(move |event: Event| {
            let (app, token) = (of_app.clone(), of_token.clone());
            async move {
                match SignupEvent::of(&app, &token, event).await {
                    Ok(event) => event.to_json(),
                    Err(error) => {
                        tracing::error!(%error, "the end of a sign-up could not be delivered");
                        None
                    }
                }
            }
            .boxed()
        });
        let named = json!(token);
        Ok(Self(JobStream::open_as(&app.hub, job, named, start, Some(shape), |_| Ok(())).await?))
    }
}

impl IntoResponse for SignupStream {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

/// Documented as any job's stream, with events of a sign-up.
impl ApiResponse for SignupStream {
    fn meta() -> MetaResponses {
        let mut meta = <JobStream>::meta();
        for media in meta.responses.iter_mut().flat_map(|response| &mut response.content) {
            media.schema = MetaSchemaRef::Inline(Box::new(MetaSchema {
                items: Some(Box::new(SignupEvent::schema_ref())),
                ..MetaSchema::new_with_format("array", "event-stream")
            }));
        }
        meta
    }

    fn register(registry: &mut Registry) {
        SignupEvent::register(registry);
    }
}
