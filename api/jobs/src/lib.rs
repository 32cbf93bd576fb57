//! Routes of jobs, on both surfaces. Jobs of all kinds are served alike here; the feature routes of
//! the contract are views of it.

pub mod platform;
pub mod workspace;

use poem_openapi::OpenApi;

/// The sections of the Workspace API.
#[must_use]
pub fn workspace_api() -> impl OpenApi {
    (workspace::jobs::JobsApi, workspace::dead_letters::DeadLettersApi)
}

/// The sections of the Platform API.
#[must_use]
pub fn platform_api() -> impl OpenApi {
    (platform::jobs::JobsApi, platform::dlq::DlqApi, platform::scheduled_jobs::ScheduledJobsApi)
}
