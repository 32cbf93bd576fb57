//! Unique fields: which rows of a batch may have the values they bring.
//!
//! The table `unique_values` is the rule, for imports and for single records alike. Within a batch the
//! first row wins, and a row that is refused for one value takes none of its others away from the rows
//! after it.

use std::{collections::HashSet, ops::Range};

use domain::{RecordId, RecordsetId};
use fields::{FieldKey, FieldType};
use sqlx::PgConnection;

use crate::recordsets::unique_value;

/// Rows that bring values which only one record may have.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    pub rows: Vec<Candidate>,
    /// The unique fields' keys, by number.
    keys: Vec<FieldKey>,
    /// The names of the columns they come from.
    pub columns: Vec<String>,
    values: Vec<Value>,
    /// Of the row in hand.
    pending: Vec<Value>,
    originals: String,
}

/// One row.
#[derive(Debug)]
pub(super) struct Candidate {
    id: RecordId,
    /// Position in the `COPY` buffer.
    pub bytes: Range<usize>,
    /// Stored bytes of the record.
    pub stored: i64,
    /// Row number in the file.
    pub number: i64,
    original: Range<usize>,
    values: Range<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Value {
    field: usize,
    text: String,
}

/// A row that can't be written, and the unique fields (by number) whose values are taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub row: usize,
    pub fields: Vec<usize>,
}

impl Candidates {
    /// Bytes that it holds, about.
    pub fn bytes(&self) -> usize {
        self.originals.len() + self.values.len() * 64
    }

    /// Notes a value of the row in hand, by its JSON.
    pub fn pend(&mut self, field: usize, field_type: FieldType, json: &[u8]) {
        let text = unique_value(field_type, json).into_owned();
        self.pending.push(Value { field, text });
    }

    /// The row in hand is refused.
    pub fn forget_pending(&mut self) {
        self.pending.clear();
    }

    /// The row in hand is good so far.
    pub fn add<I: Iterator<Item = (FieldKey, String)>>(
        &mut self,
        (id, stored): (RecordId, i64),
        bytes: Range<usize>,
        number: i64,
        original: &str,
        names: impl FnOnce() -> I,
    ) {
        if self.keys.is_empty() {
            (self.keys, self.columns) = names().unzip();
        }
        if self.pending.is_empty() {
            return;
        }
        let (text_from, values_from) = (self.originals.len(), self.values.len());
        self.originals.push_str(original);
        self.values.append(&mut self.pending);
        self.rows.push(Candidate {
            id,
            bytes,
            stored,
            number,
            original: text_from..self.originals.len(),
            values: values_from..self.values.len(),
        });
    }

    /// A row's original text.
    pub fn original(&self, row: usize) -> &str {
        &self.originals[self.rows[row].original.clone()]
    }

    /// Splits the rows into those that fit beside the values taken, and beside each other, and the rest.
    fn settle<'a>(&'a self, taken: &HashSet<&'a Value>) -> (Vec<usize>, Vec<Taken>) {
        let mut taken = taken.clone();
        let (mut good, mut refused) = (Vec::new(), Vec::new());
        for (index, row) in self.rows.iter().enumerate() {
            let values = &self.values[row.values.clone()];
            let fields: Vec<_> = values.iter().filter(|v| taken.contains(v)).map(|v| v.field).collect();
            if fields.is_empty() {
                taken.extend(values);
                good.push(index);
            } else {
                refused.push(Taken { row: index, fields });
            }
        }
        (good, refused)
    }
}

/// Takes the values of as many rows as may have them, and answers the others, in order.
pub(super) async fn claim(
    connection: &mut PgConnection,
    recordset: RecordsetId,
    candidates: &Candidates,
) -> Result<Vec<Taken>, sqlx::Error> {
    if candidates.rows.is_empty() {
        return Ok(Vec::new());
    }
    let mut taken: HashSet<&Value> = HashSet::new();
    loop {
        let known = existing(connection, recordset, candidates).await?;
        taken.extend(known.into_iter().filter_map(|index| candidates.values.get(index)));
        let (good, refused) = candidates.settle(&taken);
        // A concurrent transaction may take a value between the check and the insert: then check again.
        sqlx::raw_sql("savepoint claim").execute(&mut *connection).await?;
        if insert(connection, recordset, candidates, &good).await? {
            sqlx::raw_sql("release savepoint claim").execute(&mut *connection).await?;
            return Ok(refused);
        }
        sqlx::raw_sql("rollback to savepoint claim").execute(&mut *connection).await?;
    }
}

