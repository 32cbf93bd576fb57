//! Removing a job from the history.

use serde_json::json;

use crate::{
    JobId, Origin, Owner, Tx,
    audit::{self, Change},
};

/// Result of deleting a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delete {
    /// Deleted, with its log.
    Deleted,
    /// It has not ended; cancel it first.
    NotOver,
    /// There is no such job.
    NotFound,
}

/// Removes a finished job from the history.
pub async fn delete(tx: &mut Tx, owner: Owner, id: JobId, by: &Origin) -> Result<Delete, sqlx::Error> {
    let deleted = sqlx::query!(
        r#"with gone as (
               delete from finished_jobs where id = $1 and workspace_id is not distinct from $2 returning id, kind, state
           ), lines as (
               delete from job_logs l using gone where l.job_id = gone.id
           ), effects as (
               delete from job_checkpoints c using gone where c.job_id = gone.id
           )
           select kind, state from gone"#,
        id.0,
        owner.workspace(),
    )
    .fetch_optional(tx.conn())
    .await?;
    if let Some(gone) = deleted {
        let data = json!({ "kind": gone.kind, "state": gone.state });
        audit::note(tx, by, Change::of_job(owner, "job.deleted", id, data)).await?;
        return Ok(Delete::Deleted);
    }
    let live = sqlx::query_scalar!(
        r#"select true as "live!" from jobs where id = $1 and workspace_id is not distinct from $2"#,
        id.0,
        owner.workspace(),
    )
    .fetch_optional(tx.conn())
    .await?;
    Ok(if live.is_some() { Delete::NotOver } else { Delete::NotFound })
}
