//! Views of jobs: the operations of a section's routes on jobs of its kinds, and of the general routes on any job.
//!
//! ```ignore
//! can.jobs(&[ExportRecords::NAME]).cancel(job_id.0).await.map(Json)
//! ```
//!
//! A job of another workspace, or of a kind that is not the view's, does not exist there. Besides its route's
//! permission, whatever is done with a job asks for those of the job's kind.

mod look;
mod outcome;

use domain::{Acting, PageOf, PageRequest};
use jobs::{
    Act, JobId, Origin, Owner, Tx,
    control::{self, CancelAll, CancelledAll, Filter},
    watch::Snapshot,
};
use poem_openapi::types::{ParseFromJSON, ToJSON};

use crate::{Access, Answer, ApiError, CappedPage, JobLog};

pub use outcome::JobOutcome;

/// Log lines in one answer.
const LOG_LINES: i64 = 1000;

/// A job as a section shows it to its caller.
pub trait ShownJob {
    /// The job of that snapshot.
    fn shown(access: &Access, job: Snapshot) -> Self;
}

/// For routes that show nothing of the job, or more than its snapshot.
impl ShownJob for Snapshot {
    fn shown(_: &Access, job: Snapshot) -> Self {
        job
    }
}

/// The kinds of job in a view.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kinds<'a> {
    All,
    Only(&'a [&'static str]),
}

impl Kinds<'_> {
    pub(crate) fn include(self, kind: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(kinds) => kinds.contains(&kind),
        }
    }

    /// Kinds of a filter, all by default; none if the view has none of them.
    fn narrowed(self, asked: Vec<String>) -> Option<Vec<String>> {
        let Self::Only(kinds) = self else { return Some(asked) };
        let is_asked = |kind: &&&str| asked.is_empty() || asked.iter().any(|asked| asked == **kind);
        let left: Vec<_> = kinds.iter().filter(is_asked).map(|kind| (*kind).to_owned()).collect();
        (!left.is_empty()).then_some(left)
    }
}

/// Jobs of the caller's workspace: see [`Access::jobs`].
#[derive(Debug, Clone, Copy)]
pub struct JobViews<'a> {
    access: &'a Access,
    kinds: Kinds<'a>,
}

impl Access {
    /// The workspace's jobs of these kinds: for the routes of the section that they belong to.
    #[must_use]
    pub fn jobs<'a>(&'a self, kinds: &'a [&'static str]) -> JobViews<'a> {
        JobViews { access: self, kinds: Kinds::Only(kinds) }
    }

    /// The workspace's jobs of every kind: for the routes of jobs in general.
    #[must_use]
    pub fn jobs_of_all_kinds(&self) -> JobViews<'_> {
        JobViews { access: self, kinds: Kinds::All }
    }

    /// The owner of the jobs that this caller may ask for.
    #[must_use]
    pub fn owner(&self) -> Owner {
        Owner::Workspace(self.workspace.0)
    }
}

