//! Retention of the audit log: each workspace sets its own; entries of accounts are kept as long as those of a
//! workspace without a setting. Pruned in small batches.

use jobs::Database;

use crate::{WorkspaceId, governance::AUDIT_RETENTION};

/// Entries removed by one statement.
const BATCH: i64 = 1_000;
/// Workspaces checked by one statement.
const WORKSPACES: i64 = 1_000;

/// A workspace with entries beyond its retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overdue {
    /// Workspace id.
    pub workspace: WorkspaceId,
    /// Retention in days.
    pub days: i32,
}

/// Those workspaces, among a number of them after the given one, and the position to continue from. Determined
/// by their oldest entries, which have the smallest ids.
pub async fn overdue(
    database: &Database,
    after: WorkspaceId,
) -> Result<(Vec<Overdue>, Option<WorkspaceId>), sqlx::Error> {
    let rows = sqlx::query!(
        r#"select w.id, coalesce(g.audit_retention_days, $2) as "days!",
                  coalesce((select a.at from audit_log a where a.workspace_id = w.id order by a.id limit 1)
                           < now() - make_interval(days => coalesce(g.audit_retention_days, $2)), false)
                  as "is_overdue!"
             from workspaces w left join governance g on g.workspace_id = w.id
            where w.id > $1 order by w.id limit $3"#,
        after.0,
        AUDIT_RETENTION,
        WORKSPACES,
    )
    .fetch_all(&database.pool)
    .await?;
    let is_full = i64::try_from(rows.len()).is_ok_and(|rows| rows >= WORKSPACES);
    let next = rows.last().filter(|_| is_full).map(|row| row.id);
    let overdue = rows.into_iter().filter(|row| row.is_overdue);
    Ok((overdue.map(|row| Overdue { workspace: row.id, days: row.days }).collect(), next))
}

/// Removes a batch of a workspace's oldest entries that are beyond its retention. Answers whether there may be
/// more.
pub async fn prune(database: &Database, overdue: Overdue) -> Result<bool, sqlx::Error> {
    let gone = sqlx::query!(
        "delete from audit_log a
          using (select id, at from audit_log where workspace_id = $1 order by id limit $3) as oldest
          where a.id = oldest.id and oldest.at < now() - make_interval(days => $2)",
        overdue.workspace.0,
        overdue.days,
        BATCH,
    )
    .execute(&database.pool)
    .await?;
    Ok(i64::try_from(gone.rows_affected()).is_ok_and(|gone| gone >= BATCH))
}

/// Removes a batch of entries of no existing workspace that are beyond the retention. Answers whether there
/// may be more.
pub async fn prune_others(database: &Database) -> Result<bool, sqlx::Error> {
    let gone = sqlx::query!(
        "delete from audit_log where id in (
            select a.id from audit_log a
             where a.at < now() - make_interval(days => $1)
               and (a.workspace_id is null or not exists (select from workspaces w where w.id = a.workspace_id))
             order by a.at limit $2)",
        AUDIT_RETENTION,
        BATCH,
    )
    .execute(&database.pool)
    .await?;
    Ok(i64::try_from(gone.rows_affected()).is_ok_and(|gone| gone >= BATCH))
}
