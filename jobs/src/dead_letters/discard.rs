//! Discarding dead letters. The history keeps them according to its own retention.

use std::ops::ControlFlow;

use serde_json::json;

use super::{AT_ONCE, Filter};
use crate::{
    JobId, Origin, Owner, Steps, Tx,
    audit::{self, Change},
};

/// Result of discarding many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiscardedAll {
    /// Number of discarded dead letters.
    pub discarded: i64,
    /// Whether there may be more, for another call.
    pub more: bool,
}

/// Discards a dead letter. False: there is none with that id.
pub async fn discard(tx: &mut Tx, owner: Owner, id: JobId, by: &Origin) -> Result<bool, sqlx::Error> {
    let discarded = sqlx::query!(
        "update finished_jobs set discarded_at = now()
          where id = $1 and workspace_id is not distinct from $2 and state = 'failed' and discarded_at is null",
        id.0,
        owner.workspace(),
    )
    .execute(tx.conn())
    .await?;
    if discarded.rows_affected() == 0 {
        return Ok(false);
    }
    audit::note(tx, by, Change::of_job(owner, "job.discarded", id, json!({}))).await?;
    Ok(true)
}

/// Discards the matching dead letters, the oldest first, some hundred in a step, until none is left or about
/// `at_most` have been discarded.
#[derive(Debug)]
pub struct DiscardAll<'a> {
    owner: Owner,
    filter: &'a Filter,
    at_most: i64,
    by: &'a Origin,
    done: DiscardedAll,
}

impl<'a> DiscardAll<'a> {
    /// Those of the owner that match.
    #[must_use]
    pub fn new(owner: Owner, filter: &'a Filter, at_most: i64, by: &'a Origin) -> Self {
        Self { owner, filter, at_most, by, done: DiscardedAll::default() }
    }
}

impl Steps for DiscardAll<'_> {
    type Done = DiscardedAll;

    fn limit(&mut self, at_most: i64) {
        self.at_most = self.at_most.min(at_most);
    }

    async fn step(&mut self, tx: &mut Tx) -> Result<ControlFlow<DiscardedAll>, sqlx::Error> {
        let (owner, filter) = (self.owner, self.filter);
        let discarded = sqlx::query_scalar!(
            "update finished_jobs set discarded_at = now()
              where id in (
                    select id from finished_jobs
                     where state = 'failed' and discarded_at is null
                       and coalesce(workspace_id, '00000000-0000-0000-0000-000000000000') = $1
                       and (cardinality($2::text[]) = 0 or kind = any($2))
                       and (cardinality($3::text[]) = 0 or error ->> 'code' = any($3))
                       and ($4::timestamptz is null or finished_at >= $4)
                       and ($5::timestamptz is null or finished_at < $5)
                       and kind <> all($6)
                     order by finished_at, id
                     limit $7
                       for update skip locked)
            returning id",
            owner.tenant(),
            &filter.kinds,
            &filter.codes,
            filter.since,
            filter.until,
            &filter.except,
            AT_ONCE,
        )
        .fetch_all(tx.conn())
        .await?;
        if !discarded.is_empty() {
            let data = json!({ "job_ids": discarded });
            let change = Change {
                workspace: owner.workspace(),
                action: "jobs.discarded",
                resource_type: "job",
                resource_id: None,
                data,
            };
            audit::note(tx, self.by, change).await?;
        }
        let discarded = i64::try_from(discarded.len()).unwrap_or(i64::MAX);
        self.done.discarded += discarded;
        if discarded < AT_ONCE {
            return Ok(ControlFlow::Break(self.done));
        }
        if self.done.discarded >= self.at_most {
            return Ok(ControlFlow::Break(DiscardedAll { more: true, ..self.done }));
        }
        Ok(ControlFlow::Continue(()))
    }
}
