//! Pauses: jobs of a pool, a kind, a tenant, or of any combination of them, are kept from starting.
//! The claim refuses them; running jobs continue. Each pause is removed separately: a job waits while any
//! pause matches it.

use chrono::{DateTime, Utc};
use serde_json::json;
use uuid::Uuid;

use crate::{
    Database, Origin, PauseId, Pool, Tx,
    audit::{self, Change},
    kinds,
};

/// A pause of the jobs that match everything that is set.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(poem_openapi::Object))]
pub struct Pause {
    /// Pause id.
    pub id: PauseId,
    /// Pool of the paused jobs; absent for all pools.
    #[cfg_attr(feature = "openapi", oai(skip_serializing_if_is_none))]
    pub pool: Option<String>,
    /// Kind of the paused jobs; absent for all kinds.
    #[cfg_attr(feature = "openapi", oai(skip_serializing_if_is_none))]
    pub kind: Option<String>,
    /// Workspace of the paused jobs; absent for all workspaces. The nil id stands for the installation's own jobs.
    #[cfg_attr(feature = "openapi", oai(rename = "workspace_id", skip_serializing_if_is_none))]
    pub tenant: Option<Uuid>,
    /// Reason, as given by the operator; absent if none was given.
    #[cfg_attr(feature = "openapi", oai(skip_serializing_if_is_none))]
    pub reason: Option<String>,
    /// Name of the operator, as given; absent if none was given.
    #[cfg_attr(feature = "openapi", oai(skip_serializing_if_is_none))]
    pub paused_by: Option<String>,
    /// Creation time.
    pub created_at: DateTime<Utc>,
}

/// A pause to set. At least one of the first three is required.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewPause {
    /// Pool of the paused jobs.
    pub pool: Option<Pool>,
    /// Kind of the paused jobs.
    pub kind: Option<String>,
    /// Workspace of the paused jobs; nil: the installation's own.
    pub tenant: Option<Uuid>,
    /// Reason.
    pub reason: Option<String>,
    /// Name of the operator.
    pub paused_by: Option<String>,
}

/// All pauses, the oldest first.
pub async fn list(database: &Database) -> Result<Vec<Pause>, sqlx::Error> {
    sqlx::query_as!(
        Pause,
        "select id, pool, kind, tenant, reason, paused_by, created_at from job_pauses order by created_at, id",
    )
    .fetch_all(&database.pool)
    .await
}

/// Whether jobs of that kind may exist: this release has it, or there is a job that another release has enqueued.
pub async fn is_kind(database: &Database, kind: &str) -> Result<bool, sqlx::Error> {
    if kinds::named(kind).is_some() {
        return Ok(true);
    }
    sqlx::query_scalar!(r#"select exists (select from jobs where kind = $1) as "known!""#, kind)
        .fetch_one(&database.pool)
        .await
}

/// Sets a pause. An existing one for the same jobs keeps its id and gets the new reason.
///
/// # Errors
/// Refused by the database if neither pool, kind nor tenant is set.
pub async fn pause(tx: &mut Tx, new: &NewPause, by: &Origin) -> Result<Pause, sqlx::Error> {
    let pause = sqlx::query_as!(
        Pause,
        "insert into job_pauses (id, pool, kind, tenant, reason, paused_by)
         values ($1, $2, $3, $4, $5, $6)
         on conflict on constraint job_pauses_key do update
            set reason = coalesce(excluded.reason, job_pauses.reason),
                paused_by = coalesce(excluded.paused_by, job_pauses.paused_by)
         returning id, pool, kind, tenant, reason, paused_by, created_at",
        PauseId::new().0,
        new.pool.map(Pool::name),
        new.kind,
        new.tenant,
        new.reason,
        new.paused_by,
    )
    .fetch_one(tx.conn())
    .await?;
    note(tx, by, "job_pause.created", &pause).await?;
    tx.wake_all_after_commit();
    Ok(pause)
}

/// Removes a pause; its jobs resume at once. False: there was none.
pub async fn resume(tx: &mut Tx, id: PauseId, by: &Origin) -> Result<bool, sqlx::Error> {
    let lifted = sqlx::query_as!(
        Pause,
        "delete from job_pauses where id = $1
         returning id, pool, kind, tenant, reason, paused_by, created_at",
        id.0,
    )
    .fetch_optional(tx.conn())
    .await?;
    let Some(lifted) = lifted else { return Ok(false) };
    note(tx, by, "job_pause.deleted", &lifted).await?;
    tx.wake_all_after_commit();
    Ok(true)
}

async fn note(tx: &mut Tx, by: &Origin, action: &str, pause: &Pause) -> Result<(), sqlx::Error> {
    let Pause { id, pool, kind, tenant, reason, paused_by, created_at: _ } = pause;
    let data =
        json!({ "pool": pool, "kind": kind, "tenant": tenant, "reason": reason, "paused_by": paused_by });
    // Of a workspace, if it concerns one; nil is the installation's own.
    let workspace = tenant.filter(|tenant| !tenant.is_nil());
    audit::note(
        tx,
        by,
        Change { workspace, action, resource_type: "job_pause", resource_id: Some(id.0), data },
    )
    .await
}
