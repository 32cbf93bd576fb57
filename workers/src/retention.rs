//! The handler that prunes what is kept for a time: the history of jobs, the audit, answers to requests with
//! a key, refresh tokens.

use std::sync::Arc;

use domain::{WorkspaceId, audit::retention as audit, idempotency};
use domain_accounts::upkeep;
use jobs::{
    Answer, JobContext, Outcome,
    kinds::PruneJobs,
    retention::{self, Policies},
};
use serde_json::json;
use uuid::Uuid;

/// Removes finished jobs whose time is over, and what is left of jobs that are gone: log lines,
/// checkpoints, expired unique keys, counted starts. Then entries of the audit that their workspace keeps no longer,
/// answers that nobody may ask for again, expired refresh tokens, and old sign-ups and invitations. Killed at any line: each statement is a batch and a
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
    let mut after = Some(Uuid::nil());
    while let Some(from) = after {
        let page = retention::expired(database, policies, from).await?;
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
    let finished = prune_audit(context).await? && prune_access(context).await?;
    Ok(finished.then_some(pruned))
}

/// Removes entries of the audit whose time is over. False: someone has asked to stop.
async fn prune_audit(context: &JobContext) -> Result<bool, sqlx::Error> {
    let database = context.database();
    let mut after = Some(WorkspaceId(Uuid::nil()));
    while let Some(from) = after {
        let (overdue, next) = audit::overdue(database, from).await?;
        for workspace in overdue {
            while audit::prune(database, workspace).await? {
                if context.is_cancelled() {
                    return Ok(false);
                }
            }
        }
        after = next;
    }
    while audit::prune_others(database).await? {
        if context.is_cancelled() {
            return Ok(false);
        }
    }
    Ok(!context.is_cancelled())
}

/// Removes what requests and sessions have left. False: someone has asked to stop.
async fn prune_access(context: &JobContext) -> Result<bool, sqlx::Error> {
    let database = context.database();
    while idempotency::prune(database).await? > 0 || upkeep::forget_refresh_tokens(database).await? {
        if context.is_cancelled() {
            return Ok(false);
        }
    }
    upkeep::forget_doors(database).await?;
    Ok(!context.is_cancelled())
}
