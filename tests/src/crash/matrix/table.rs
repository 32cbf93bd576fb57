//! The matrix as people read it.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt::Write,
    path::PathBuf,
};

use super::{cell::Cell, fault::Fault};
use crate::database::variable;

const HEAD: &str = "\
| fault | workload | runs | jobs | lost | duplicated | outside effects | watcher gaps | attempts spent | whole again |
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|
";

/// Cells by fault and workload; several runs of one cell are summed up, and the longest wait is told.
#[derive(Debug, Default)]
pub struct Table {
    cells: BTreeMap<(Fault, &'static str), (usize, Cell)>,
    unclean: Vec<Cell>,
}

impl Table {
    /// Adds a run of a cell.
    pub fn add(&mut self, cell: Cell) {
        if !cell.is_clean() {
            self.unclean.push(cell.clone());
        }
        match self.cells.entry((cell.fault, cell.workload)) {
            Entry::Vacant(entry) => {
                entry.insert((1, cell));
            }
            Entry::Occupied(mut entry) => {
                let (runs, sum) = entry.get_mut();
                *runs += 1;
                sum.jobs += cell.jobs;
                sum.lost += cell.lost;
                sum.duplicated += cell.duplicated;
                sum.gaps += cell.gaps;
                sum.attempts += cell.attempts;
                sum.effects = sum.effects.zip(cell.effects).map(|(a, b)| (a.0 + b.0, a.1 + b.1));
                sum.whole_after = sum.whole_after.zip(cell.whole_after).map(|(a, b)| a.max(b));
                sum.fallen.extend(cell.fallen);
            }
        }
    }

    /// Prints the table, and writes it beside the binaries that it tells of.
    pub fn publish(&self, file: &str) {
        let mut text = HEAD.to_owned();
        for (runs, cell) in self.cells.values() {
            text += &line(*runs, cell);
        }
        println!("{text}");
        let path = PathBuf::from(variable("MILLRACE_BIN")).join("..").join(file);
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Fails the test when anything did.
    pub fn assert_nothing_happened(&self) {
        assert!(self.unclean.is_empty(), "{:#?}", self.unclean);
    }
}

/// One run of a cell as a row of the table.
pub fn row(cell: &Cell) -> String {
    line(1, cell).trim_end().to_owned()
}

fn line(runs: usize, cell: &Cell) -> String {
    let effects =
        cell.effects.map_or("–".to_owned(), |(distinct, expected)| format!("{distinct} of {expected}"));
    let whole = cell.whole_after.map_or("never".to_owned(), |seconds| format!("{seconds:.1} s"));
    let mut line = format!(
        "| {} | {} | {runs} | {} | {} | {} | {effects} | {} | {} | {whole} |",
        cell.fault.name(),
        cell.workload,
        cell.jobs,
        cell.lost,
        cell.duplicated,
        cell.gaps,
        cell.attempts,
    );
    if !cell.fallen.is_empty() {
        let _ = write!(line, " fell by itself: {}", cell.fallen.join(", "));
    }
    line.push('\n');
    line
}
