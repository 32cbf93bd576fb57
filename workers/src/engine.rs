//! The handler of `engine.no_op`: for measuring the engine and trying out an installation.

use std::{sync::Arc, time::Duration};

use jobs::{Answer, JobContext, JobError, Outcome, kinds::NoOp};
use serde_json::json;

use crate::Services;

/// Sleeps, or fails, or does nothing; its result says when it started. Killed at any line: nothing to lose.
pub async fn no_op(_: Arc<Services>, job: NoOp, context: JobContext) -> Answer {
    let started_at = jobs::clock::now();
    if job.sleep_ms > 0 {
        let slept = sleep(&job, &context);
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

async fn sleep(job: &NoOp, context: &JobContext) {
    let Some(reports) = job.sleep_ms.checked_div(job.report_ms) else {
        return tokio::time::sleep(Duration::from_millis(job.sleep_ms)).await;
    };
    let reports = i64::try_from(reports).unwrap_or(i64::MAX);
    context.progress().of(reports);
    for done in 1..=reports {
        tokio::time::sleep(Duration::from_millis(job.report_ms)).await;
        context.progress().counts(done, 0, 0);
    }
}
