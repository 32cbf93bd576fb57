//! Analyses a whole file: how to read it, the likely types of its columns, and its number of rows.

mod points;

use fields::{FieldKey, FieldType};
use serde::{Deserialize, Serialize};

use crate::{
    Bounds, Encoding, FileError, Limits, Options, Reader, Resolved, Row, RowProblem, Source, bounds::Watch,
    infer::Guess, row::display,
};
pub use points::SuggestedPoint;

/// Rows from which types are guessed, at the beginning of the file.
const FIRST_ROWS: u64 = 1_000;
/// Behind them, every so many rows one is looked at.
const SPARSE: u64 = 997;
const SAMPLE_ROWS: usize = 10;
const SAMPLES: usize = 5;
/// Characters of a sample.
const SAMPLE_LEN: usize = 200;
/// Problems that are listed.
const PROBLEMS: usize = 10;

/// Result of an analysis of a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// Options for reading the file in every later run.
    pub resolved: Resolved,
    /// The columns.
    pub columns: Vec<Column>,
    /// The first rows, at most 10, with their cells as text.
    pub sample_rows: Vec<Vec<String>>,
    /// Number of rows, including those with problems; an estimate, if only the beginning was analysed.
    pub row_count: u64,
    /// Whether the whole file was analysed. If not, the results are those of its beginning.
    #[serde(default = "complete")]
    pub is_complete: bool,
    /// Number of rows with problems.
    pub problem_count: u64,
    /// The first problems, at most 10, with the numbers of their rows.
    pub problems: Vec<(u64, RowProblem)>,
    /// Warnings to consider before an import.
    pub warnings: Vec<Warning>,
    /// The sheets of a workbook.
    pub sheets: Vec<String>,
    /// Pairs of columns that together form points.
    pub suggested_points: Vec<SuggestedPoint>,
}

fn complete() -> bool {
    true
}

/// A column of a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// The name in the file, made unique.
    pub name: String,
    /// A suggested key of a field for it; unique among the columns.
    pub key: FieldKey,
    /// Detected type of the values.
    pub field_type: FieldType,
    /// Detected options, if the values seem to be a choice.
    pub options: Vec<String>,
    /// Some different values, at most 5, cut to 200 characters.
    pub samples: Vec<String>,
    /// Number of rows without a value.
    pub empty_count: u64,
    /// Number of different values among the analysed rows; 1,000 stands for more.
    pub distinct_count: usize,
}

/// A warning about a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// `empty_header`, `duplicate_header`, `no_rows`, `ambiguous_dates`, `guessed_encoding`, `extra_keys` or
    /// `partly_read`.
    pub code: String,
    /// Message for display.
    pub message: String,
}

impl Warning {
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into() }
    }
}

/// Reads the whole file once within the default [`Limits`]; `open` is called for each time that it has to be read.
///
/// It is read twice when its beginning is ASCII and its rest shows that the encoding is not UTF-8.
pub fn analyze<S: Source + 'static>(
    open: impl FnMut() -> std::io::Result<S>,
    options: &Options,
    name: &str,
) -> Result<Analysis, FileError> {
    analyze_within(open, options, name, &Limits::default())
}

/// [`analyze`] with other limits.
pub fn analyze_within<S: Source + 'static>(
    open: impl FnMut() -> std::io::Result<S>,
    options: &Options,
    name: &str,
    limits: &Limits,
) -> Result<Analysis, FileError> {
    look(open, options, name, limits, &Bounds::default())
}