/// The candidates' values that other records have.
async fn existing(
    connection: &mut PgConnection,
    recordset: RecordsetId,
    candidates: &Candidates,
) -> Result<Vec<usize>, sqlx::Error> {
    let keys: Vec<&str> = candidates.values.iter().map(|v| candidates.keys[v.field].as_str()).collect();
    let texts: Vec<&str> = candidates.values.iter().map(|v| v.text.as_str()).collect();
    let found = sqlx::query_scalar!(
        r#"select new.n as "n!"
             from unnest($2::text[], $3::text[]) with ordinality as new (field_key, value, n)
             join unique_values old
               on old.recordset_id = $1 and old.field_key = new.field_key
              and old.value = new.value"#,
        recordset.0,
        &keys as _,
        &texts as _,
    )
    .fetch_all(connection)
    .await?;
    Ok(found.into_iter().filter_map(|n| usize::try_from(n - 1).ok()).collect())
}

/// Whether all values of the good rows could be inserted.
async fn insert(
    connection: &mut PgConnection,
    recordset: RecordsetId,
    candidates: &Candidates,
    good: &[usize],
) -> Result<bool, sqlx::Error> {
    let mut rows: Vec<(&Value, RecordId)> = good
        .iter()
        .map(|row| &candidates.rows[*row])
        .flat_map(|row| candidates.values[row.values.clone()].iter().map(move |value| (value, row.id)))
        .collect();
    // In one order for all, so that two imports wait for each other and don't deadlock.
    rows.sort_unstable();
    let keys: Vec<&str> = rows.iter().map(|(value, _)| candidates.keys[value.field].as_str()).collect();
    let texts: Vec<&str> = rows.iter().map(|(value, _)| value.text.as_str()).collect();
    let ids: Vec<RecordId> = rows.iter().map(|(_, id)| *id).collect();
    let done = sqlx::query!(
        "insert into unique_values (recordset_id, field_key, value, record_id)
         select $1, field_key, value, record_id
           from unnest($2::text[], $3::text[], $4::uuid[]) as new (field_key, value, record_id)
         on conflict do nothing",
        recordset.0,
        &keys as _,
        &texts as _,
        &ids as &[RecordId],
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == rows.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(rows: &[&[(usize, &str)]]) -> Candidates {
        let mut candidates = Candidates::default();
        for (number, values) in (1..).zip(rows) {
            for (field, text) in *values {
                candidates.pend(*field, FieldType::Text, format!("{text:?}").as_bytes());
            }
            let names = || (0..2).map(|n| (FieldKey::from_label(&format!("f{n}")), format!("F{n}")));
            candidates.add((RecordId::new(), 0), 0..0, number, "original", names);
        }
        candidates
    }

    #[test]
    fn within_a_batch_the_first_row_wins() {
        let batch = candidates(&[&[(0, "a")], &[(0, "a")], &[(0, "b")]]);
        let (good, refused) = batch.settle(&HashSet::new());
        assert_eq!(good, [0, 2]);
        assert_eq!(refused, [Taken { row: 1, fields: vec![0] }]);
    }

    #[test]
    fn a_refused_row_takes_no_value_from_the_rows_after_it() {
        let batch = candidates(&[&[(0, "taken"), (1, "p")], &[(0, "free"), (1, "p")]]);
        let taken = Value { field: 0, text: "taken".into() };
        let (good, refused) = batch.settle(&HashSet::from([&taken]));
        assert_eq!(good, [1]);
        assert_eq!(refused, [Taken { row: 0, fields: vec![0] }]);
    }

    #[test]
    fn the_same_value_in_another_field_is_another_value() {
        let batch = candidates(&[&[(0, "x")], &[(1, "x")]]);
        assert_eq!(batch.settle(&HashSet::new()).0, [0, 1]);
    }
}
