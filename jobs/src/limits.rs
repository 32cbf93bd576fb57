//! Limits: numbers of jobs that may run at once, and that may start in a period. Claims enforce them,
//! one claim after the other, so they hold however many dispatchers and workers there are.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::{
    Database, LimitId, Origin, Tx,
    audit::{self, Change},
    ledger::interval,
};

/// Scope of a limit: the jobs that are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(poem_openapi::Enum),
    oai(rename = "LimitScope", rename_all = "snake_case")
)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The jobs of all workspaces.
    Installation,
    /// The jobs of one workspace; if none is given, each workspace's separately.
    #[serde(rename = "workspace")]
    #[cfg_attr(feature = "openapi", oai(rename = "workspace"))]
    Tenant,
}

impl Scope {
    const fn name(self) -> &'static str {
        match self {
            Self::Installation => "installation",
            Self::Tenant => "tenant",
        }
    }
}

/// A limit.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "openapi", derive(poem_openapi::Object))]
pub struct Limit {
    /// Limit id.
    pub id: LimitId,
    /// Scope: the jobs that are counted together.
    pub scope: Scope,
    /// Workspace id. Null with scope `workspace`: for every workspace that has no limit of
    /// its own for the same kind.
    #[cfg_attr(feature = "openapi", oai(rename = "workspace_id", skip_serializing_if_is_none))]
    pub tenant: Option<Uuid>,
    /// Job kind that is counted; null counts all kinds together.
    #[cfg_attr(feature = "openapi", oai(skip_serializing_if_is_none))]
    pub kind: Option<String>,
    /// Maximum number of jobs that run at once; null for no limit.
    #[cfg_attr(feature = "openapi", oai(skip_serializing_if_is_none))]
    pub max_running: Option<i32>,
    /// Maximum number of jobs that start in a period; null for no limit.
    #[cfg_attr(feature = "openapi", oai(skip_serializing_if_is_none))]
    pub max_starts: Option<i32>,
    /// Length of the period in seconds; null without `max_starts`. A period begins with its first start.
    #[cfg_attr(feature = "openapi", oai(skip_serializing_if_is_none))]
    pub per_seconds: Option<f64>,
    /// Time of the last change.
    pub updated_at: DateTime<Utc>,
}

/// A limit to set. It has `max_running`, `starts` or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLimit {
    /// Scope: the jobs that are counted together.
    pub scope: Scope,
    /// Workspace; only with scope [`Scope::Tenant`].
    pub tenant: Option<Uuid>,
    /// Job kind that is counted; none counts all kinds together.
    pub kind: Option<String>,
    /// Maximum number of jobs that run at once.
    pub max_running: Option<i32>,
    /// Maximum number of jobs that start in a period, and its length.
    pub starts: Option<(i32, Duration)>,
}

struct Row {
    id: LimitId,
    scope: String,
    tenant: Option<Uuid>,
    kind: Option<String>,
    max_running: Option<i32>,
    max_starts: Option<i32>,
    per_seconds: Option<f64>,
    updated_at: DateTime<Utc>,
}

impl From<Row> for Limit {
    fn from(row: Row) -> Self {
        let Row { id, scope, tenant, kind, max_running, max_starts, per_seconds, updated_at } = row;
        let scope = if scope == Scope::Tenant.name() { Scope::Tenant } else { Scope::Installation };
        Self { id, scope, tenant, kind, max_running, max_starts, per_seconds, updated_at }
    }
}

/// All limits, those of the installation first.
pub async fn list(database: &Database) -> Result<Vec<Limit>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select id, scope, tenant, kind, max_running, max_starts,
                  extract(epoch from per)::float8 as per_seconds, updated_at
             from job_limits
            order by scope, tenant nulls first, kind nulls first"#,
    )
    .fetch_all(&database.pool)
    .await?;
    Ok(rows.into_iter().map(Limit::from).collect())
}

/// Sets the limit of that scope, tenant and kind, in place of the present one. Running jobs
/// continue, even if they exceed it.
///
/// # Errors
/// Refused by the database if it has no maximum at all.
pub async fn put(tx: &mut Tx, new: &NewLimit, by: &Origin) -> Result<Limit, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        r#"insert into job_limits (id, scope, tenant, kind, max_running, max_starts, per)
           values ($1, $2, $3, $4, $5, $6, $7)
           on conflict on constraint job_limits_key do update
              set max_running = excluded.max_running, max_starts = excluded.max_starts, per = excluded.per,
                  updated_at = now()
           returning id, scope, tenant, kind, max_running, max_starts,
                     extract(epoch from per)::float8 as per_seconds, updated_at"#,
        LimitId::new().0,
        new.scope.name(),
        new.tenant,
        new.kind,
        new.max_running,
        new.starts.map(|(starts, _)| starts),
        new.starts.map(|(_, per)| interval(per)) as _,
    )
    .fetch_one(tx.conn())
    .await?;
    let limit = row.into();
    note(tx, by, "job_limit.set", &limit).await?;
    tx.wake_all_after_commit();
    Ok(limit)
}

/// Removes a limit. False: there was none.
pub async fn delete(tx: &mut Tx, id: LimitId, by: &Origin) -> Result<bool, sqlx::Error> {
    let gone = sqlx::query_as!(
        Row,
        r#"delete from job_limits where id = $1
           returning id, scope, tenant, kind, max_running, max_starts,
                     extract(epoch from per)::float8 as per_seconds, updated_at"#,
        id.0,
    )
    .fetch_optional(tx.conn())
    .await?;
    let Some(gone) = gone else { return Ok(false) };
    note(tx, by, "job_limit.deleted", &gone.into()).await?;
    tx.wake_all_after_commit();
    Ok(true)
}

async fn note(tx: &mut Tx, by: &Origin, action: &str, limit: &Limit) -> Result<(), sqlx::Error> {
    let Limit { id, scope, tenant, kind, max_running, max_starts, per_seconds, updated_at: _ } = limit;
    let data = json!({ "scope": scope.name(), "tenant": tenant, "kind": kind, "max_running": max_running,
                       "max_starts": max_starts, "per_seconds": per_seconds });
    let workspace = tenant.filter(|tenant| !tenant.is_nil());
    audit::note(
        tx,
        by,
        Change { workspace, action, resource_type: "job_limit", resource_id: Some(id.0), data },
    )
    .await
}
