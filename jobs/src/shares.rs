//! Shares: the weights of tenants in a busy pool. The default is
//! weight 1. The dispatcher respects them; they add no capacity.

use chrono::{DateTime, Utc};
use serde_json::json;
use uuid::Uuid;

use crate::{
    Database, Origin, Tx,
    audit::{self, Change},
};

/// A workspace's share.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(poem_openapi::Object))]
pub struct Share {
    /// Workspace id; the nil id stands for the installation's own jobs.
    #[cfg_attr(feature = "openapi", oai(rename = "workspace_id"))]
    pub tenant: Uuid,
    /// Weight, relative to the others: 2 gives twice as much as 1.
    pub weight: i32,
    /// Time of the last change.
    pub updated_at: DateTime<Utc>,
}

/// All shares that were set, the largest first.
pub async fn list(database: &Database) -> Result<Vec<Share>, sqlx::Error> {
    sqlx::query_as!(Share, "select tenant, weight, updated_at from job_shares order by weight desc, tenant")
        .fetch_all(&database.pool)
        .await
}

/// Sets a tenant's share.
///
/// # Errors
/// Refused by the database when the weight is not between 1 and 1,000.
pub async fn put(tx: &mut Tx, tenant: Uuid, weight: i32, by: &Origin) -> Result<Share, sqlx::Error> {
    let share = sqlx::query_as!(
        Share,
        "insert into job_shares (tenant, weight) values ($1, $2)
         on conflict (tenant) do update set weight = excluded.weight, updated_at = now()
         returning tenant, weight, updated_at",
        tenant,
        weight,
    )
    .fetch_one(tx.conn())
    .await?;
    note(tx, by, "job_share.set", tenant, weight).await?;
    tx.wake_all_after_commit();
    Ok(share)
}

/// Resets a tenant's weight to the default. False: it had the default already.
pub async fn delete(tx: &mut Tx, tenant: Uuid, by: &Origin) -> Result<bool, sqlx::Error> {
    let gone = sqlx::query_scalar!("delete from job_shares where tenant = $1 returning weight", tenant)
        .fetch_optional(tx.conn())
        .await?;
    let Some(weight) = gone else { return Ok(false) };
    note(tx, by, "job_share.deleted", tenant, weight).await?;
    tx.wake_all_after_commit();
    Ok(true)
}

async fn note(tx: &mut Tx, by: &Origin, action: &str, tenant: Uuid, weight: i32) -> Result<(), sqlx::Error> {
    let workspace = Some(tenant).filter(|tenant| !tenant.is_nil());
    let data = json!({ "weight": weight });
    audit::note(
        tx,
        by,
        Change { workspace, action, resource_type: "job_share", resource_id: Some(tenant), data },
    )
    .await
}
