//! Reading a recordset as it was at one moment, in pieces, for as long as it takes: what exports and
//! streams walk by.
//!
//! A moment is a `pg_snapshot`, taken once and kept as text; unlike a transaction it costs nothing
//! while it is kept and survives a restart. Rows know which transaction wrote them, and a row that has
//! changed since is found among the versions.

use domain::{RecordId, RecordsetId, WorkspaceDb};
use futures::TryStreamExt;

/// A piece of a recordset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SnapshotPage {
    /// The records visible, in the order of their ids, with their data as a JSON object's text.
    /// May be fewer than asked for, even none, while there are more to come.
    pub records: Vec<(RecordId, String)>,
    /// Start of the next piece; none after the last one.
    pub next: Option<RecordId>,
}

/// The present moment, to be kept.
pub async fn snapshot(db: &mut WorkspaceDb) -> Result<String, sqlx::Error> {
    sqlx::query_scalar!(r#"select pg_current_snapshot()::text as "snapshot!""#).fetch_one(db.conn()).await
}

/// The records after `after` as they were at a kept moment. Looks at `limit` records, so that the cost
/// of a piece depends neither on where it lies nor on how much has changed since, and holds no more
/// than about `enough` bytes of data, however large the records suddenly are.
///
/// Doesn't ask whether the recordset lies in the trash: what has begun may end.
pub async fn visible_in(
    db: &mut WorkspaceDb,
    recordset: RecordsetId,
    snapshot: &str,
    after: Option<RecordId>,
    limit: i64,
    enough: usize,
) -> Result<SnapshotPage, sqlx::Error> {
    // One statement, so that a record and its versions are read under one snapshot. Every version's record
    // is a row of `records`, deleted or not; of those versions at most one was current at the moment.
    // Comparing pairs keeps the planner on records_in_order: by the primary key it would walk through
    // the records of all other recordsets when one of them is large.
    let mut rows = sqlx::query!(
        r#"with kept as materialized (select $2::text::pg_snapshot as moment),
                published as materialized (
                    select job_id
                      from staged_imports
                     where recordset_id = $1
                       and pg_visible_in_snapshot(published_by, (select moment from kept))),
                piece as materialized (
                    select id, data, version, staged_by, deleted_at,
                           pg_visible_in_snapshot(written_by, (select moment from kept)) as is_current
                      from records
                     where recordset_id = $1
                       and (recordset_id, id) > ($1, $3)
                     order by id
                     limit $4)
           select p.id as "id: RecordId",
                  case when p.is_current
                       then case when p.deleted_at is null
                                  and (p.staged_by is null or p.staged_by in (select job_id from published))
                                 then p.data::text end
                       else (select v.data::text
                               from record_versions v
                              where p.version > 1
                                and v.record_id = p.id
                                and pg_visible_in_snapshot(v.written_by, (select moment from kept))
                                and not pg_visible_in_snapshot(v.replaced_by, (select moment from kept))
                                and not v.was_deleted
                                and (v.staged_by is null or v.staged_by in (select job_id from published)))
                  end as data
             from piece p
            order by p.id"#,
        recordset.0,
        snapshot,
        after.map_or(uuid::Uuid::nil(), |after| after.0),
        limit,
    )
    .fetch(db.conn());
    let mut page = SnapshotPage::default();
    let (mut seen, mut bytes) = (0, 0);
    while let Some(row) = rows.try_next().await? {
        seen += 1;
        bytes += row.data.as_ref().map_or(0, String::len);
        page.records.extend(row.data.map(|data| (row.id, data)));
        if seen == limit || bytes >= enough {
            page.next = Some(row.id);
            break;
        }
    }
    Ok(page)
}
