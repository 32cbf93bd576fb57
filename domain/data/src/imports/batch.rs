//! A batch: rows read, checked and serialised, to be written by one transaction.
//!
//! The reading side fills it with [`RowWriter`] on a blocking thread; [`Batch::write`] hands it to the
//! database. Good rows and refused ones commit together, with whatever checkpoint the caller adds.

use std::{collections::BTreeMap, ops::Range};

use domain::{Error, Event, RecordId, RecordsetId, UserId, WorkspaceDb, storage_use};
use fields::{Field, Invalid, Written};
use jobs::JobId;
use sqlx::PgConnection;
use tabular::Row;

use super::{
    Import, Mode,
    copy::{CopyRows, JSONB_HEAD},
    ids::BatchIds,
    unique::{self, Candidates},
};
use crate::recordsets::{Promoted, Schema};

const COPY_ERRORS: &str =
    "copy import_errors (job_id, row_number, ordinal, column_name, code, reason, original)
     from stdin (format binary)";

/// A reason for which a row is refused: the column where there is one, a code and a sentence.
struct Reason<'a> {
    column: Option<&'a str>,
    code: &'a str,
    message: &'a str,
}

/// Number of occurrences of a code, and stored bytes of its lines of the report.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    count: i64,
    bytes: i64,
}

/// Rows for one transaction.
#[derive(Debug)]
pub struct Batch {
    ids: BatchIds,
    records: CopyRows,
    errors: CopyRows,
    /// Counts by code.
    codes: BTreeMap<String, Tally>,
    /// Stored bytes of its records.
    record_bytes: i64,
    /// Only of recordsets with unique fields.
    candidates: Candidates,
    /// Rows that a rule lets in.
    pub accepted: i64,
    /// Rows that are refused.
    pub refused: i64,
    /// Rows without content.
    pub skipped: i64,
}

impl Batch {
    /// An empty batch, whose ids come after those of the batch that began at `previous`.
    #[must_use]
    pub fn after(previous: u64) -> Self {
        Self {
            ids: BatchIds::after(previous),
            records: CopyRows::default(),
            errors: CopyRows::default(),
            codes: BTreeMap::new(),
            record_bytes: 0,
            candidates: Candidates::default(),
            accepted: 0,
            refused: 0,
            skipped: 0,
        }
    }

    /// When the batch began; see [`BatchIds::after`].
    #[must_use]
    pub fn millis(&self) -> u64 {
        self.ids.millis()
    }

    /// Rows in it, of all kinds.
    #[must_use]
    pub fn rows(&self) -> i64 {
        self.accepted + self.refused + self.skipped
    }

    /// Bytes that it holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.records.len() + self.errors.len() + self.candidates.bytes()
    }

    /// Writes the batch: records, bad rows, the count, one event. Rows whose unique values are taken
    /// become bad ones here. `copy` is the [`RowWriter::copy`] of the writer that filled it; [`Batch::accepted`] and [`Batch::refused`] are final afterwards.
    ///
    /// # Errors
    /// `limit_exceeded` when the plan doesn't allow to store that much: nothing of the batch is to be
    /// committed.
    pub async fn write(&mut self, db: &mut WorkspaceDb, import: &Import, copy: &str) -> Result<(), Error> {
        let mut left_out = Vec::new();
        for taken in unique::claim(db.conn(), import.recordset_id, &self.candidates).await? {
            let row = &self.candidates.rows[taken.row];
            left_out.push(row.bytes.clone());
            self.record_bytes -= row.stored;
            self.accepted -= 1;
            self.refused += 1;
            let reasons: Vec<_> = taken
                .fields
                .iter()
                .map(|field| Reason {
                    column: Some(&self.candidates.columns[*field]),
                    code: "not_unique",
                    message: "another record has this value",
                })
                .collect();
            let original = self.candidates.original(taken.row);
            write_reasons(&mut self.errors, &mut self.codes, import.job_id, row.number, &reasons, original);
        }
        let report: i64 = self.codes.values().map(|tally| tally.bytes).sum();
        storage_use::add(db, self.record_bytes + report).await?;
        if self.accepted > 0 {
            self.records.send(db.conn(), copy, &left_out).await?;
        }
        if !self.errors.is_empty() {
            self.errors.send(db.conn(), COPY_ERRORS, &[]).await?;
            self.count_codes(db.conn(), import.job_id).await?;
        }
        if self.accepted > 0 && import.mode == Mode::Partial {
            add_to_count(db.conn(), import.recordset_id, self.accepted).await?;
            if let Some((first, last)) = self.ids.range() {
                db.record(imported(import, first, last, self.accepted)).await?;
            }
        }
        Ok(())
    }

    /// The first and the last id of the batch.
    #[must_use]
    pub fn id_range(&self) -> Option<(RecordId, RecordId)> {
        self.ids.range()
    }

    async fn count_codes(&self, connection: &mut PgConnection, job: JobId) -> Result<(), sqlx::Error> {
        let codes: Vec<&str> = self.codes.keys().map(String::as_str).collect();
        let counts: Vec<i64> = self.codes.values().map(|tally| tally.count).collect();
        let bytes: Vec<i64> = self.codes.values().map(|tally| tally.bytes).collect();
        sqlx::query!(
            "insert into import_error_counts as c (job_id, code, count, bytes)
             select $1, code, count, bytes from unnest($2::text[], $3::bigint[], $4::bigint[]) as new (code, count, bytes)
             on conflict (job_id, code) do update
                set count = c.count + excluded.count, bytes = c.bytes + excluded.bytes",
            job.0,
            &codes as _,
            &counts,
            &bytes,
        )
        .execute(connection)
        .await?;
        Ok(())
    }

    fn refuse(&mut self, job: JobId, row: &Row, reasons: &[Reason<'_>]) {
        let original = super::report::original(row);
        write_reasons(&mut self.errors, &mut self.codes, job, number(row), reasons, &original);
        self.refused += 1;
    }
}