/// [`analyze`], but no further than the bounds: what lies behind them isn't looked at.
///
/// # Errors
/// [`FileError::TooLargeInside`] when the time has passed before the first row; [`FileError::Io`] when it was
/// abandoned.
pub fn look<S: Source + 'static>(
    mut open: impl FnMut() -> std::io::Result<S>,
    options: &Options,
    name: &str,
    limits: &Limits,
    bounds: &Bounds,
) -> Result<Analysis, FileError> {
    let watch = Watch::begin(bounds);
    let mut opened = |options: &Options| {
        let reader = Reader::open_within(watch.source(open()?), options, name, limits);
        reader.map_err(|error| if watch.is_late() { too_slow() } else { error })
    };
    let mut reader = opened(options)?;
    let survey = Survey::of(&mut reader, &watch)?;
    if reader.is_guessed_utf8() && survey.bad_encoding > 0 && !survey.has_other_than_ascii {
        let encoding = Encoding::WINDOWS_1252;
        let options = Options { encoding: Some(encoding.name().to_owned()), ..options.clone() };
        let mut reader = opened(&options)?;
        let mut analysis = Survey::of(&mut reader, &watch)?.conclude(&reader);
        let message = format!("the text is not UTF-8 and is read as {encoding}");
        analysis.warnings.push(Warning::new("guessed_encoding", message));
        return Ok(analysis);
    }
    Ok(survey.conclude(&reader))
}

fn too_slow() -> FileError {
    FileError::TooLargeInside("it takes too long to unpack".to_owned())
}

/// The observations of the passing rows.
struct Survey {
    columns: Vec<Noted>,
    sample_rows: Vec<Vec<String>>,
    row_count: u64,
    problem_count: u64,
    problems: Vec<(u64, RowProblem)>,
    bad_encoding: u64,
    has_other_than_ascii: bool,
    extra_keys: Vec<String>,
    is_complete: bool,
}

struct Noted {
    guess: Guess,
    samples: Vec<String>,
    empty_count: u64,
}

impl Survey {
    fn of(reader: &mut Reader, watch: &Watch) -> Result<Self, FileError> {
        let column = || Noted { guess: Guess::new(), samples: Vec::new(), empty_count: 0 };
        let mut survey = Self {
            columns: reader.columns().iter().map(|_| column()).collect(),
            sample_rows: Vec::new(),
            row_count: 0,
            problem_count: 0,
            problems: Vec::new(),
            bad_encoding: 0,
            has_other_than_ascii: false,
            extra_keys: Vec::new(),
            is_complete: true,
        };
        loop {
            match reader.next_row() {
                Ok(Some(row)) => survey.note(row),
                Ok(None) => return Ok(survey),
                // The source has ended: the results so far are reported.
                Err(_) if watch.is_late() && !watch.is_abandoned() => survey.is_complete = false,
                Err(error) => return Err(error),
            }
            survey.is_complete &= !watch.ends_at(survey.row_count, || reader.bytes_consumed());
            if !survey.is_complete {
                return Ok(survey);
            }
        }
    }

    fn note(&mut self, row: &Row) {
        self.row_count += 1;
        if let Some(problem) = row.problem() {
            self.problem_count += 1;
            self.bad_encoding += u64::from(problem.code == "bad_encoding");
            if self.problems.len() < PROBLEMS {
                self.problems.push((row.number(), problem.clone()));
            }
            return;
        }
        self.has_other_than_ascii |= !row.is_ascii();
        for key in row.extra_keys() {
            if self.extra_keys.len() < PROBLEMS && !self.extra_keys.contains(key) {
                self.extra_keys.push(key.clone());
            }
        }
        let look = self.row_count <= FIRST_ROWS || self.row_count.is_multiple_of(SPARSE);
        for (column, cell) in self.columns.iter_mut().zip(row.cells()) {
            if cell.is_blank() {
                column.empty_count += 1;
            } else if look {
                column.guess.see(cell);
                if column.samples.len() < SAMPLES {
                    let sample = shorten(display(cell));
                    if !column.samples.contains(&sample) {
                        column.samples.push(sample);
                    }
                }
            }
        }
        if self.sample_rows.len() < SAMPLE_ROWS {
            self.sample_rows.push(row.cells().map(|cell| shorten(display(cell))).collect());
        }
    }

