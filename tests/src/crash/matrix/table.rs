//! The matrix as people read it.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fmt::Write,
    path::PathBuf,
};

use super::{cell::Cell, fault::Fault};
use crate::database::variable;

const HEAD: &str = "\
| fault | workload | runs | jobs | lost | duplicated | outside effects | watcher gaps | attempts spent | whole again |
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|
";

/// Cells by fault and workload; several runs of one cell are summed up, and the longest wait is shown.
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

    /// Prints the table, and writes it beside the binaries that were tested.
    pub fn publish(&self, file: &str) {
        let mut text = self.summary() + "\n" + HEAD;
        for (runs, cell) in self.cells.values() {
            text += &line(*runs, cell);
        }
        println!("{text}");
        let path = PathBuf::from(variable("MILLRACE_BIN")).join("..").join(file);
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// All cells in one sentence, and the longest time until everything went on, fault by workload.
    fn summary(&self) -> String {
        let cells = || self.cells.values().map(|(_, cell)| cell);
        let workloads: BTreeSet<_> = self.cells.keys().map(|(_, workload)| *workload).collect();
        let faults: BTreeSet<_> = self.cells.keys().map(|(fault, _)| *fault).collect();
        let mut text = format!(
            "{} runs with {} jobs: {} lost, {} duplicated, {} watchers let down, {} attempts spent. Until all went on:\n\n| |",
            self.cells.values().map(|(runs, _)| runs).sum::<usize>(),
            cells().map(|cell| cell.jobs).sum::<i64>(),
            cells().map(|cell| cell.lost).sum::<i64>(),
            cells().map(|cell| cell.duplicated).sum::<i64>(),
            cells().map(|cell| cell.gaps).sum::<usize>(),
            cells().map(|cell| cell.attempts).sum::<i64>(),
        );
        for workload in &workloads {
            let _ = write!(text, " {workload} |");
        }
        text += "\n|---|";
        text += &"--:|".repeat(workloads.len());
        for fault in faults {
            let _ = write!(text, "\n| {} |", fault.name());
            for workload in &workloads {
                let cell = self.cells.get(&(fault, *workload));
                let _ = write!(
                    text,
                    " {} |",
                    cell.map_or_else(String::new, |(_, cell)| seconds(cell.whole_after))
                );
            }
        }
        text + "\n"
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

fn seconds(whole_after: Option<f64>) -> String {
    whole_after.map_or("never".to_owned(), |seconds| format!("{seconds:.1} s"))
}

fn line(runs: usize, cell: &Cell) -> String {
    let effects =
        cell.effects.map_or("–".to_owned(), |(distinct, expected)| format!("{distinct} of {expected}"));
    let whole = seconds(cell.whole_after);
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