/// The event of a batch's records, or of a whole atomic import's.
pub(super) fn imported(import: &Import, first: RecordId, last: RecordId, count: i64) -> Event {
    Event::new(
        "records",
        "imported",
        import.recordset_id,
        serde_json::json!({
            "job_id": import.job_id,
            "recordset_id": import.recordset_id,
            "first_id": first,
            "last_id": last,
            "count": count,
        }),
    )
}

/// Appends to a recordset's count.
pub(super) async fn add_to_count(
    connection: &mut PgConnection,
    recordset: RecordsetId,
    delta: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query!("insert into record_count_deltas (recordset_id, delta) values ($1, $2)", recordset.0, delta,)
        .execute(connection)
        .await?;
    Ok(())
}

fn number(row: &Row) -> i64 {
    i64::try_from(row.number()).unwrap_or(i64::MAX)
}

fn write_reasons(
    errors: &mut CopyRows,
    codes: &mut BTreeMap<String, Tally>,
    job: JobId,
    row_number: i64,
    reasons: &[Reason<'_>],
    original: &str,
) {
    for (ordinal, reason) in (0..).zip(reasons) {
        let start = errors.len();
        errors.begin(7);
        errors.id(job);
        errors.int8(row_number);
        errors.int2(ordinal);
        match reason.column {
            Some(column) => errors.text(column),
            None => errors.null(),
        }
        errors.text(reason.code);
        errors.text(reason.message);
        errors.text(original);
        let line = i64::try_from(errors.len() - start).unwrap_or(i64::MAX);
        if let Some(tally) = codes.get_mut(reason.code) {
            tally.count += 1;
            tally.bytes += line;
        } else {
            codes.insert(reason.code.to_owned(), Tally { count: 1, bytes: line });
        }
    }
}

/// A mapped column: where its cells are and what they become.
struct Target {
    column: usize,
    column_name: String,
    field: Field,
    /// `"key":`, as it stands in the record's JSON.
    member: Vec<u8>,
    /// Index among the unique fields.
    unique: Option<usize>,
    /// Index among the promoted columns that are written.
    promoted: Option<usize>,
}

/// Turns rows of a file into rows of a batch.
pub struct RowWriter {
    job: JobId,
    recordset: RecordsetId,
    staged_by: Option<JobId>,
    author: Option<UserId>,
    targets: Vec<Target>,
    has_unique: bool,
    promoted: Vec<Promoted>,
    /// Positions of the promoted values of the current row.
    promoted_at: Vec<Option<Range<usize>>>,
    columns: i16,
}

/// A field that the import maps, or that the recordset requires, doesn't fit any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the recordset's fields have changed: {0}")]
pub struct FieldsChanged(pub String);

impl RowWriter {
    /// For an import into a recordset that has these fields now.
    ///
    /// # Errors
    /// When a mapped field is gone, or a required one is not mapped.
    pub fn new(import: &Import, schema: &Schema) -> Result<Self, FieldsChanged> {
        let mut targets = Vec::with_capacity(import.mapping.len());
        let mut uniques = 0;
        let mut promoted = Vec::new();
        for mapped in &import.mapping {
            let index = schema.index_of(&mapped.field);
            let found = index.and_then(|index| schema.fields().get(index));
            let found = found.ok_or_else(|| FieldsChanged(format!("{} is gone", mapped.field)))?;
            let unique = found.field.unique.then(|| {
                uniques += 1;
                uniques - 1
            });
            let promoted = found.promoted_to.map(|column| {
                promoted.push(column);
                promoted.len() - 1
            });
            targets.push(Target {
                column: mapped.column,
                column_name: import.column_name(mapped.column),
                member: format!("\"{}\":", found.field.key).into_bytes(),
                field: found.field.clone(),
                unique,
                promoted,
            });
        }
        let is_mapped = |field: &Field| import.mapping.iter().any(|mapped| mapped.field == field.key);
        if let Some(left) = schema.fields().iter().map(|f| &f.field).find(|f| f.required && !is_mapped(f)) {
            return Err(FieldsChanged(format!("{} is required, and no column is mapped to it", left.key)));
        }
        Ok(Self {
            job: import.job_id,
            recordset: import.recordset_id,
            staged_by: (import.mode == Mode::Atomic).then_some(import.job_id),
            author: import.created_by,
            has_unique: uniques > 0,
            targets,
            promoted_at: vec![None; promoted.len()],
            columns: 7 + i16::try_from(promoted.len()).unwrap_or_default(), // seven at most
            promoted,
        })
    }

    /// The statement that takes in this writer's records.
    #[must_use]
    pub fn copy(&self) -> String {
        let mut columns = "id, recordset_id, data, staged_by, created_by, updated_by, bytes".to_owned();
        for promoted in &self.promoted {
            columns.push_str(", ");
            columns.push_str(promoted.column());
        }
        format!("copy records ({columns}) from stdin (format binary)")
    }

    /// Adds a row: to the records, to the bad rows, or to the count of those without content.
    pub fn push(&mut self, row: &Row, batch: &mut Batch) {
        if let Some(problem) = row.problem() {
            let reason = Reason { column: None, code: &problem.code, message: &problem.message };
            batch.refuse(self.job, row, &[reason]);
            return;
        }
        if row.is_blank() {
            batch.skipped += 1;
            return;
        }
        let start = batch.records.len();
        let id = batch.ids.take();
        batch.records.begin(self.columns);
        batch.records.id(id);
        batch.records.id(self.recordset);
        let before = batch.records.len();
        let wrong = self.write_data(row, batch);
        // Without the length and the version that precede the text.
        let stored = storage_use::of_json(batch.records.len() - before - JSONB_HEAD);
        if !wrong.is_empty() {
            batch.records.truncate(start);
            batch.ids.take_back();
            batch.candidates.forget_pending();
            self.refuse(row, &wrong, batch);
            return;
        }
        batch.records.id_or_null(self.staged_by);
        batch.records.id_or_null(self.author);
        batch.records.id_or_null(self.author);
        batch.records.int4(stored);
        self.write_promoted(&mut batch.records);
        batch.accepted += 1;
        batch.record_bytes += i64::from(stored);
        if self.has_unique {
            let end = batch.records.len();
            let names = || {
                let unique = self.targets.iter().filter(|target| target.unique.is_some());
                unique.map(|target| (target.field.key.clone(), target.column_name.clone()))
            };
            batch.candidates.add(
                (id, stored.into()),
                start..end,
                number(row),
                &super::report::original(row),
                names,
            );
        }
    }

    /// Appends the record's JSON, and answers what is wrong with it, by target.
    fn write_data(&mut self, row: &Row, batch: &mut Batch) -> Vec<(usize, Invalid)> {
        let Batch { records, candidates, .. } = batch;
        let (targets, promoted_at) = (&self.targets, &mut self.promoted_at);
        promoted_at.fill(None);
        records.jsonb(|json| {
            let mut wrong = Vec::new();
            json.push(b'{');
            let empty = json.len();
            for (index, target) in targets.iter().enumerate() {
                let before = json.len();
                if before > empty {
                    json.push(b',');
                }
                json.extend_from_slice(&target.member);
                let value = json.len();
                match target.field.write_cell(row.cell(target.column), json) {
                    Ok(Written::Value) => {
                        if let Some(unique) = target.unique {
                            candidates.pend(unique, target.field.field_type, &json[value..]);
                        }
                        if let Some(promoted) = target.promoted {
                            promoted_at[promoted] = Some(value..json.len());
                        }
                    }
                    Ok(Written::Empty) => json.truncate(before),
                    Err(invalid) => {
                        json.truncate(before);
                        wrong.push((index, invalid));
                    }
                }
            }
            json.push(b'}');
            wrong
        })
    }

    /// Appends the promoted columns of the row in hand.
    fn write_promoted(&self, records: &mut CopyRows) {
        for (column, at) in self.promoted.iter().zip(&self.promoted_at) {
            let text =
                at.clone().and_then(|at| column.render(records.slice(at)).map(std::borrow::Cow::into_owned));
            match text {
                Some(text) => records.promoted(*column, &text),
                None => records.null(),
            }
        }
    }

    fn refuse(&self, row: &Row, wrong: &[(usize, Invalid)], batch: &mut Batch) {
        let reasons: Vec<_> = wrong
            .iter()
            .map(|(target, invalid)| Reason {
                column: Some(&self.targets[*target].column_name),
                code: invalid.code,
                message: &invalid.message,
            })
            .collect();
        batch.refuse(self.job, row, &reasons);
    }
}

impl std::fmt::Debug for RowWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowWriter").field("job", &self.job).finish_non_exhaustive()
    }
}
