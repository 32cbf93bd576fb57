//! Maintenance across workspaces: data that is no longer used.

use domain::{WorkspaceDb, WorkspaceId};
use jobs::{Database, JobId};

use crate::signups;

/// All available workspaces.
pub async fn workspaces(database: &Database) -> Result<Vec<WorkspaceId>, sqlx::Error> {
    sqlx::query_scalar!("select id from workspaces where state = 'ready' order by id")
        .fetch_all(&database.pool)
        .await
}

/// Those of the jobs that have ended.
pub async fn ended_jobs(database: &Database, jobs: &[JobId]) -> Result<Vec<JobId>, sqlx::Error> {
    let ids = sqlx::query_scalar!(
        r#"select id as "id!" from unnest($1::uuid[]) as asked (id)
            where not exists (select from jobs j where j.id = asked.id)"#,
        jobs as &[JobId],
    )
    .fetch_all(&database.pool)
    .await?;
    Ok(ids.into_iter().map(JobId).collect())
}

/// Those of the jobs that are not even in the history.
pub async fn unknown_jobs(database: &Database, jobs: &[JobId]) -> Result<Vec<JobId>, sqlx::Error> {
    let ids = sqlx::query_scalar!(
        r#"select id as "id!" from unnest($1::uuid[]) as asked (id)
            where not exists (select from all_jobs j where j.id = asked.id)"#,
        jobs as &[JobId],
    )
    .fetch_all(&database.pool)
    .await?;
    Ok(ids.into_iter().map(JobId).collect())
}

/// The workspace's imports, or its exports.
pub async fn imports_and_exports(db: &mut WorkspaceDb) -> Result<(Vec<JobId>, Vec<JobId>), sqlx::Error> {
    let imports = sqlx::query_scalar!("select job_id from imports").fetch_all(db.conn()).await?;
    let exports = sqlx::query_scalar!("select job_id from exports").fetch_all(db.conn()).await?;
    Ok((imports, exports))
}

/// Removes links to accounts, and impersonation tokens, that expired a week ago; answers their number.
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

/// Removes old data of sign-ups, invitations and payments: addresses, names and client addresses. First releases
/// the reservations of sign-ups whose jobs are not even in the history. Answers the number of rows.
pub async fn prune_signups(database: &Database) -> Result<u64, sqlx::Error> {
    let mut tx = database.begin().await?;
    let failed = sqlx::query_scalar!(
        r#"select s.id from signups s
            where s.state = 'pending' and s.created_at < now() - interval '1 day'
              and not exists (select from all_jobs j where j.id = s.job_id)
            limit $1"#,
        BATCH,
    )
    .fetch_all(tx.conn())
    .await?;
    signups::give_up(&mut tx, &failed).await?;
    let ended = sqlx::query!(
        "delete from signups where state <> 'pending' and created_at < now() - interval '7 days'",
    );
    let ended = ended.execute(tx.conn()).await?.rows_affected();
    let invites = sqlx::query!(
        "delete from stripe_invites where coalesce(used_at, expires_at) < now() - interval '90 days'",
    );
    let invites = invites.execute(tx.conn()).await?.rows_affected();
    let invitations = sqlx::query!(
        "delete from invitations
          where coalesce(accepted_at, cancelled_at, expires_at) < now() - interval '90 days'",
    );
    let invitations = invitations.execute(tx.conn()).await?.rows_affected();
    tx.commit().await?;
    Ok(ended + invites + invitations)
}

/// Number of rows that one statement removes.
const BATCH: i64 = 1_000;

/// Removes a batch of expired refresh tokens: until then, a used one reveals its second use. Answers
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
