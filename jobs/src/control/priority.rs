//! Changing a waiting job's priority among those of its workspace.

use serde_json::json;

use crate::{
    Origin, Owner, Tx,
    audit::{self, Change},
    clock,
    watch::{Event, Status},
};

/// Result of changing a priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prioritize {
    /// It has that priority, and waits.
    Done,
    /// It is running, or has ended.
    NotWaiting,
    /// There is no such job.
    NotFound,
}

/// Sets the priority of a waiting job, of which `seen` is the newest event, from 0 (first) to 9 (last). A change is a
/// transition, which its watchers see; an id that is on its way to a worker already isn't recalled.
pub async fn prioritize(
    tx: &mut Tx,
    owner: Owner,
    seen: &Event,
    priority: i16,
    by: &Origin,
) -> Result<Prioritize, sqlx::Error> {
    let id = seen.job_id;
    let job = sqlx::query!(
        r#"with held as (
               select id, priority as before from jobs
                where id = $1 and workspace_id is not distinct from $2 and state = 'waiting'
                  for update
           )
           update jobs j
              set priority = $3, epoch = case when held.before = $3 then j.epoch else j.epoch + 1 end
             from held where j.id = held.id
           returning j.epoch, j.attempt, j.run_at <= now() as "due!", held.before as "before!""#,
        id.0,
        owner.workspace(),
        priority,
    )
    .fetch_optional(tx.conn())
    .await?;
    let Some(job) = job else {
        let exists = sqlx::query_scalar!(
            r#"select true as "exists!" from all_jobs where id = $1 and workspace_id is not distinct from $2"#,
            id.0,
            owner.workspace(),
        )
        .fetch_optional(tx.conn())
        .await?;
        return Ok(if exists.is_some() { Prioritize::NotWaiting } else { Prioritize::NotFound });
    };
    if job.before == priority {
        tx.mark_noted(); // nothing has changed
        return Ok(Prioritize::Done);
    }
    let data = json!({ "from": job.before, "to": priority });
    audit::note(tx, by, Change::of_job(owner, "job.reprioritized", id, data)).await?;
    let status = if job.due { Status::Queued } else { Status::Pending };
    let transition = Event::transition(id, status, job.epoch, clock::now());
    let mut event = transition.carrying_on(Some(seen.clone()));
    event.attempt = job.attempt;
    tx.publish_after_commit(event);
    Ok(Prioritize::Done)
}
