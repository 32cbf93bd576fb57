//! Permissions that a handler requires in addition to its route's: those that depend on the resource,
//! such as a job of some kind.

use jobs::{Act, Origin, kinds::Denied, watch::Snapshot};

use crate::{Access, ApiError, Permission};

impl Access {
    /// Requires another permission.
    ///
    /// # Errors
    /// 403, if the caller doesn't have it.
    pub fn need<P: Permission>(&self) -> Result<(), ApiError> {
        Ok(self.held().need(P::NAME)?)
    }

    /// Requires the permissions of a job kind for that action.
    ///
    /// # Errors
    /// 403, if the caller lacks one of them.
    pub fn need_for(&self, act: Act, kind: &str) -> Result<(), ApiError> {
        Ok(self.held().need_for_job(kind, act)?)
    }

    /// A job, if its kind's permissions allow that action.
    ///
    /// # Errors
    /// 403, if the caller lacks one of them.
    pub fn allowed(&self, act: Act, job: Snapshot) -> Result<Snapshot, ApiError> {
        self.need_for(act, &job.kind)?;
        Ok(job)
    }

    /// Job kinds that are left out of lists and of requests about many jobs for this caller.
    #[must_use]
    pub fn kinds_denied(&self, act: Act) -> Denied {
        self.held().kinds_denied(act)
    }

    /// Origin of the request, for actions on jobs.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.actor().origin()
    }
}
