//! The kill matrix: each fault strikes in the middle of each workload, and what it did is counted.
//!
//! [`fault`] has the rows, [`workload`] the columns, [`cell`] what happens where they meet, [`table`] how
//! it is shown. One cluster stands several faults in a row; each cell has work of its own and is judged by
//! itself. `MATRIX_SEED` repeats a selection and its moments, as far as the machine repeats itself.
//! `MATRIX_ONLY` picks the soak's cells: those whose `fault, workload` contains it.

mod cell;
mod fault;
mod table;
mod workload;

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};

use crate::{cluster::Cluster, database::optional_variable};
use cell::Cell;
use fault::Fault;
use table::Table;
use workload::Workload;

/// Each fault once and each workload at least once: a different selection with each seed.
#[tokio::test(flavor = "multi_thread")]
async fn no_fault_loses_or_doubles_anything() {
    let mut rng = seeded();
    let mut faults = Fault::ALL;
    faults.shuffle(&mut rng);
    let mut workloads = workload::all();
    workloads.shuffle(&mut rng);
    let mut table = Table::default();
    let mut cluster = Cluster::start_with_postgres("kill-matrix").await;
    let columns = workloads.len();
    for (n, workload) in workloads.iter_mut().enumerate() {
        // Dealt out like cards, so that no workload goes without.
        let faults: Vec<_> = faults.iter().skip(n).step_by(columns).copied().collect();
        strike_in_a_row(&mut cluster, workload.as_mut(), &faults, &mut rng, &mut table).await;
    }
    table.publish("kill-matrix.md");
    table.assert_nothing_happened();
}

/// Every fault in every workload, `MATRIX_ROUNDS` times (3 by default), at other moments each
/// time. A cluster of its own for each column of each round.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes many minutes; script/test --soak runs it"]
async fn no_fault_loses_or_doubles_anything_however_often_it_strikes() {
    let rounds = optional_variable("MATRIX_ROUNDS").map_or(3, |text| text.parse().expect("a number"));
    let mut rng = seeded();
    let mut table = Table::default();
    for round in 1..=rounds {
        for mut workload in workload::all() {
            let mut faults = chosen(workload.name());
            faults.shuffle(&mut rng);
            if faults.is_empty() {
                continue;
            }
            eprintln!("round {round} of {rounds}: {}", workload.name());
            let mut cluster = Cluster::start_with_postgres("kill-matrix-soak").await;
            strike_in_a_row(&mut cluster, workload.as_mut(), &faults, &mut rng, &mut table).await;
            table.publish("kill-matrix-soak.md");
        }
    }
    table.assert_nothing_happened();
}

/// The faults that the soak lets strike that workload.
fn chosen(workload: &str) -> Vec<Fault> {
    let only = optional_variable("MATRIX_ONLY").unwrap_or_default();
    Fault::ALL.into_iter().filter(|fault| format!("{}, {workload}", fault.name()).contains(&only)).collect()
}

async fn strike_in_a_row(
    cluster: &mut Cluster,
    workload: &mut dyn Workload,
    faults: &[Fault],
    rng: &mut StdRng,
    table: &mut Table,
) {
    workload.prepare(cluster).await;
    for &fault in faults {
        let cell = Cell::run(cluster, workload, fault, rng.random()).await;
        eprintln!("{}", table::row(&cell));
        table.add(cell);
    }
}

/// Randomness that can be had again by its seed.
fn seeded() -> StdRng {
    let seed = optional_variable("MATRIX_SEED")
        .map_or_else(|| rand::rng().random(), |text| text.parse().expect("a number"));
    eprintln!("MATRIX_SEED={seed}");
    StdRng::seed_from_u64(seed)
}
