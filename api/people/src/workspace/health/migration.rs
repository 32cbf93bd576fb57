//! Events of a migration, as shown to the client that waits for it.

use api_kit::{Access, JobStarted, ShownEvent};
use chrono::{DateTime, Utc};
use jobs::{
    JobId,
    watch::{Event, Status},
};
use poem_openapi::Object;
use serde_json::{Value, json};

/// An event of a migration job.
#[derive(Debug, Object)]
pub struct MigrationEvent {
    /// Job id.
    job_id: JobId,
    /// Job status.
    status: Status,
    /// Progress in percent, 0–100; never decreases.
    progress: i32,
    /// Description of the current step; null if there is none.
    #[oai(skip_serializing_if_is_none)]
    current_step: Option<String>,
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
