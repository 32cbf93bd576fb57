//! The handler of `engine.no_op`: for measuring the engine and trying out an installation.

use std::{sync::Arc, time::Duration};

use jobs::{Answer, JobContext, JobError, Outcome, kinds::NoOp};
use serde_json::json;

use crate::Services;

/// Sleeps, or fails, or does nothing; its result says when it started. Killed at any line: nothing to lose.
pub async fn no_op(_: Arc<Services>, job: NoOp, context: JobContext) -> Answer {
    let started_at = jobs::clock::now();
    for line in 1..=job.lines {
        tracing::info!(line, "asked to say something");
    }
    if job.sleep_ms > 0 {
        let slept = tokio::time::sleep(Duration::from_millis(job.sleep_ms));
        if job.deaf {
            slept.await;
        } else {
            tokio::select! {
                () = slept => {}
                () = context.cancelled() => return Ok(Outcome::Cancelled),
            }
        }
    }
    if context.attempt <= job.failures {
        return Err(JobError::RetryTold("asked to fail".into()));
    }
    Ok(Outcome::Done(json!({ "started_at": started_at })))
}
