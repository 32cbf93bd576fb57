//! The handler of `engine.no_op`: for measuring the engine and trying out an installation.

use std::{sync::Arc, time::Duration};

use jobs::{
    Answer, JobContext, JobError, Outcome,
    kinds::{Crash, NoOp},
};
use serde_json::json;

use crate::Services;

/// What is taken at once by [`Crash::EatMemory`].
const BITE: usize = 16 << 20;

/// Sleeps, or fails, or crashes, or does nothing; its result says when it started. Killed at any line: nothing to lose.
pub async fn no_op(_: Arc<Services>, job: NoOp, context: JobContext) -> Answer {
    let started_at = jobs::clock::now();
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
    match job.crash {
        Some(Crash::Abort) => std::process::abort(),
        Some(Crash::EatMemory) => eat_memory(),
        None => {}
    }
    if context.attempt <= job.failures {
        return Err(JobError::RetryTold("asked to fail".into()));
    }
    Ok(Outcome::Done(json!({ "started_at": started_at })))
}

/// Ends when an allocation fails, which aborts the process, or when the system kills it.
fn eat_memory() -> ! {
    let mut eaten = Vec::new();
    loop {
        eaten.push(vec![1u8; BITE]); // written, so that it is really there
        std::hint::black_box(&eaten);
    }
}
