//! Stopping jobs: a waiting one is over at once, a running one's handler is asked.

use futures::{StreamExt, stream};
use serde_json::json;
use uuid::Uuid;

use super::Filter;
use crate::{
    Database, JobId, Origin, Tx,
    audit::{self, Change},
    clock,
    watch::{Event, Status, publish, snapshot},
};

/// Jobs that one transaction stops.
const AT_ONCE: i64 = 500;
/// Workers that are told at the same time.
const TOLD_AT_ONCE: usize = 16;

/// What came of asking a job to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancel {
    /// It was waiting, and is over.
    Cancelled,
    /// It is running; its handler has been told.
    Requested,
    /// It was over before.
    AlreadyOver,
    /// There is no such job.
    NotFound,
}

/// What came of asking many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CancelledAll {
    /// They were waiting, and are over.
    pub cancelled: i64,
    /// They are running; their handlers have been told, and had not been before.
    pub requested: i64,
    /// There may be more, for another call.
    pub more: bool,
}

/// A running job that has been asked to stop; to be told once that is committed.
#[derive(Debug)]
pub(crate) struct Asked {
    id: JobId,
    epoch: i64,
    attempt: i32,
}

/// Stops a job: a waiting one at once, a running one by asking its handler.
pub async fn cancel(
    database: &Database,
    workspace: Option<Uuid>,
    id: JobId,
    by: &Origin,
) -> Result<Cancel, sqlx::Error> {
    let mut tx = database.begin().await?;
    let (outcome, asked) = cancel_within(&mut tx, workspace, id, by).await?;
    if let Some(asked) = asked {
        tx.announce_after_commit(asked);
    }
    tx.commit().await?;
    Ok(outcome)
}

/// Stops a job within a transaction. Whoever is to be told is [`announce`]'s, after the commit.
pub(crate) async fn cancel_within(
    tx: &mut Tx,
    workspace: Option<Uuid>,
    id: JobId,
    by: &Origin,
) -> Result<(Cancel, Option<Asked>), sqlx::Error> {
    // Held until the commit, so that the job stays what it is found to be.
    let state = sqlx::query_scalar!(
        "select state from jobs where id = $1 and workspace_id is not distinct from $2 for update",
        id.0,
        workspace,
    )
    .fetch_optional(tx.conn())
    .await?;
    match state.as_deref() {
        Some("waiting") => {
            end_waiting(tx, &[id.0]).await?;
            audit::note(tx, by, Change::of_job(workspace, "job.cancelled", id, json!({}))).await?;
            Ok((Cancel::Cancelled, None))
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
            audit::note(tx, by, Change::of_job(workspace, "job.cancel_requested", id, json!({}))).await?;
            Ok((Cancel::Requested, Some(Asked { id, epoch: asked.epoch, attempt: asked.attempt })))
        }
        None => {
            let over = sqlx::query_scalar!(
                r#"select true as "over!" from finished_jobs
                    where id = $1 and workspace_id is not distinct from $2"#,
                id.0,
                workspace,
            )
            .fetch_optional(tx.conn())
            .await?;
            Ok((if over.is_some() { Cancel::AlreadyOver } else { Cancel::NotFound }, None))
        }
    }
}

/// Stops the jobs that match, some hundred in a transaction, until none is left or `at_most` have been
/// stopped. What has been stopped stays so when a later transaction fails.
pub async fn cancel_all(
    database: &Database,
    workspace: Option<Uuid>,
    filter: &Filter,
    at_most: i64,
    by: &Origin,
) -> Result<CancelledAll, sqlx::Error> {
    let mut all = CancelledAll::default();
    // The waiting ones first: those that are claimed meanwhile are found among the running.
    loop {
        let room = AT_ONCE.min(at_most - all.cancelled);
        let ended = cancel_waiting(database, workspace, filter, room, by).await?;
        all.cancelled += ended;
        if ended < room {
            break;
        }
        if all.cancelled >= at_most {
            return Ok(CancelledAll { more: true, ..all });
        }
    }
    loop {
        let room = AT_ONCE.min(at_most - all.cancelled - all.requested);
        let asked = ask_running(database, workspace, filter, room, by).await?;
        let count = i64::try_from(asked.len()).unwrap_or(i64::MAX);
        all.requested += count;
        stream::iter(asked).for_each_concurrent(TOLD_AT_ONCE, |asked| announce(database, asked)).await;
        if count < room {
            return Ok(all);
        }
        if all.cancelled + all.requested >= at_most {
            return Ok(CancelledAll { more: true, ..all });
        }
    }
}

async fn cancel_waiting(
    database: &Database,
    workspace: Option<Uuid>,
    filter: &Filter,
    limit: i64,
    by: &Origin,
) -> Result<i64, sqlx::Error> {
    let (state, due) = filter.state();
    let mut tx = database.begin().await?;
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
        workspace,
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
    end_waiting(&mut tx, &held).await?;
    note_many(&mut tx, by, workspace, "jobs.cancelled", &held).await?;
    tx.commit().await?;
    Ok(i64::try_from(held.len()).unwrap_or(i64::MAX))
}

async fn ask_running(
    database: &Database,
    workspace: Option<Uuid>,
    filter: &Filter,
    limit: i64,
    by: &Origin,
) -> Result<Vec<Asked>, sqlx::Error> {
    let (state, due) = filter.state();
    let mut tx = database.begin().await?;
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
        workspace,
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
    note_many(&mut tx, by, workspace, "jobs.cancel_requested", &ids).await?;
    tx.commit().await?;
    Ok(rows
        .into_iter()
        .map(|row| Asked { id: JobId(row.id), epoch: row.epoch, attempt: row.attempt })
        .collect())
}

/// One entry of the audit for the jobs of a transaction.
async fn note_many(
    tx: &mut Tx,
    by: &Origin,
    workspace: Option<Uuid>,
    action: &str,
    ids: &[Uuid],
) -> Result<(), sqlx::Error> {
    if ids.is_empty() {
        return Ok(());
    }
    let data = json!({ "job_ids": ids });
    audit::note(tx, by, Change { workspace, action, resource_type: "job", resource_id: None, data }).await
}

/// Ends a job that has been put back although someone had asked to cancel it: its attempt failed, or
/// gave it back, before the request was heard. Another attempt would only put the end off.
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

/// Moves waiting jobs, whose rows are held, to the finished ones; their watchers hear of it after the
/// commit.
async fn end_waiting(tx: &mut Tx, ids: &[Uuid]) -> Result<(), sqlx::Error> {
    if ids.is_empty() {
        return Ok(());
    }
    let ended = sqlx::query!(
        "with gone as (
             delete from jobs where id = any($1) returning *
         )
         insert into finished_jobs (id, workspace_id, kind, version, pool, payload, origin, priority, state,
                attempt, max_attempts, crashes, epoch, progress, error, created_at, started_at, checkpoints,
                unique_key, batch_id)
         select id, workspace_id, kind, version, pool, payload, origin, priority, 'cancelled', attempt,
                max_attempts, crashes, epoch + 1, progress, error, created_at, started_at, checkpoints,
                unique_key, batch_id
           from gone
         returning id, epoch",
        ids,
    )
    .fetch_all(tx.conn())
    .await?;
    for job in ended {
        tx.publish_after_commit(Event::transition(JobId(job.id), Status::Cancelled, job.epoch, clock::now()));
    }
    Ok(())
}

/// Tells the watchers and the worker. What is lost, the worker's check of the ledger finds.
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
