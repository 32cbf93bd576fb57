//! The main job through the front door: a generated CSV of 1,000,000 rows × 12 columns, from the POST
//! that starts its import to COMPLETED, beside `psql \copy` of the same rows as jsonb into the same
//! table. The export of the same rows, beside `psql \copy … to`.

use std::{
    fmt::Write as _,
    fs::File,
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    Failure,
    client::Client,
    figure::{line, median, print},
    process::Process,
    variable,
};

/// Rows of the file; `BENCH_ROWS` makes it smaller for a quick look.
const ROWS: usize = 1_000_000;
/// Interleaved runs of each side.
const RUNS: usize = 3;

pub async fn measure() -> Result<(), Failure> {
    let rows = variable("BENCH_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(ROWS);
    let folder = PathBuf::from(variable("BENCH_FOLDER")?);
    let url = variable("DATABASE_URL")?;
    let (csv, copy) = (folder.join("rows.csv"), folder.join("rows.copy"));
    generate(&csv, &copy, rows)?;

    let api = Process::start("api", &[])?;
    let others = ["scheduler", "provisioning", "deliveries"].map(|name| Process::start(name, &[]));
    let imports = Process::start("imports", &[("IMPORTS_CONCURRENCY", "1")])?;
    let exports = Process::start("exports", &[("EXPORTS_CONCURRENCY", "1")])?;
    let client = Client::sign_up().await?;
    // The runs together store more than the plan of a new workspace allows.
    psql(&url, "update control.plan_limits set storage_bytes = null, upload_bytes = null")?;
    let records = format!("ws_{}.records", client.workspace.replace('-', ""));

    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let (mut ours_out, mut theirs_out) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        psql(&url, &format!("truncate {records}"))?;
        let recordset = import(&client, &csv, rows, &mut ours).await?;
        export(&client, &recordset, rows, &mut ours_out).await?;
        let out = folder.join("out.csv");
        let began = Instant::now();
        psql(
            &url,
            &format!(
                "\\copy (select id, data from {records} where deleted_at is null order by id) to '{}' csv header",
                out.display()
            ),
        )?;
        theirs_out.push(per_second(rows, began.elapsed()));
        psql(&url, &format!("truncate {records}"))?;
        let began = Instant::now();
        psql(&url, &format!("\\copy {records} (id, recordset_id, data) from '{}'", copy.display()))?;
        theirs.push(per_second(rows, began.elapsed()));
    }
    line("import", "rows_per_second", median(&mut ours), "rows/s", Some(("copy_jsonb", median(&mut theirs))));
    print("import", "peak_memory", imports.peak_memory()?, "MiB");
    line(
        "export",
        "rows_per_second",
        median(&mut ours_out),
        "rows/s",
        Some(("copy_to", median(&mut theirs_out))),
    );
    print("export", "peak_memory", exports.peak_memory()?, "MiB");
    for process in others.into_iter().chain([Ok(imports), Ok(exports), Ok(api)]) {
        process?.stop()?;
    }
    Ok(())
}

async fn import(client: &Client, csv: &Path, rows: usize, figures: &mut Vec<f64>) -> Result<String, Failure> {
    let upload = client.upload("/recordsets/import/upload", csv).await?;
    let began = Instant::now();
    let started =
        client.post("/recordsets/import", json!({ "file_uri": upload["file_uri"], "name": "Bench" })).await?;
    let end = client.wait_for(&started).await?;
    figures.push(per_second(rows, began.elapsed()));
    if end["counts"]["done"] != json!(rows) {
        return Err(format!("not every row was imported: {end}").into());
    }
    Ok(started["recordset"]["id"].as_str().ok_or("no recordset in the answer")?.to_owned())
}

async fn export(
    client: &Client,
    recordset: &str,
    rows: usize,
    figures: &mut Vec<f64>,
) -> Result<(), Failure> {
    let began = Instant::now();
    let started = client.post("/recordsets/export", json!({ "recordset_id": recordset })).await?;
    let end: Value = client.wait_for(&started).await?;
    figures.push(per_second(rows, began.elapsed()));
    if end["counts"]["done"] != json!(rows) {
        return Err(format!("not every record was exported: {end}").into());
    }
    Ok(())
}

/// Twelve columns of the usual kinds, as CSV and as what `\copy` reads into the same table.
fn generate(csv: &Path, copy: &Path, rows: usize) -> Result<(), Failure> {
    let (mut csv, mut copy) = (BufWriter::new(File::create(csv)?), BufWriter::new(File::create(copy)?));
    writeln!(csv, "number,name,email,city,country,amount,quantity,active,joined,seen_at,website,note")?;
    let recordset = Uuid::now_v7();
    let cities = ["Lisboa", "Ulaanbaatar", "Reykjavík", "Nairobi", "São Paulo", "Oaxaca", "Tromsø"];
    let mut row = String::new();
    for n in 0..rows {
        let city = cities[n % cities.len()];
        let (amount, quantity, active) = (format!("{}.{:02}", n % 9973, n % 100), n % 250, n % 3 == 0);
        let (joined, seen) = (
            format!("20{:02}-{:02}-{:02}", n % 26, 1 + n % 12, 1 + n % 28),
            format!("2026-{:02}-{:02}T{:02}:{:02}:00Z", 1 + n % 11, 1 + n % 28, n % 24, n % 60),
        );
        row.clear();
        writeln!(
            row,
            "{n},Customer number {n},customer.{n}@example.com,{city},C{:02},{amount},{quantity},{active},\
             {joined},{seen},https://example.com/customers/{n},\"Called twice, likes \"\"tea\"\", lot {}\"",
            n % 60,
            n % 1000
        )?;
        csv.write_all(row.as_bytes())?;
        let data = json!({
            "number": n, "name": format!("Customer number {n}"), "email": format!("customer.{n}@example.com"),
            "city": city, "country": format!("C{:02}", n % 60), "amount": amount, "quantity": quantity,
            "active": active, "joined": joined, "seen_at": seen,
            "website": format!("https://example.com/customers/{n}"),
            "note": format!("Called twice, likes \"tea\", lot {}", n % 1000),
        });
        writeln!(copy, "{}\t{recordset}\t{}", Uuid::now_v7(), data.to_string().replace('\\', "\\\\"))?;
    }
    csv.flush()?;
    copy.flush()?;
    Ok(())
}

fn psql(url: &str, command: &str) -> Result<(), Failure> {
    let status = Command::new("psql")
        .args(["-qX", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null", "-c", command, url])
        .status()?;
    if status.success() { Ok(()) } else { Err(format!("psql failed: {command}").into()) }
}

#[allow(clippy::cast_precision_loss)]
fn per_second(rows: usize, elapsed: Duration) -> f64 {
    rows as f64 / elapsed.as_secs_f64()
}
