//! Errors of operations that a job's state does not allow.

use jobs::control::{Cancel, Delete, Prioritize, Retry};

use crate::{Answer, ApiError};

/// What came of something that was asked of a job.
pub trait JobOutcome {
    /// That it was done.
    ///
    /// # Errors
    /// 404 if there is no such job; 409 if its state does not allow the operation.
    fn done(self) -> Answer<()>;
}

impl JobOutcome for Cancel {
    fn done(self) -> Answer<()> {
        match self {
            Self::Cancelled | Self::Requested => Ok(()),
            Self::AlreadyOver => Err(ApiError::conflict("job_over", "the job has already ended")),
            Self::NotFound => Err(ApiError::not_found()),
        }
    }
}

impl JobOutcome for Retry {
    fn done(self) -> Answer<()> {
        match self {
            Self::Queued => Ok(()),
            Self::NotOver => {
                Err(ApiError::conflict("job_not_failed", "only a failed or cancelled job can be retried"))
            }
            Self::Duplicate(other) => {
                Err(ApiError::conflict("duplicate_job", format!("job {other} has taken its place")))
            }
            Self::NotFound => Err(ApiError::not_found()),
        }
    }
}

impl JobOutcome for Delete {
    fn done(self) -> Answer<()> {
        match self {
            Self::Deleted => Ok(()),
            Self::NotOver => {
                Err(ApiError::conflict("job_not_over", "the job has not ended: cancel it first"))
            }
            Self::NotFound => Err(ApiError::not_found()),
        }
    }
}

impl JobOutcome for Prioritize {
    fn done(self) -> Answer<()> {
        match self {
            Self::Done => Ok(()),
            Self::NotWaiting => {
                Err(ApiError::conflict("job_not_waiting", "the job is already running or has ended"))
            }
            Self::NotFound => Err(ApiError::not_found()),
        }
    }
}
