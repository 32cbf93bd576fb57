//! Cancelling jobs: a waiting one ends at once, a running one's handler is signalled.

use std::ops::ControlFlow;

use serde_json::json;
use uuid::Uuid;

use super::Filter;
use crate::{
    Database, JobId, Origin, Owner, Steps, Tx,
    audit::{self, Change},
    clock,
    watch::{Event, Status, publish, snapshot},
};

/// Number of jobs that one transaction cancels.
const AT_ONCE: i64 = 500;

/// Result of cancelling a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancel {
    /// It was waiting, and has ended.
    Cancelled,
    /// It is running; its handler has been signalled.
    Requested,
    /// It had ended before.
    AlreadyOver,
    /// There is no such job.
    NotFound,
}

/// Result of cancelling many jobs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CancelledAll {
    /// Number of waiting jobs that were cancelled.
    pub cancelled: i64,
    /// Number of running jobs that were signalled now, and not before.
    pub requested: i64,
    /// Whether there may be more, for another call.
    pub more: bool,
}

/// A running job with a cancel request; its worker is notified after the commit.
#[derive(Debug)]
pub(crate) struct Asked {
    id: JobId,
    epoch: i64,
    attempt: i32,
}

/// Cancels a job: a waiting one at once, a running one by a signal to its handler, sent after the commit.
pub async fn cancel(tx: &mut Tx, owner: Owner, id: JobId, by: &Origin) -> Result<Cancel, sqlx::Error> {
    // Locked until the commit, so that the job stays in the state found here.
    let state = sqlx::query_scalar!(
        "select state from jobs where id = $1 and workspace_id is not distinct from $2 for update",
        id.0,
        owner.workspace(),
    )
    .fetch_optional(tx.conn())
    .await?;
    match state.as_deref() {
        Some("waiting") => {
            end_waiting(tx, &[id.0]).await?;
            audit::note(tx, by, Change::of_job(owner, "job.cancelled", id, json!({}))).await?;
            Ok(Cancel::Cancelled)
        }
        Some(_) => {
            let asked = sqlx::query!(
                "update jobs
                    set cancel_requested = true,
                        epoch = case when cancel_requested then epoch else epoch + 1 end
                  where id = $1
                 returning epoch, attempt",
                id.0,
            )
            .fetch_one(tx.conn())
            .await?;
            audit::note(tx, by, Change::of_job(owner, "job.cancel_requested", id, json!({}))).await?;
            tx.announce_after_commit(Asked { id, epoch: asked.epoch, attempt: asked.attempt });
            Ok(Cancel::Requested)
        }
        None => {
            let over = sqlx::query_scalar!(
                r#"select true as "over!" from finished_jobs
                    where id = $1 and workspace_id is not distinct from $2"#,
                id.0,
                owner.workspace(),
            )
            .fetch_optional(tx.conn())
            .await?;
            Ok(if over.is_some() { Cancel::AlreadyOver } else { Cancel::NotFound })
        }
    }
}

/// Cancels the matching jobs, some hundred in a step, until none is left or `at_most` have been cancelled.
#[derive(Debug)]
pub struct CancelAll<'a> {
    owner: Owner,
    filter: &'a Filter,
    at_most: i64,
    by: &'a Origin,
    done: CancelledAll,
    is_at_running: bool,
}

impl<'a> CancelAll<'a> {
    /// Those of the owner that match.
    #[must_use]
    pub fn new(owner: Owner, filter: &'a Filter, at_most: i64, by: &'a Origin) -> Self {
        Self { owner, filter, at_most, by, done: CancelledAll::default(), is_at_running: false }
    }
}

impl Steps for CancelAll<'_> {
    type Done = CancelledAll;

    fn limit(&mut self, at_most: i64) {
        self.at_most = self.at_most.min(at_most);
    }

    async fn step(&mut self, tx: &mut Tx) -> Result<ControlFlow<CancelledAll>, sqlx::Error> {
        let room = AT_ONCE.min(self.at_most - self.done.cancelled - self.done.requested);
        // The waiting ones first: those that are claimed meanwhile are found among the running.
        let stopped = if self.is_at_running {
            let asked = ask_running(tx, self.owner, self.filter, room, self.by).await?;
            self.done.requested += asked;
            asked
        } else {
            let ended = cancel_waiting(tx, self.owner, self.filter, room, self.by).await?;
            self.done.cancelled += ended;
            ended
        };
        if stopped < room {
            if self.is_at_running {
                return Ok(ControlFlow::Break(self.done));
            }
            self.is_at_running = true;
        } else if self.done.cancelled + self.done.requested >= self.at_most {
            return Ok(ControlFlow::Break(CancelledAll { more: true, ..self.done }));
        }
        Ok(ControlFlow::Continue(()))
    }
}

