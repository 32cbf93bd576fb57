//! What every answer that starts a job carries: its id and where to watch it.

use jobs::{JobId, Surface};
use poem_openapi::Object;
use uuid::Uuid;

use crate::{App, Credential, TypeId};

/// A job that this request started.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct JobStarted {
    /// The job.
    pub job_id: Uuid,
    /// Its snapshot, for polling.
    pub status_url: String,
    /// Its events, for `EventSource`: carries a ticket that reads this one job.
    pub stream_url: String,
}

impl JobStarted {
    /// Links to a job, on the surface that started it.
    #[must_use]
    pub fn new(app: &App, surface: Surface, job: JobId, credential: Credential) -> Self {
        let status_url = match surface {
            Surface::Workspace => format!("/api/v1/jobs/{job}"),
            Surface::Ops => format!("/ops/jobs/{job}"),
            Surface::Platform => format!("/v1/jobs/{}", TypeId(job)),
        };
        let ticket = app.keys.ticket(job, credential);
        Self { job_id: job.0, stream_url: format!("{status_url}/stream?ticket={ticket}"), status_url }
    }
}
