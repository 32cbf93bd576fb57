//! The operator's routes, by section.

mod jobs;
mod limits;
mod pauses;
mod personal_tokens;
mod queues;
mod shares;
mod throughput;
mod workers;

use ::jobs::{JobId, NewJob, enqueue, kinds::NoOp};
use uuid::Uuid;

use crate::{Client, TestApp};

/// The workspace of a user who has signed up.
fn workspace(owner: &Client) -> Uuid {
    owner.workspace.as_ref().unwrap().parse().unwrap()
}

/// Enqueues so many jobs that do nothing, for a workspace or for the installation.
async fn enqueue_no_ops(app: &TestApp, count: usize, workspace: Option<Uuid>) -> Vec<JobId> {
    let no_op = NoOp::default();
    let mut tx = app.database.begin().await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(enqueue(&mut tx, NewJob::new(&no_op).workspace(workspace)).await.unwrap().id());
    }
    tx.commit().await.unwrap();
    ids
}

/// Runs a job of another kind in the same pool to its end: whatever was due before has had its chance.
async fn let_another_job_pass(app: &TestApp) {
    let sweep = domain_data::job_kinds::SweepUploads {};
    let id = app.database.enqueue(NewJob::new(&sweep)).await.unwrap().id();
    assert_eq!(app.wait_for_end(id).await["status"], "COMPLETED");
}
