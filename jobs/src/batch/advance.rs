//! The leader's work on batches: counts ended jobs, shows the count as the parent's progress, cancels
//! the children of a batch that is to stop, and ends a batch whose children have ended.

use std::sync::Arc;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    Database, JobId, Origin, Owner, Tx, clock,
    control::{CancelAll, Filter},
    enqueue::{self, Row},
    ledger::{self, End, Ended},
    watch::{Counts, Event, Status},
};

/// Maximum number of children that one pass cancels.
const CANCELLED_AT_ONCE: i64 = 1000;

/// A batch whose counts have changed.
struct Batch {
    id: JobId,
    workspace: Option<Uuid>,
    on_failure: String,
    on_complete: Option<Value>,
    sealed: bool,
    total: i64,
    completed: i64,
    failed: i64,
    cancelled: i64,
}

impl Batch {
    fn over(&self) -> i64 {
        self.completed + self.failed + self.cancelled
    }

    fn is_over(&self) -> bool {
        self.sealed && self.over() >= self.total
    }

    fn counts(&self) -> Counts {
        Counts { done: self.completed, failed: self.failed, skipped: self.cancelled, total: Some(self.total) }
    }

    fn event(&self, status: Status, epoch: i64) -> Event {
        let mut event = Event::transition(self.id, status, epoch, clock::now());
        event.attempt = 1;
        event.counts = self.counts();
        event.current_step = Some("Running the batch's jobs".to_owned());
        let percent = if self.total == 0 { 0 } else { self.over() * 100 / self.total };
        event.progress = i32::try_from(percent).unwrap_or(0).min(99);
        event
    }
}

/// The error code of a batch that fails because its jobs did.
const CODE: &str = "batch_failed";

/// Handles the batches with changes, and those that are to stop.
pub(crate) async fn advance(database: &Database) -> Result<(), sqlx::Error> {
    let mut tx = database.begin().await?;
    let changed = sqlx::query_as!(
        Batch,
        r#"with gone as (
               delete from job_batch_deltas returning *
           ), sums as (
               select batch_id, sum(total)::bigint as total, sum(completed)::bigint as completed,
                      sum(failed)::bigint as failed, sum(cancelled)::bigint as cancelled
                 from gone group by batch_id
           )
           update job_batches b
              set total = b.total + s.total, completed = b.completed + s.completed, failed = b.failed + s.failed,
                  cancelled = b.cancelled + s.cancelled
             from sums s
            where b.job_id = s.batch_id
           returning b.job_id as "id: JobId", b.workspace_id as workspace, b.on_failure, b.on_complete, b.sealed,
                     b.total, b.completed, b.failed, b.cancelled"#
    )
    .fetch_all(tx.conn())
    .await?;
    for batch in &changed {
        if batch.is_over() { end(&mut tx, batch).await? } else { show(&mut tx, batch).await? }
    }
    tx.commit().await?;
    let stopping = sqlx::query!(
        "select b.job_id, b.workspace_id from job_batches b join jobs j on j.id = b.job_id
          where j.cancel_requested or (b.on_failure = 'abort' and b.failed > 0)"
    )
    .fetch_all(&database.pool)
    .await?;
    for batch in stopping {
        stop_children(database, JobId(batch.job_id), Owner::of_row(batch.workspace_id)).await?;
    }
    Ok(())
}

/// The parent's progress is that of its children; each change is a transition of its own.
async fn show(tx: &mut Tx, batch: &Batch) -> Result<(), sqlx::Error> {
    let Some(parent) = sqlx::query!(
        "update jobs set epoch = epoch + 1 where id = $1 and state = 'running' and worker is null
         returning epoch, cancel_requested",
        batch.id.0,
    )
    .fetch_optional(tx.conn())
    .await?
    else {
        return Ok(()); // ended already; a child has been retried since
    };
    let mut event = batch.event(Status::Running, parent.epoch);
    event.cancel_requested = parent.cancel_requested;
    keep_progress(tx, &event).await?;
    tx.publish_after_commit(event);
    Ok(())
}

async fn keep_progress(tx: &mut Tx, event: &Event) -> Result<(), sqlx::Error> {
    let progress = serde_json::to_value(event).map_err(|e| sqlx::Error::Encode(e.into()))?;
    sqlx::query!("update jobs set progress = $2 where id = $1", event.job_id.0, progress)
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Ends the parent, and enqueues the follow-up job.
async fn end(tx: &mut Tx, batch: &Batch) -> Result<(), sqlx::Error> {
    let Some(parent) = sqlx::query!(
        "select fence, cancel_requested from jobs where id = $1 and state = 'running' and worker is null for update",
        batch.id.0,
    )
    .fetch_optional(tx.conn())
    .await?
    else {
        return Ok(());
    };
    let failed = batch.failed > 0 && batch.on_failure != "continue";
    let (state, status) = match (parent.cancel_requested, failed) {
        (true, _) => ("cancelled", Status::Cancelled),
        (false, true) => ("failed", Status::Failed),
        (false, false) => ("completed", Status::Completed),
    };
    let result = json!({
        "total": batch.total, "completed": batch.completed, "failed": batch.failed, "cancelled": batch.cancelled,
    });
    let message = format!("{} of {} jobs failed", batch.failed, batch.total);
    let error = (status == Status::Failed).then(|| json!({ "code": CODE, "message": message }));
    let kept =
        serde_json::to_value(batch.event(Status::Running, 1)).map_err(|e| sqlx::Error::Encode(e.into()))?;
    let ended = Ended {
        id: batch.id,
        fence: parent.fence,
        state,
        progress: Some(kept),
        result: Some(result.clone()),
        error,
    };
    let Some(End { epoch, .. }) = ledger::end(tx.conn(), &[Arc::new(ended)]).await?.pop().flatten() else {
        return Ok(()); // not with the row held
    };
    let mut event = batch.event(status, epoch);
    event.result = Some(result);
    if status == Status::Failed {
        event.error_code = Some(CODE.to_owned());
        event.error_message = Some(message);
    }
    if status == Status::Completed {
        event.progress = 100;
    }
    tx.publish_after_commit(event);
    if status != Status::Cancelled
        && let Some(next) = &batch.on_complete
    {
        match serde_json::from_value::<Row>(next.clone()) {
            Ok(row) => {
                enqueue::insert(tx, batch.workspace, &[row]).await?;
            }
            Err(error) => {
                tracing::error!(batch = %batch.id, %error, "the follow-up job of the batch is unreadable");
            }
        }
    }
    Ok(())
}

/// Ends the waiting children, and signals the running ones to stop.
async fn stop_children(database: &Database, batch: JobId, owner: Owner) -> Result<(), sqlx::Error> {
    let children = Filter { batch: Some(batch), ..Filter::default() };
    let by = Origin::default().of_run(batch);
    let all = CancelAll::new(owner, &children, CANCELLED_AT_ONCE, &by);
    database.in_steps(all).await?;
    // If none was running, no other event triggers the end of the batch.
    sqlx::query!(
        "with sealed as (
             update job_batches set sealed = true where job_id = $1 returning job_id
         )
         insert into job_batch_deltas (batch_id)
         select job_id from sealed where not exists (select from jobs where batch_id = job_id)",
        batch.0
    )
    .execute(&database.pool)
    .await?;
    Ok(())
}
