//! The handlers of `engine.…`: for measuring the engine and trying out an installation.

use std::{sync::Arc, time::Duration};

use jobs::{
    Answer, JobContext, JobError, Outcome,
    kinds::{Crash, NoOp, Steps},
    watch::Counts,
};
use serde_json::json;

use crate::Services;

/// Number of bytes that [`Crash::EatMemory`] allocates at once.
const BITE: usize = 16 << 20;

/// Sleeps, or fails, or crashes, or does nothing; its result has its start time. Killed at any line: nothing to lose.
pub async fn no_op(_: Arc<Services>, job: NoOp, context: JobContext) -> Answer {
    let started_at = jobs::clock::now();
    for line in 1..=job.lines {
        tracing::info!(line, "a requested line");
    }
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
    match job.crash {
        Some(Crash::Abort) => std::process::abort(),
        Some(Crash::EatMemory) => eat_memory(),
        None => {}
    }
    if job.fails {
        return Ok(Outcome::Fail { code: "asked_to_fail".into(), message: "failure requested".into() });
    }
    if context.attempt <= job.failures {
        return Err(JobError::RetryTold("failure requested".into()));
    }
    Ok(Outcome::Done(json!({ "started_at": started_at })))
}

/// Counts its steps, and continues from the last holder's checkpoint. Killed at any line: a step is
/// counted once, with its checkpoint.
pub async fn steps(_: Arc<Services>, job: Steps, context: JobContext) -> Answer {
    let mut step = context.resume::<i64>().await?.cursor.unwrap_or(0);
    context.progress().step("Counting").of(job.steps);
    while step < job.steps {
        if context.is_cancelled() {
            return Ok(Outcome::Cancelled);
        }
        if context.should_hand_back() {
            return Ok(Outcome::HandBack);
        }
        tokio::time::sleep(Duration::from_millis(job.step_ms)).await;
        step += 1;
        let counts = Counts { done: step, total: Some(job.steps), ..Counts::default() };
        context.checkpoint(context.database().begin().await?, &step, counts).await?;
        context.progress().counts(step, 0, 0);
    }
    Ok(Outcome::Done(json!({ "steps": step })))
}

/// Ends when an allocation fails, which aborts the process, or when the system kills it.
fn eat_memory() -> ! {
    let mut eaten = Vec::new();
    loop {
        eaten.push(vec![1u8; BITE]); // written, so that it is resident
        std::hint::black_box(&eaten);
    }
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
