//! A sign-up's events: those of its job under the sign-up's own token, in words for people, and with
//! tokens at the end. The tokens are made here, when the end is delivered, and stored nowhere.

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
    /// The sign-up, as its URLs name it.
    job_id: String,
    /// How it stands.
    status: Status,
    /// Percent, 0–100; never goes back.
    progress: i32,
    /// What is being done, for example `creating_schema`.
    #[oai(skip_serializing_if_is_none)]
    current_step: Option<String>,
    /// What came of it so far.
    result: SignupResult,
    /// With FAILED: a stable code, for programs.
    #[oai(skip_serializing_if_is_none)]
    error_code: Option<String>,
    /// With FAILED: why.
    #[oai(skip_serializing_if_is_none)]
    error_message: Option<String>,
    /// When it happened.
    timestamp: DateTime<Utc>,
    /// Strictly increases.
    seq: i64,
    /// The `seq` of the event before it.
    prev: i64,
}

/// What a sign-up has come to.
#[derive(Debug, Default, Object)]
pub struct SignupResult {
    /// A sentence for people.
    message: String,
    /// Access token of the account's first session. Present with COMPLETED, for 15 minutes, where the sign-up made
    /// an account, and the same set of tokens at each reading; absent once its refresh token has been used or its
    /// session has ended.
    #[oai(skip_serializing_if_is_none)]
    access_token: Option<String>,
    /// Its refresh token.
    #[oai(skip_serializing_if_is_none)]
    refresh_token: Option<String>,
    /// Always `bearer`.
    #[oai(skip_serializing_if_is_none)]
    token_type: Option<String>,
    /// Seconds until the access token expires.
    #[oai(skip_serializing_if_is_none)]
    expires_in: Option<u64>,
    /// With COMPLETED: the new workspace.
    #[oai(skip_serializing_if_is_none)]
    workspace_id: Option<WorkspaceId>,
    /// What it is called.
    #[oai(skip_serializing_if_is_none)]
    workspace_name: Option<String>,
    /// With COMPLETED, where payments are taken: the page to say how.
    #[oai(skip_serializing_if_is_none)]
    checkout_url: Option<String>,
}

impl SignupEvent {
    /// A job's event as the holder of the sign-up's token sees it. COMPLETED comes with what was made, or not at
    /// all: whoever reads it has nothing left to ask for.
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
            "Your workspace is ready. Sign in to enter it.".clone_into(&mut self.message);
        }
        Ok(())
    }
}

/// What is going on, for people.
fn sentence(status: Status, step: Option<&str>) -> &'static str {
    match (status, step) {
        (Status::Completed, _) => "Your workspace is ready.",
        (Status::Failed, _) => "The workspace could not be made.",
        (Status::Cancelled, _) => "The sign-up was stopped.",
        (Status::Pending | Status::Queued, _) => "Waiting to begin.",
        (Status::Running, Some("creating_user")) => "Creating your account.",
        (Status::Running, Some("creating_workspace")) => "Creating the workspace.",
        (Status::Running, Some("starting_billing")) => "Starting the subscription.",
        (Status::Running, Some("creating_schema" | "running_migrations")) => "Preparing its storage.",
        (Status::Running, Some("creating_member")) => "Adding its owner.",
        (Status::Running, Some("seeding_defaults" | "finishing")) => "Almost there.",
        (Status::Running, _) => "Checking what you entered.",
    }
}

/// The stream of a sign-up.
pub struct SignupStream(JobStream);

impl SignupStream {
    /// Opens the stream of a sign-up's job. All that it says names the sign-up by its token.
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
