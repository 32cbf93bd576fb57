//! A migration's events, as the banner that waits for them reads them.

use api_kit::{Access, JobStarted, ShownEvent};
use chrono::{DateTime, Utc};
use jobs::{
    JobId,
    watch::{Event, Status},
};
use poem_openapi::Object;
use serde_json::{Value, json};

/// An event of a migration.
#[derive(Debug, Object)]
pub struct MigrationEvent {
    /// The job.
    job_id: JobId,
    /// How it stands.
    status: Status,
    /// Percent, 0–100; never goes back.
    progress: i32,
    /// What is being done, for people.
    #[oai(skip_serializing_if_is_none)]
    current_step: Option<String>,
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

impl From<Event> for MigrationEvent {
    fn from(event: Event) -> Self {
        Self {
            job_id: event.job_id,
            status: event.status,
            progress: event.progress,
            current_step: event.current_step,
            error_code: event.error_code,
            error_message: event.error_message,
            timestamp: event.timestamp,
            seq: event.seq,
            prev: event.prev,
        }
    }
}

impl ShownEvent for MigrationEvent {
    fn job_id(job: JobId) -> Value {
        json!(job)
    }
}

/// Links to the job, with the section's own stream: a job's ticket opens each of its streams.
pub fn links(access: &Access, job: JobId) -> JobStarted {
    let stream_url = access.ticketed(job, format!("/api/v1/workspace-health/migrations/{job}/stream"));
    JobStarted { stream_url, ..access.job_started(job) }
}
