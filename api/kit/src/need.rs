//! What a handler asks of its caller beside its route's permission: what depends on the thing that a request
//! touches, such as a job of some kind.

use jobs::{Act, Origin, kinds::Denied, watch::Snapshot};

use crate::{Access, ApiError, Permission};

impl Access {
    /// Asks for another permission.
    ///
    /// # Errors
    /// 403, when the caller doesn't hold it.
    pub fn need<P: Permission>(&self) -> Result<(), ApiError> {
        Ok(self.held().need(P::NAME)?)
    }

    /// Asks for the permissions that a job's kind wants for that.
    ///
    /// # Errors
    /// 403, when the caller doesn't hold one of them.
    pub fn need_for(&self, act: Act, kind: &str) -> Result<(), ApiError> {
        Ok(self.held().need_for_job(kind, act)?)
    }

    /// A job, if its kind's permissions allow that.
    ///
    /// # Errors
    /// 403, when the caller doesn't hold one of them.
    pub fn allowed(&self, act: Act, job: Snapshot) -> Result<Snapshot, ApiError> {
        self.need_for(act, &job.kind)?;
        Ok(job)
    }

    /// The kinds of job that lists leave out for this caller, and that requests about many don't touch.
    #[must_use]
    pub fn kinds_denied(&self, act: Act) -> Denied {
        self.held().kinds_denied(act)
    }

    /// Who asks, for what is done with jobs.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.actor().origin()
    }
}