async fn cancel_waiting(
    tx: &mut Tx,
    owner: Owner,
    filter: &Filter,
    limit: i64,
    by: &Origin,
) -> Result<i64, sqlx::Error> {
    let (state, due) = filter.state();
    let held = sqlx::query_scalar!(
        "select id from jobs
          where state = 'waiting'
            and (workspace_id = $1 or ($1::uuid is null and workspace_id is null))
            and job_matches(kind, state, run_at, batch_id, created_at, error, progress,
                            $2, $3, $4, $5, $6, $7, $8)
            and kind <> all($9)
          order by id
          limit $10
            for update",
        owner.workspace(),
        &filter.kinds,
        state,
        due,
        filter.batch_id(),
        filter.since,
        filter.until,
        filter.text,
        &filter.except,
        limit,
    )
    .fetch_all(tx.conn())
    .await?;
    end_waiting(tx, &held).await?;
    note_many(tx, by, owner, "jobs.cancelled", &held).await?;
    Ok(i64::try_from(held.len()).unwrap_or(i64::MAX))
}

async fn ask_running(
    tx: &mut Tx,
    owner: Owner,
    filter: &Filter,
    limit: i64,
    by: &Origin,
) -> Result<i64, sqlx::Error> {
    let (state, due) = filter.state();
    let rows = sqlx::query!(
        "with held as (
             select id from jobs
              where id in (select id from running_jobs where workspace_id is not distinct from $1
                            union all
                           select job_id from job_batches where workspace_id is not distinct from $1)
                and state = 'running' and not cancel_requested
                and (workspace_id = $1 or ($1::uuid is null and workspace_id is null))
                and job_matches(kind, state, run_at, batch_id, created_at, error, progress,
                                $2, $3, $4, $5, $6, $7, $8)
                and kind <> all($9)
              order by id
              limit $10
                for update
         )
         update jobs j set cancel_requested = true, epoch = j.epoch + 1
           from held where j.id = held.id
         returning j.id, j.epoch, j.attempt",
        owner.workspace(),
        &filter.kinds,
        state,
        due,
        filter.batch_id(),
        filter.since,
        filter.until,
        filter.text,
        &filter.except,
        limit,
    )
    .fetch_all(tx.conn())
    .await?;
    let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
    note_many(tx, by, owner, "jobs.cancel_requested", &ids).await?;
    for row in rows {
        tx.announce_after_commit(Asked { id: JobId(row.id), epoch: row.epoch, attempt: row.attempt });
    }
    Ok(i64::try_from(ids.len()).unwrap_or(i64::MAX))
}

/// One audit entry for the jobs of a transaction.
async fn note_many(
    tx: &mut Tx,
    by: &Origin,
    owner: Owner,
    action: &str,
    ids: &[Uuid],
) -> Result<(), sqlx::Error> {
    if ids.is_empty() {
        return Ok(());
    }
    let data = json!({ "job_ids": ids });
    audit::note(
        tx,
        by,
        Change { workspace: owner.workspace(), action, resource_type: "job", resource_id: None, data },
    )
    .await
}

/// Ends a job that has been put back although its cancellation was requested: its attempt failed, or
/// was given back, before the request arrived. Another attempt would only delay the end.
pub(crate) async fn end_if_asked(database: &Database, id: JobId) -> Result<bool, sqlx::Error> {
    let mut tx = database.begin().await?;
    let asked = sqlx::query_scalar!(
        r#"select true as "asked!" from jobs where id = $1 and state = 'waiting' and cancel_requested for update"#,
        id.0,
    )
    .fetch_optional(tx.conn())
    .await?
    .is_some();
    if asked {
        end_waiting(&mut tx, &[id.0]).await?;
        tx.commit().await?;
    }
    Ok(asked)
}

/// Moves waiting jobs, whose rows are locked, to the finished ones; their watchers are notified after the
/// commit.
async fn end_waiting(tx: &mut Tx, ids: &[Uuid]) -> Result<(), sqlx::Error> {
    if ids.is_empty() {
        return Ok(());
    }
    let ended = sqlx::query!(
        r#"select id as "id!", epoch as "epoch!"
             from end_jobs($1::uuid[], null, array_fill('cancelled'::text, array[cardinality($1)]), null, null, null, null)"#,
        ids,
    )
    .fetch_all(tx.conn())
    .await?;
    for job in ended {
        tx.publish_after_commit(Event::transition(JobId(job.id), Status::Cancelled, job.epoch, clock::now()));
    }
    Ok(())
}

/// Notifies the watchers and the worker. If the message is lost, the worker's check of the ledger finds the request.
pub(crate) async fn announce(database: &Database, Asked { id, epoch, attempt }: Asked) {
    let before = snapshot::newest(&database.bus, id).await;
    let mut event = Event::transition(id, Status::Running, epoch, clock::now()).carrying_on(before);
    event.attempt = attempt;
    event.cancel_requested = true;
    publish::send(&database.bus, &[event]).await;
    let told = redis::cmd("PUBLISH")
        .arg(database.bus.control_channel())
        .arg(format!("{id} {epoch}"))
        .query_async::<()>(&mut database.bus.connection())
        .await;
    if let Err(error) = told {
        tracing::debug!(%error, "the worker will find the request in the ledger");
    }
}
