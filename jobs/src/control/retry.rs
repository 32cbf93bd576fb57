//! Retrying a job that has ended.

use serde_json::json;

use crate::{
    JobId, Origin, Owner, Tx,
    audit::{self, Change},
    batch, clock,
    watch::{Event, Status},
};

/// Result of retrying a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It waits again, with a fresh set of attempts.
    Queued,
    /// Only a failed or cancelled job can be retried.
    NotOver,
    /// Another job has taken its unique key meanwhile, and represents it.
    Duplicate(JobId),
    /// There is no such job.
    NotFound,
}

/// Retries a failed or cancelled job, from its last checkpoint onward where the handler
/// has one; it gets a fresh set of attempts. Of a batch, the jobs that failed or were cancelled are retried.
pub async fn retry(tx: &mut Tx, owner: Owner, id: JobId, by: &Origin) -> Result<Retry, sqlx::Error> {
    let outcome = put_in_line(tx, owner, id).await?;
    if outcome == Retry::Queued {
        audit::note(tx, by, Change::of_job(owner, "job.retried", id, json!({}))).await?;
    }
    Ok(outcome)
}

async fn put_in_line(tx: &mut Tx, owner: Owner, id: JobId) -> Result<Retry, sqlx::Error> {
    if batch::reopen(tx, owner, id).await? {
        return Ok(Retry::Queued);
    }
    if let Some(other) = take_key_again(tx, owner, id).await? {
        return Ok(Retry::Duplicate(other));
    }
    let row = sqlx::query!(
        r#"select r.epoch as "epoch!", r.pool as "pool!"
             from (select id from finished_jobs
                    where id = $1 and workspace_id is not distinct from $2 and state in ('failed', 'cancelled')
                      for update) held,
                  restart_jobs(array[held.id], true) r"#,
        id.0,
        owner.workspace(),
    )
    .fetch_optional(tx.conn())
    .await?;
    if let Some(row) = row {
        begin_anew(tx, vec![Event::transition(id, Status::Queued, row.epoch, clock::now())]).await?;
        if let Some(pool) = crate::Pool::named(&row.pool) {
            tx.wake_after_commit(pool);
        }
        return Ok(Retry::Queued);
    }
    let exists = sqlx::query_scalar!(
        r#"select true as "exists!" from all_jobs where id = $1 and workspace_id is not distinct from $2"#,
        id.0,
        owner.workspace(),
    )
    .fetch_optional(tx.conn())
    .await?;
    Ok(if exists.is_some() { Retry::NotOver } else { Retry::NotFound })
}

/// Begins the events of another run of ended jobs: each is stored as its job's progress and published after the
/// commit. The stored event is newer than all that Redis and the API processes have seen of the previous run, so that
/// its percentage is never confused with the new run's.
pub(crate) async fn begin_anew(tx: &mut Tx, beginnings: Vec<Event>) -> Result<(), sqlx::Error> {
    let ids: Vec<_> = beginnings.iter().map(|event| event.job_id.0).collect();
    let kept: Result<Vec<_>, _> = beginnings.iter().map(serde_json::to_value).collect();
    sqlx::query!(
        "update jobs j set progress = kept.event
           from unnest($1::uuid[], $2::jsonb[]) as kept(id, event)
          where j.id = kept.id",
        &ids,
        &kept.map_err(|error| sqlx::Error::Encode(error.into()))?,
    )
    .execute(tx.conn())
    .await?;
    for event in beginnings {
        tx.publish_after_commit(event);
    }
    Ok(())
}

/// A failure has released the job's unique key. Answers the job that has taken it meanwhile, if any.
async fn take_key_again(tx: &mut Tx, owner: Owner, id: JobId) -> Result<Option<JobId>, sqlx::Error> {
    let holder = sqlx::query_scalar!(
        r#"insert into job_keys as k (tenant, kind, key, job_id, until)
           select coalesce(workspace_id, '00000000-0000-0000-0000-000000000000'), kind, unique_key, id, 'done'
             from finished_jobs
            where id = $1 and workspace_id is not distinct from $2 and state in ('failed', 'cancelled')
              and unique_key is not null
           on conflict (tenant, kind, key) do update
              set job_id = case when k.expires_at < now() then excluded.job_id else k.job_id end,
                  until = case when k.expires_at < now() then excluded.until else k.until end,
                  expires_at = case when k.expires_at < now() then null else k.expires_at end
           returning job_id"#,
        id.0,
        owner.workspace(),
    )
    .fetch_optional(tx.conn())
    .await?;
    Ok(holder.map(JobId).filter(|holder| *holder != id))
}
