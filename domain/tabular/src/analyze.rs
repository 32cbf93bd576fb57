//! Looks at a whole file once: how it is to be read, what its columns seem to hold, and how many rows there are.

mod points;

use fields::{FieldKey, FieldType};
use serde::{Deserialize, Serialize};

use crate::{
    Encoding, FileError, Limits, Options, Reader, Resolved, Row, RowProblem, Source, infer::Guess,
    row::display,
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

/// What is in a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// How to read the file in every later run.
    pub resolved: Resolved,
    /// The columns.
    pub columns: Vec<Column>,
    /// The first rows, at most 10, with their cells as text.
    pub sample_rows: Vec<Vec<String>>,
    /// How many rows there are, with those that have problems.
    pub row_count: u64,
    /// How many rows have problems.
    pub problem_count: u64,
    /// The first problems, at most 10, with the numbers of their rows.
    pub problems: Vec<(u64, RowProblem)>,
    /// What a person should know before importing.
    pub warnings: Vec<Warning>,
    /// The sheets of a workbook.
    pub sheets: Vec<String>,
    /// Pairs of columns that together are points.
    pub suggested_points: Vec<SuggestedPoint>,
}

/// A column of a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// The name in the file, made unique.
    pub name: String,
    /// A key for a field made of it; unique among the columns.
    pub key: FieldKey,
    /// The type that its values seem to have.
    pub field_type: FieldType,
    /// The values, when they seem to be a choice.
    pub options: Vec<String>,
    /// Some different values, at most 5, cut to 200 characters.
    pub samples: Vec<String>,
    /// How many rows have nothing there.
    pub empty_count: u64,
    /// How many different values were seen among the rows that were looked at; 1,000 stands for more.
    pub distinct_count: usize,
}

/// Something about a file that a person should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// `empty_header`, `duplicate_header`, `no_rows`, `ambiguous_dates`, `guessed_encoding` or `extra_keys`.
    pub code: String,
    /// The same for people.
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
    mut open: impl FnMut() -> std::io::Result<S>,
    options: &Options,
    name: &str,
    limits: &Limits,
) -> Result<Analysis, FileError> {
    let mut reader = Reader::open_within(open()?, options, name, limits)?;
    let survey = Survey::of(&mut reader)?;
    if reader.is_guessed_utf8() && survey.bad_encoding > 0 && !survey.has_other_than_ascii {
        let encoding = Encoding::WINDOWS_1252;
        let options = Options { encoding: Some(encoding.name().to_owned()), ..options.clone() };
        let mut reader = Reader::open_within(open()?, &options, name, limits)?;
        let mut analysis = Survey::of(&mut reader)?.conclude(&reader);
        let message = format!("the text is not UTF-8 and is read as {encoding}");
        analysis.warnings.push(Warning::new("guessed_encoding", message));
        return Ok(analysis);
    }
    Ok(survey.conclude(&reader))
}

/// What was noted while the rows went by.
struct Survey {
    columns: Vec<Noted>,
    sample_rows: Vec<Vec<String>>,
    row_count: u64,
    problem_count: u64,
    problems: Vec<(u64, RowProblem)>,
    bad_encoding: u64,
    has_other_than_ascii: bool,
    extra_keys: Vec<String>,
}

struct Noted {
    guess: Guess,
    samples: Vec<String>,
    empty_count: u64,
}

impl Survey {
    fn of(reader: &mut Reader) -> Result<Self, FileError> {
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
        };
        while let Some(row) = reader.next_row()? {
            survey.note(row);
        }
        Ok(survey)
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
            row_count: self.row_count,
            problem_count: self.problem_count,
            problems: self.problems,
            warnings,
            sheets: reader.sheets().to_vec(),
        }
    }
}

fn shorten(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(SAMPLE_LEN) {
        text.truncate(end);
        text.push('…');
    }
    text
}
