//! The links of every answer that starts or shows a job.

use jobs::{JobId, Surface};
use poem_openapi::Object;

use crate::{Access, Opens, Ticket, TypeId, idempotency::MadeTicket};

/// Lifetime of a ticket for all jobs of a workspace, in seconds: it does not end with a job.
const WORKSPACE_TICKET: i64 = 24 * 3600;

/// A job that this request started.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct JobStarted {
    /// Job id.
    pub job_id: JobId,
    /// URL of the job's snapshot, for polling.
    pub status_url: String,
    /// URL of the job's events, for `EventSource`: includes a ticket that is valid for this job only.
    pub stream_url: String,
}

/// The stream of all jobs of the workspace.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct JobsStreamUrl {
    /// URL of their events, for `EventSource`: includes a ticket of the caller that is valid for 24 hours.
    pub stream_url: String,
}

impl Access {
    /// Links to a job that this caller has started, on the surface of the request.
    #[must_use]
    pub fn job_started(&self, job: JobId) -> JobStarted {
        let status_url = self.status_url(job);
        JobStarted { job_id: job, stream_url: self.ticketed(job, format!("{status_url}/stream")), status_url }
    }

    /// The stream of a job that this caller may see, on the surface of the request, with a new ticket.
    #[must_use]
    pub fn stream_url(&self, job: JobId) -> String {
        self.ticketed(job, format!("{}/stream", self.status_url(job)))
    }

    /// The path of a stream of that job, with a new ticket of the caller's.
    #[must_use]
    pub fn ticketed(&self, job: JobId, path: String) -> String {
        let ticket = self.ticket(Opens::Job(job), None);
        let url = format!("{path}?ticket={ticket}");
        if let Some(claim) = self.claim() {
            claim.note(MadeTicket { url: url.clone(), path, job, permission: self.permission });
        }
        url
    }

    /// The stream of all jobs of the workspace, on the caller's surface, with a new ticket.
    #[must_use]
    pub fn jobs_stream_url(&self) -> JobsStreamUrl {
        let opens = Opens::JobsOf(self.workspace);
        let ticket = self.ticket(opens, Some(jobs::clock::now().timestamp() + WORKSPACE_TICKET));
        JobsStreamUrl { stream_url: format!("{}/jobs/stream?ticket={ticket}", self.root()) }
    }

    fn ticket(&self, opens: Opens, expires: Option<i64>) -> String {
        let (credential, permission) = (self.caller.credential(), self.permission.into());
        self.app().keys.ticket(&Ticket { opens, credential, permission, expires })
    }

    fn status_url(&self, job: JobId) -> String {
        match self.caller.visitor.surface {
            Surface::Platform => format!("{}/jobs/{}", self.root(), TypeId(job)),
            Surface::Workspace | Surface::Ops => format!("{}/jobs/{job}", self.root()),
        }
    }

    /// Path prefix of the caller's surface.
    fn root(&self) -> &'static str {
        match self.caller.visitor.surface {
            Surface::Workspace => "/api/v1",
            Surface::Ops => "/ops",
            Surface::Platform => "/v1",
        }
    }
}
