//! Putting dead letters away. The history keeps them until it forgets them by its own rules.

use uuid::Uuid;

use super::{AT_ONCE, Filter};
use crate::{Database, JobId};

/// What came of discarding many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiscardedAll {
    /// They are no dead letters any more.
    pub discarded: i64,
    /// There may be more, for another call.
    pub more: bool,
}

/// Discards a dead letter. False: there is none of that id.
pub async fn discard(database: &Database, workspace: Option<Uuid>, id: JobId) -> Result<bool, sqlx::Error> {
    let discarded = sqlx::query!(
        "update finished_jobs set discarded_at = now()
          where id = $1 and workspace_id is not distinct from $2 and state = 'failed' and discarded_at is null",
        id.0,
        workspace,
    )
    .execute(&database.pool)
    .await?;
    Ok(discarded.rows_affected() == 1)
}

/// Discards the dead letters that match, the oldest first, some hundred in a transaction, until none is
/// left or about `at_most` have been discarded.
pub async fn discard_all(
    database: &Database,
    workspace: Option<Uuid>,
    filter: &Filter,
    at_most: i64,
) -> Result<DiscardedAll, sqlx::Error> {
    let mut all = DiscardedAll::default();
    loop {
        let discarded = sqlx::query!(
            "update finished_jobs set discarded_at = now()
              where id in (
                    select id from finished_jobs
                     where state = 'failed' and discarded_at is null
                       and coalesce(workspace_id, '00000000-0000-0000-0000-000000000000') = $1
                       and (cardinality($2::text[]) = 0 or kind = any($2))
                       and (cardinality($3::text[]) = 0 or error ->> 'code' = any($3))
                       and ($4::timestamptz is null or finished_at >= $4)
                       and ($5::timestamptz is null or finished_at < $5)
                     order by finished_at, id
                     limit $6
                       for update skip locked)",
            workspace.unwrap_or_default(),
            &filter.kinds,
            &filter.codes,
            filter.since,
            filter.until,
            AT_ONCE,
        )
        .execute(&database.pool)
        .await?;
        let discarded = i64::try_from(discarded.rows_affected()).unwrap_or(i64::MAX);
        all.discarded += discarded;
        if discarded < AT_ONCE {
            return Ok(all);
        }
        if all.discarded >= at_most {
            return Ok(DiscardedAll { more: true, ..all });
        }
    }
}
