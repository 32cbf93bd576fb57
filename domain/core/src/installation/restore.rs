//! Adoption of a dump that was restored into another cluster.
//!
//! Records, their versions, atomic imports and events have the number of the transaction that wrote them
//! (`xid8`), by which an export or the relay decides what its snapshot sees. Such numbers belong to the
//! cluster: in a cluster whose counter is lower they lie in the future, and no snapshot sees those rows.

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::workspace_schema::identifier;

/// The first transaction of any cluster, which every snapshot sees.
const FIRST_TRANSACTION: &str = "3";

/// Makes a restored database this cluster's own: rows whose transaction number is still to come here count as
/// written by the first one, and incomplete exports restart. Answers the number of workspaces.
///
/// Each workspace is a transaction of its own. Killed at any line, another run does the rest; the cluster is recorded
/// last. Where nothing was restored it only restarts unfinished exports. The shared schemas are up to date.
pub(crate) async fn adopt(conn: &mut PgConnection) -> Result<usize, sqlx::Error> {
    let tenants = tenants(conn).await?;
    for tenant in &tenants {
        adopt_workspace(conn, tenant).await?;
    }
    let mut tx = conn.begin().await?;
    sqlx::query!(
        "delete from shard.job_checkpoints
          where job_id in (select id from shard.all_jobs where kind = 'records.export' and state <> 'completed')"
    )
    .execute(&mut *tx)
    .await?;
    let events =
        format!("update shard.events set xid = '{FIRST_TRANSACTION}' where xid >= pg_current_xact_id()");
    sqlx::raw_sql(AssertSqlSafe(events)).execute(&mut *tx).await?;
    sqlx::query!(
        "insert into control.cluster (system_identifier)
         select system_identifier from pg_control_system()
         on conflict (only_row) do update set system_identifier = excluded.system_identifier"
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(tenants.len())
}

/// Whether the data has transaction numbers that are still to come in this cluster, as after the restore of a dump
/// that does not name its cluster. Reads every record: for a database whose cluster is not recorded yet.
pub(crate) async fn is_from_elsewhere(conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let events = sqlx::query_scalar!(
        r#"select exists (select from shard.events where xid >= pg_snapshot_xmax(pg_current_snapshot())) as "any!""#
    )
    .fetch_one(&mut *conn)
    .await?;
    if events {
        return Ok(true);
    }
    for tenant in tenants(conn).await? {
        let tenant = identifier(&tenant);
        let statement = format!(
            "select exists (select from {tenant}.records where written_by >= bound)
                 or exists (select from {tenant}.record_versions where written_by >= bound or replaced_by >= bound)
                 or exists (select from {tenant}.staged_imports where published_by >= bound)
                 or exists (select from {tenant}.exports
                             where pg_snapshot_xmax(snapshot::pg_snapshot) > bound
                               and job_id not in (select id from shard.finished_jobs where state = 'completed'))
               from pg_snapshot_xmax(pg_current_snapshot()) bound"
        );
        if sqlx::query_scalar(AssertSqlSafe(statement)).fetch_one(&mut *conn).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The schemas of workspaces.
async fn tenants(conn: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select nspname::text as "name!" from pg_namespace
            where nspname ~ '^ws_[0-9a-f]{32}$' and to_regclass(nspname || '.records') is not null
            order by nspname"#
    )
    .fetch_all(conn)
    .await
}

async fn adopt_workspace(conn: &mut PgConnection, tenant: &str) -> Result<(), sqlx::Error> {
    let tenant = identifier(tenant);
    let statements = format!(
        "set local search_path = {tenant};
         update records set written_by = '{FIRST_TRANSACTION}' where written_by >= pg_current_xact_id();
         update record_versions
            set written_by = case when written_by >= pg_current_xact_id() then '{FIRST_TRANSACTION}' else written_by end,
                replaced_by = '{FIRST_TRANSACTION}'
          where replaced_by >= pg_current_xact_id();
         update staged_imports set published_by = '{FIRST_TRANSACTION}' where published_by >= pg_current_xact_id();
         delete from export_segments
          where job_id not in (select id from shard.finished_jobs where state = 'completed');
         update exports set snapshot = null, columns = null
          where job_id not in (select id from shard.finished_jobs where state = 'completed');"
    );
    let mut tx = conn.begin().await?;
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut *tx).await?;
    tx.commit().await
}
