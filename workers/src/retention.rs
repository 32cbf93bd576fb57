//! The handler that prunes the history of jobs.

use std::sync::Arc;

use jobs::{
    Answer, JobContext, Outcome,
    kinds::PruneJobs,
    retention::{self, Policies},
};
use serde_json::json;
use uuid::Uuid;

/// Removes finished jobs whose time is over, and what is left of jobs that are gone: log lines,
/// checkpoints, expired unique keys, counted starts. Killed at any line: each statement is a batch and a
/// transaction of its own, a job's log goes before the job, and the next run finds what is left.
pub async fn prune_jobs(policies: Arc<Policies>, _: PruneJobs, context: JobContext) -> Answer {
    match prune(&policies, &context).await? {
        Some(jobs) => Ok(Outcome::Done(json!({ "jobs": jobs }))),
        None => Ok(Outcome::Cancelled),
    }
}

/// How many jobs have gone; none if someone has asked to stop.
async fn prune(policies: &Policies, context: &JobContext) -> Result<Option<i64>, sqlx::Error> {
    let database = context.database();
    let mut pruned = 0;
    let mut after = None;
    loop {
        let page = retention::expired(database, policies, after).await?;
        while retention::remove_lines(database, &page.jobs).await? {
            if context.is_cancelled() {
                return Ok(None);
            }
        }
        pruned += retention::remove(database, &page.jobs).await?;
        if pruned > 0 {
            context.progress().counts(pruned, 0, 0);
        }
        if context.is_cancelled() {
            return Ok(None);
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let mut after = Some(Uuid::nil());
    while let Some(from) = after {
        let page = retention::left_lines(database, from).await?;
        while retention::remove_lines(database, &page.jobs).await? {
            if context.is_cancelled() {
                return Ok(None);
            }
        }
        after = page.next;
    }
    let mut after = Some(Uuid::nil());
    while let Some(from) = after {
        after = retention::remove_left_checkpoints(database, from).await?;
    }
    while retention::remove_expired_keys(database).await? || retention::remove_old_starts(database).await? {
        if context.is_cancelled() {
            return Ok(None);
        }
    }
    Ok(Some(pruned))
}