    fn conclude(self, reader: &Reader) -> Analysis {
        let mut warnings = reader.warnings().to_vec();
        if self.row_count == 0 {
            warnings.push(Warning::new("no_rows", "the file has no rows"));
        }
        if !self.extra_keys.is_empty() {
            let message = format!("members that appear late are ignored: {}", self.extra_keys.join(", "));
            warnings.push(Warning::new("extra_keys", message));
        }
        let mut row_count = self.row_count;
        if !self.is_complete {
            row_count = estimated(row_count, reader.bytes_consumed(), reader.source_len());
            let message = format!(
                "only the first {} rows were looked at: the number of rows is about right, and what comes later may \
                 hold other values",
                self.row_count
            );
            warnings.push(Warning::new("partly_read", message));
        }
        let mut columns: Vec<Column> = Vec::with_capacity(self.columns.len());
        let mut keys = std::collections::HashSet::new();
        for (name, noted) in reader.columns().iter().zip(self.columns) {
            if noted.guess.has_ambiguous_dates() {
                let message = format!("the dates in “{name}” can be read day first or month first");
                warnings.push(Warning::new("ambiguous_dates", message));
            }
            let key = FieldKey::from_label(name).unique(|key| keys.contains(key));
            keys.insert(key.clone());
            let (field_type, options) = noted.guess.conclude();
            columns.push(Column {
                name: name.clone(),
                key,
                field_type,
                options,
                samples: noted.samples,
                empty_count: noted.empty_count,
                distinct_count: noted.guess.distinct_count(),
            });
        }
        Analysis {
            resolved: reader.resolved().clone(),
            suggested_points: points::suggest(&columns),
            columns,
            sample_rows: self.sample_rows,
            row_count,
            is_complete: self.is_complete,
            problem_count: self.problem_count,
            problems: self.problems,
            warnings,
            sheets: reader.sheets().to_vec(),
        }
    }
}

/// Estimated number of rows of a file, from the number in some of its bytes.
fn estimated(rows: u64, consumed: u64, len: u64) -> u64 {
    let all = u128::from(rows) * u128::from(len) / u128::from(consumed.max(1));
    u64::try_from(all).unwrap_or(u64::MAX).max(rows)
}

fn shorten(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(SAMPLE_LEN) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{io::Cursor, sync::Arc, time::Duration};

    use super::*;

    fn look_at(text: &str, bounds: &Bounds) -> Result<Analysis, FileError> {
        let open = || Ok(Cursor::new(text.as_bytes().to_vec()));
        look(open, &Options::default(), "a.csv", &Limits::default(), bounds)
    }

    fn rows(n: usize) -> String {
        let mut text = String::from("n\n");
        text.extend((0..n).map(|i| format!("{i:09}\n")));
        text
    }

    #[test]
    fn a_look_ends_behind_its_bounds_and_says_so() {
        let text = rows(10_000);
        let all = look_at(&text, &Bounds::default()).unwrap();
        assert_eq!((all.row_count, all.is_complete), (10_000, true));
        for bounds in [
            Bounds { max_rows: Some(1_000), ..Bounds::default() },
            Bounds { max_bytes: Some(10_000), ..Bounds::default() },
        ] {
            let some = look_at(&text, &bounds).unwrap();
            assert!(!some.is_complete);
            assert!((9_000..11_000).contains(&some.row_count), "{}", some.row_count);
            assert_eq!(some.warnings.last().unwrap().code, "partly_read");
        }
        let whole = Bounds { max_rows: Some(10_001), ..Bounds::default() };
        assert!(look_at(&text, &whole).unwrap().is_complete);
    }

    #[test]
    fn a_look_that_has_no_time_for_a_row_is_refused() {
        let bounds = Bounds { max_time: Some(Duration::ZERO), ..Bounds::default() };
        assert_eq!(look_at(&rows(1), &bounds).unwrap_err().code(), "file_too_large_inside");
    }

    #[test]
    fn a_look_that_nobody_waits_for_ends() {
        let bounds = Bounds { is_abandoned: Some(Arc::new(|| true)), ..Bounds::default() };
        assert!(matches!(look_at(&rows(1), &bounds), Err(FileError::Io(_))));
    }
}
