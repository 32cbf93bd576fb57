//! Workspace Health: whether a workspace is set up, and bringing its tables up to date. Contract section
//! "Workspace Health" (W-HEALTH). Its routes answer while the tables are behind.

mod migration;

use api_kit::{Accepted, JobStarted, JobStream, Start, Watcher, prelude::*, watching};
use domain_people::{job_kinds::MigrateWorkspace, workspace_health};
use jobs::{JobId, JobKind};
use poem::{IntoResponse, Response, http::StatusCode};
use poem_openapi::{
    ApiResponse, Object,
    param::Header,
    registry::{MetaResponses, Registry},
};

use migration::MigrationEvent;

permissions! {
    ViewWorkspace = "workspace:view" while behind,
    MigrateTables = "workspace:migrate" while behind,
}

/// Setup state of a workspace. An answer of 503 also has the fields of an error.
#[derive(Debug, Object)]
#[allow(clippy::struct_excessive_bools)] // flags of different things
struct WorkspaceHealth {
    /// Whether the workspace has a brand: a name or a logo to show.
    brand: bool,
    /// Whether the workspace's tables must be migrated before it can be used.
    migration_required: bool,
    /// Whether the caller has completed onboarding.
    personal_onboarding_complete: bool,
    /// Whether the onboarding of the workspace itself is completed.
    company_onboarding_complete: bool,
    /// Error code: `migration_required`. Only with 503.
    #[oai(skip_serializing_if_is_none)]
    error: Option<String>,
    /// Error message. Only with 503.
    #[oai(skip_serializing_if_is_none)]
    detail: Option<String>,
}

/// The workspace's health, as body and as status.
struct HealthAnswer(WorkspaceHealth);

impl From<workspace_health::WorkspaceHealth> for HealthAnswer {
    fn from(health: workspace_health::WorkspaceHealth) -> Self {
        let says = |text: &str| health.migration_required.then(|| text.to_owned());
        Self(WorkspaceHealth {
            brand: health.brand,
            migration_required: health.migration_required,
            personal_onboarding_complete: health.personal_onboarding_complete,
            company_onboarding_complete: health.company_onboarding_complete,
            error: says("migration_required"),
            detail: says("the workspace's tables must be migrated first"),
        })
    }
}

impl IntoResponse for HealthAnswer {
    fn into_response(self) -> Response {
        let status = if self.0.migration_required { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
        Json(self.0).with_status(status).into_response()
    }
}

/// Documented as 200; the body of 503 is an error like any other, with the flags beside it.
impl ApiResponse for HealthAnswer {
    fn meta() -> MetaResponses {
        Json::<WorkspaceHealth>::meta()
    }

    fn register(registry: &mut Registry) {
        Json::<WorkspaceHealth>::register(registry);
    }
}

#[derive(Tags)]
enum Tag {
    /// Setup state of a workspace, and the migration of its tables.
    #[oai(rename = "Workspace Health")]
    WorkspaceHealth,
}

pub struct WorkspaceHealthApi;

#[OpenApi(prefix_path = "/workspace-health", tag = "Tag::WorkspaceHealth")]
impl WorkspaceHealthApi {
    /// Show the setup state of the workspace
    ///
    /// Answers 503 with the same flags while the workspace's tables must be migrated.
    #[oai(path = "/", method = "get", operation_id = "get_workspace_health")]
    async fn health(&self, can: Can<ViewWorkspace>) -> Answer<HealthAnswer> {
        Ok(workspace_health::check(&mut can.read().await?).await?.into())
    }

    /// Migrate the workspace's tables
    ///
    /// While a migration is in progress, each call returns the same job.
    #[oai(path = "/migrations", method = "post", operation_id = "start_workspace_migration")]
    async fn migrate(&self, can: Can<MigrateTables>) -> Answer<Accepted<JobStarted>> {
        let job = can.change(async |db| workspace_health::start_migration(db).await).await?;
        Ok(Accepted(migration::links(&can, job)))
    }

    /// Stream a migration's events
    ///
    /// Server-Sent Events. After COMPLETED the workspace can be used; with FAILED, `error_message` has the
    /// reason.
    #[oai(
        path = "/migrations/:job_id/stream",
        method = "get",
        operation_id = "stream_workspace_migration",
        transform = "watching"
    )]
    async fn stream(
        &self,
        watcher: Watcher,
        job_id: Path<JobId>,
        /// `seq` of the event after which to begin; 0 sends all retained events.
        since: Query<Option<i64>>,
        /// `seq` of the last event that the client has received.
        #[oai(name = "Last-Event-ID")]
        last_event_id: Header<Option<String>>,
    ) -> Answer<JobStream<MigrationEvent>> {
        let start = Start::asked(last_event_id.as_deref(), since.0);
        watcher.jobs(&[MigrateWorkspace::NAME]).stream(job_id.0, start).await
    }
}
