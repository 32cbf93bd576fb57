//! Lists of jobs.

use sqlx::PgConnection;

use super::Filter;
use crate::{
    Database, MAX_QUICK_ROWS, Owner,
    watch::snapshot::{Row, Snapshot},
};

/// Jobs of a list are counted up to this.
pub const MAX_COUNTED: i64 = 10_000;

/// Jobs of an owner, newest first, and how many there are; with more than [`MAX_COUNTED`], one more than that.
pub async fn list(
    database: &Database,
    owner: Owner,
    filter: &Filter,
    limit: i64,
    offset: i64,
) -> Result<(Vec<Snapshot>, i64), sqlx::Error> {
    let mut reader = database.reader().await?;
    // A page of all jobs reads only those before it; a filtered one may read all of them.
    if !filter.is_none() || offset + limit > MAX_QUICK_ROWS {
        let all = count_all(reader.conn(), owner).await?;
        reader = reader.for_rows(database, all).await?;
    }
    let (state, due) = filter.state();
    let rows = sqlx::query_as!(
        Row,
        r#"select id as "id!", workspace_id, kind as "kind!", pool as "pool!", origin as "origin!",
                  priority as "priority!", state as "state!", run_at as "run_at!", run_at <= now() as "due!",
                  attempt as "attempt!", max_attempts as "max_attempts!", epoch as "epoch!",
                  cancel_requested as "cancel_requested!", progress, result, error,
                  created_at as "created_at!", started_at, finished_at
             from all_jobs
            where (workspace_id = $1 or ($1::uuid is null and workspace_id is null))
              and job_matches(kind, state, run_at, batch_id, created_at, error, progress,
                              $2, $3, $4, $5, $6, $7, $8)
              and kind <> all($9)
            order by id desc
            limit $10 offset $11"#,
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
        offset,
    )
    .fetch_all(reader.conn())
    .await?;
    let total = sqlx::query_scalar!(
        r#"select count(*) as "total!" from (
               select from all_jobs
                where (workspace_id = $1 or ($1::uuid is null and workspace_id is null))
                  and job_matches(kind, state, run_at, batch_id, created_at, error, progress,
                                  $2, $3, $4, $5, $6, $7, $8)
                  and kind <> all($9)
                limit $10) counted"#,
        owner.workspace(),
        &filter.kinds,
        state,
        due,
        filter.batch_id(),
        filter.since,
        filter.until,
        filter.text,
        &filter.except,
        MAX_COUNTED + 1,
    )
    .fetch_one(reader.conn())
    .await?;
    let jobs: Result<_, sqlx::Error> = rows.into_iter().map(Row::into_snapshot).collect();
    Ok((jobs?, total))
}

/// The number of an owner's jobs, as far as needed to decide whether reading them is a long read.
async fn count_all(conn: &mut PgConnection, owner: Owner) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select count(*) as "jobs!" from (
               select from all_jobs
                where (workspace_id = $1 or ($1::uuid is null and workspace_id is null))
                limit $2) counted"#,
        owner.workspace(),
        MAX_QUICK_ROWS + 1,
    )
    .fetch_one(conn)
    .await
}
