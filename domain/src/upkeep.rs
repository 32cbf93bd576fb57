//! What maintenance looks for across workspaces: things whose job or use has gone.

use jobs::{Database, JobId};
use uuid::Uuid;

use crate::{WorkspaceDb, WorkspaceId};

/// The workspaces that serve.
pub async fn workspaces(database: &Database) -> Result<Vec<WorkspaceId>, sqlx::Error> {
    let ids = sqlx::query_scalar!("select id from workspaces where state = 'ready' order by id")
        .fetch_all(&database.pool)
        .await?;
    Ok(ids.into_iter().map(WorkspaceId).collect())
}

/// Those of the jobs that are neither waiting nor running.
pub async fn over(database: &Database, jobs: &[Uuid]) -> Result<Vec<JobId>, sqlx::Error> {
    let ids = sqlx::query_scalar!(
        r#"select id as "id!" from unnest($1::uuid[]) as asked (id)
            where not exists (select from jobs j where j.id = asked.id)"#,
        jobs,
    )
    .fetch_all(&database.pool)
    .await?;
    Ok(ids.into_iter().map(JobId).collect())
}

/// Those of the jobs that are not even in the history any more.
pub async fn forgotten(database: &Database, jobs: &[Uuid]) -> Result<Vec<JobId>, sqlx::Error> {
    let ids = sqlx::query_scalar!(
        r#"select id as "id!" from unnest($1::uuid[]) as asked (id)
            where not exists (select from all_jobs j where j.id = asked.id)"#,
        jobs,
    )
    .fetch_all(&database.pool)
    .await?;
    Ok(ids.into_iter().map(JobId).collect())
}

/// The workspace's imports, or its exports.
pub async fn imports_and_exports(db: &mut WorkspaceDb) -> Result<(Vec<Uuid>, Vec<Uuid>), sqlx::Error> {
    let imports = sqlx::query_scalar!("select job_id from imports").fetch_all(db.conn()).await?;
    let exports = sqlx::query_scalar!("select job_id from exports").fetch_all(db.conn()).await?;
    Ok((imports, exports))
}

/// Forgets links to accounts, and tokens of staff, that have been over for a week; answers how many.
pub async fn forget_links(database: &Database) -> Result<u64, sqlx::Error> {
    let mut tx = database.begin().await?;
    let tokens = sqlx::query!("delete from account_tokens where expires_at < now() - interval '7 days'")
        .execute(tx.conn())
        .await?;
    let used = sqlx::query!("delete from used_impersonations where expires_at < now() - interval '7 days'")
        .execute(tx.conn())
        .await?;
    tx.commit().await?;
    Ok(tokens.rows_affected() + used.rows_affected())
}

/// Rows that one statement forgets.
const BATCH: i64 = 1_000;

/// Forgets a batch of refresh tokens that have expired: until then, a used one tells who presents it twice. Answers
/// whether there may be more.
pub async fn forget_refresh_tokens(database: &Database) -> Result<bool, sqlx::Error> {
    let gone = sqlx::query!(
        "delete from refresh_tokens where hash in (
            select hash from refresh_tokens where expires_at < now() - interval '1 day' limit $1)",
        BATCH,
    )
    .execute(&database.pool)
    .await?;
    Ok(i64::try_from(gone.rows_affected()).is_ok_and(|gone| gone >= BATCH))
}
