//! The handler that prunes data with a retention: the history of jobs, the audit log, stored answers,
//! refresh tokens.

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

/// Removes finished jobs beyond their retention, and remaining data of removed jobs: log lines, checkpoints,
/// expired unique keys, counted starts. Then audit entries beyond their workspace's retention, expired stored
/// answers, expired refresh tokens, and old sign-ups and invitations. Killed at any line: each statement is a
/// batch and a transaction of its own, a job's log is removed before the job, and the next run finds the rest.
pub async fn prune_jobs(policies: Arc<Policies>, _: PruneJobs, context: JobContext) -> Answer {
    match prune(&policies, &context).await? {
        Some(jobs) => Ok(Outcome::Done(json!({ "jobs": jobs }))),
        None => Ok(Outcome::Cancelled),
    }
}

/// Number of removed jobs; none if the job was signalled to stop.
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

/// Removes audit entries beyond their retention. False: the job was signalled to stop.
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

/// Removes expired data of requests and sessions. False: the job was signalled to stop.
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
