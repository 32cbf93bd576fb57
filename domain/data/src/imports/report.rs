//! The error report of an import: every refused row with its reasons, as CSV, read page by page so that
//! no transaction is open while a client downloads. No cell of it is a formula to a spreadsheet.

use domain::WorkspaceDb;
use jobs::JobId;
use serde::Serialize;
use tabular::Row;

use crate::csv;

/// Most lines of the report in memory at once.
const PAGE: i64 = 1_000;
/// And about so many bytes, since a single row may have megabytes.
const PAGE_BYTES: i64 = 4 << 20;

/// Start of the next page of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct After {
    row_number: i64,
    ordinal: i16,
}

/// A reason why a row was rejected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, poem_openapi::Object)]
pub struct RowError {
    /// Row number; the first row of data is 1.
    pub row: i64,
    /// Name of the column that the reason is about; null if it is about the whole row.
    pub column: Option<String>,
    /// Stable error code.
    pub code: String,
    /// Error message.
    pub reason: String,
}

/// Whether an import has bad rows to report.
pub async fn exists(db: &mut WorkspaceDb, job: JobId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select from import_error_counts where job_id = $1) as "exists!""#,
        job.0,
    )
    .fetch_one(db.conn())
    .await
}

/// The report's first line: our four columns, then the file's own.
#[must_use]
pub fn header(file_columns: &[String]) -> Vec<u8> {
    let mut line = b"row,column,code,reason".to_vec();
    for column in file_columns {
        line.push(b',');
        csv::push_safe_cell(&mut line, column);
    }
    line.extend_from_slice(csv::LINE_END);
    line
}

/// The next lines of the report, and where the ones after them begin; `None` at the end.
pub async fn lines(
    db: &mut WorkspaceDb,
    job: JobId,
    after: Option<After>,
) -> Result<Option<(Vec<u8>, After)>, sqlx::Error> {
    let from = after.unwrap_or(After { row_number: -1, ordinal: 0 });
    let rows = sqlx::query!(
        r#"select row_number, ordinal, column_name, code, reason, original
             from (select e.*, sum(octet_length(original)) over (order by row_number, ordinal) as total
                     from (select row_number, ordinal, column_name, code, reason, original
                             from import_errors
                            where job_id = $1 and (row_number, ordinal) > ($2, $3)
                            order by row_number, ordinal
                            limit $4) e) page
            where total - octet_length(original) < $5
            order by row_number, ordinal"#,
        job.0,
        from.row_number,
        from.ordinal,
        PAGE,
        PAGE_BYTES,
    )
    .fetch_all(db.conn())
    .await?;
    let Some(last) = rows.last() else { return Ok(None) };
    let next = After { row_number: last.row_number, ordinal: last.ordinal };
    let mut lines =
        Vec::with_capacity(rows.iter().map(|row| row.original.len() + row.reason.len() + 64).sum());
    for row in &rows {
        lines.extend_from_slice(row.row_number.to_string().as_bytes());
        for cell in [row.column_name.as_deref().unwrap_or_default(), &row.code, &row.reason] {
            lines.push(b',');
            csv::push_safe_cell(&mut lines, cell);
        }
        lines.push(b',');
        lines.extend_from_slice(row.original.as_bytes()); // is a line of CSV already
        lines.extend_from_slice(csv::LINE_END);
    }
    Ok(Some((lines, next)))
}

/// A row as a line of CSV: its cells, or, where it could not be cut into cells, its text as one cell.
pub(super) fn original(row: &Row) -> String {
    let cut = row.problem().is_none_or(|problem| problem.code == "ragged_row") && row.extra_keys().is_empty();
    let text = row.original();
    if cut {
        return text;
    }
    let mut cell = Vec::with_capacity(text.len() + 2);
    csv::push_safe_cell(&mut cell, &text);
    String::from_utf8(cell).unwrap_or(text)
}