impl JobViews<'_> {
    /// Lists the jobs that match, newest first. Kinds that the caller may not view are left out.
    pub async fn list<J>(&self, filter: Filter, page: PageRequest) -> Answer<CappedPage<J>>
    where
        J: ShownJob + ParseFromJSON + ToJSON,
    {
        let (jobs, total) = match self.narrowed(filter, Act::View) {
            Some(filter) => {
                let database = &self.access.app().database;
                control::list(database, self.access.owner(), &filter, page.limit, page.offset).await?
            }
            None => Default::default(),
        };
        let items = jobs.into_iter().map(|job| J::shown(self.access, job)).collect();
        Ok(CappedPage::new(page, PageOf { items, total }, control::MAX_COUNTED))
    }

    /// Shows a job.
    ///
    /// # Errors
    /// 404 for a job that is not in the view, 403 for one of a kind that the caller may not view.
    pub async fn find<J: ShownJob>(&self, job: JobId) -> Answer<J> {
        Ok(J::shown(self.access, self.snapshot(Act::View, job).await?))
    }

    /// A job that the caller may do that with.
    ///
    /// # Errors
    /// 404 for a job that is not in the view, 403 if its kind needs a permission that the caller lacks.
    pub async fn snapshot(&self, act: Act, job: JobId) -> Answer<Snapshot> {
        let found = self.access.app().hub.snapshot(job).await?;
        let found = found.filter(|job| job.owner() == self.access.owner() && self.kinds.include(&job.kind));
        let found = found.ok_or_else(ApiError::not_found)?;
        // A section's route has asked for the section's permission. One of jobs in general has not: there, a job must
        // be visible before anything is done with it.
        if matches!(self.kinds, Kinds::All) {
            self.access.need_for(Act::View, &found.kind)?;
        }
        self.access.allowed(act, found)
    }

    /// Reads the lines of a job's log after a line.
    ///
    /// # Errors
    /// As of [`JobViews::find`].
    pub async fn log(&self, job: JobId, after: i64) -> Answer<JobLog> {
        let job = self.snapshot(Act::View, job).await?.event.job_id;
        let lines = control::logs(&self.access.app().database, job, after, LOG_LINES).await?;
        Ok(JobLog::new(lines))
    }

    /// Cancels a job, and shows it as it is then.
    ///
    /// # Errors
    /// As of [`JobViews::snapshot`]; 409 `job_over` for a job that has ended.
    pub async fn cancel<J: ShownJob>(&self, job: JobId) -> Answer<J> {
        let before = self.snapshot(Act::Cancel, job).await?;
        let owner = self.access.owner();
        self.change(&before, async |tx, by| control::cancel(tx, owner, job, by).await?.done()).await
    }

    /// Cancels the jobs that match, at most about so many, and leaves those alone that the caller may not cancel.
    pub async fn cancel_all(&self, filter: Filter, at_most: i64) -> Answer<CancelledAll> {
        let Some(filter) = self.narrowed(filter, Act::Cancel) else { return Ok(CancelledAll::default()) };
        let by = self.access.origin();
        self.access.change_in_steps(CancelAll::new(self.access.owner(), &filter, at_most, &by)).await
    }

    /// Runs a failed or cancelled job again, and shows it as it is then.
    ///
    /// # Errors
    /// As of [`JobViews::snapshot`]; 409 `job_not_failed` or `duplicate_job`.
    pub async fn retry<J: ShownJob>(&self, job: JobId) -> Answer<J> {
        let before = self.snapshot(Act::Start, job).await?;
        let owner = self.access.owner();
        self.change(&before, async |tx, by| control::retry(tx, owner, job, by).await?.done()).await
    }

    /// Removes a finished job from the history.
    ///
    /// # Errors
    /// As of [`JobViews::snapshot`]; 409 `job_not_over` for a job that has not ended.
    pub async fn delete(&self, job: JobId) -> Answer<()> {
        self.snapshot(Act::Delete, job).await?;
        let (owner, by) = (self.access.owner(), self.access.origin());
        let delete = async |tx: &mut Tx, _: &Acting<'_>| control::delete(tx, owner, job, &by).await?.done();
        self.access.change_shared(delete).await
    }

    /// Changes a job that was found in the view, and shows it as it will be when the transaction commits.
    pub async fn change<J: ShownJob>(
        &self,
        before: &Snapshot,
        work: impl AsyncFnOnce(&mut Tx, &Origin) -> Answer<()>,
    ) -> Answer<J> {
        let by = self.access.origin();
        let change = async |tx: &mut Tx, _: &Acting<'_>| {
            work(tx, &by).await?;
            before.within(tx).await?.ok_or_else(ApiError::not_found)
        };
        Ok(J::shown(self.access, self.access.change_shared(change).await?))
    }

    /// The filter within the view and the caller's permissions; none if nothing can match.
    fn narrowed(&self, filter: Filter, act: Act) -> Option<Filter> {
        let kinds = self.kinds.narrowed(filter.kinds)?;
        Some(Filter { kinds, ..filter }.without(&self.access.kinds_denied(act)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_reaches_no_kind_beyond_the_view() {
        let of = |kinds: &[&str]| kinds.iter().map(|kind| (*kind).to_owned()).collect::<Vec<_>>();
        let view = Kinds::Only(&["records.import", "records.export"]);
        assert_eq!(view.narrowed(of(&[])), Some(of(&["records.import", "records.export"])));
        assert_eq!(view.narrowed(of(&["records.export", "mail.send"])), Some(of(&["records.export"])));
        assert_eq!(view.narrowed(of(&["mail.send"])), None);
        assert_eq!(Kinds::Only(&[]).narrowed(of(&[])), None);
        assert_eq!(Kinds::All.narrowed(of(&[])), Some(of(&[])));
        assert_eq!(Kinds::All.narrowed(of(&["mail.send"])), Some(of(&["mail.send"])));
    }
}
