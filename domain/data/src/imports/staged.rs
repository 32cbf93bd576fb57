//! Atomic imports: their records are staged, invisible to every reader, until one short statement
//! publishes all of them; what is never published is removed in small batches.

use domain::{RecordId, WorkspaceDb, storage_use};
use jobs::JobId;

use super::{Import, batch};

/// Records removed by one transaction.
const DISCARDED_AT_ONCE: i64 = 5_000;

/// Makes all records of an atomic import visible, at this transaction's commit. False: there is no stage
/// to publish, since it is being discarded.
pub async fn publish(
    db: &mut WorkspaceDb,
    import: &Import,
    count: i64,
    ids: Option<(RecordId, RecordId)>,
) -> Result<bool, sqlx::Error> {
    let published = sqlx::query!(
        "update staged_imports set published_by = pg_current_xact_id()
          where job_id = $1 and published_by is null and not discarding",
        import.job_id.0,
    )
    .execute(db.conn())
    .await?;
    if published.rows_affected() == 0 {
        return Ok(false);
    }
    if let (true, Some((first, last))) = (count > 0, ids) {
        batch::add_to_count(db.conn(), import.recordset_id, count).await?;
        db.record(batch::imported(import, first, last, count)).await?;
    }
    Ok(true)
}

/// State of an atomic import's staged rows when it begins to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Nothing is staged: it begins at the start of the file, regardless of an earlier cursor.
    Fresh,
    /// It may resume at its cursor.
    Begun,
    /// Rows staged by an earlier run are being removed; see [`discard_some`].
    Discarding,
}

/// Opens the stage of an atomic import. [`Stage::Fresh`] also clears what an earlier run reported.
pub async fn open(db: &mut WorkspaceDb, import: &Import) -> Result<Stage, sqlx::Error> {
    let opened = sqlx::query!(
        "insert into staged_imports (job_id, recordset_id) values ($1, $2) on conflict do nothing",
        import.job_id.0,
        import.recordset_id.0,
    )
    .execute(db.conn())
    .await?;
    if opened.rows_affected() == 0 {
        let discarding =
            sqlx::query_scalar!("select discarding from staged_imports where job_id = $1", import.job_id.0)
                .fetch_one(db.conn())
                .await?;
        return Ok(if discarding { Stage::Discarding } else { Stage::Begun });
    }
    sqlx::query!("delete from import_errors where job_id = $1", import.job_id.0).execute(db.conn()).await?;
    super::forget_counts(db, import.job_id).await?;
    Ok(Stage::Fresh)
}

/// Marks an import's staged records for removal. They stay invisible permanently.
pub async fn begin_discarding(db: &mut WorkspaceDb, job: JobId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update staged_imports set discarding = true where job_id = $1 and published_by is null",
        job.0,
    )
    .execute(db.conn())
    .await?;
    Ok(())
}

/// Removes some of them, and releases their unique values. False: none are left, and the import may start
/// anew. Locks the import's row, so that two removers don't collide.
pub async fn discard_some(db: &mut WorkspaceDb, job: JobId) -> Result<bool, sqlx::Error> {
    let staged = sqlx::query!(
        "select recordset_id from staged_imports where job_id = $1 and discarding for update",
        job.0,
    )
    .fetch_optional(db.conn())
    .await?;
    let Some(staged) = staged else { return Ok(false) };
    // An import's records have ids after its job's, so the index leads past all older records.
    let removed = sqlx::query!(
        r#"with gone as (
             delete from records
              where id in (select id from records
                            where recordset_id = $1 and id > $2 and staged_by = $2
                            order by id limit $3)
             returning id, bytes
         ), freed as (
             delete from unique_values where record_id in (select id from gone)
         )
         select count(*) as "count!", coalesce(sum(bytes), 0)::bigint as "bytes!" from gone"#,
        staged.recordset_id.0,
        job.0,
        DISCARDED_AT_ONCE,
    )
    .fetch_one(db.conn())
    .await?;
    if removed.count > 0 {
        storage_use::release(db, removed.bytes).await?;
        return Ok(true);
    }
    sqlx::query!("delete from staged_imports where job_id = $1", job.0).execute(db.conn()).await?;
    Ok(false)
}

/// Atomic imports that have staged records and have not published them.
pub async fn unpublished(db: &mut WorkspaceDb) -> Result<Vec<JobId>, sqlx::Error> {
    sqlx::query_scalar!("select job_id from staged_imports where published_by is null")
        .fetch_all(db.conn())
        .await
}
