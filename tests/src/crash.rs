//! Tests that kill processes and servers in the middle of work, and look for what was lost or doubled.
//! A killed process is started again at once, as its supervisor would; nothing else is done by hand.

mod drain;
mod export;
mod idempotency;
mod import;
mod leadership;
mod matrix;
mod outage;
mod quarantine;
mod schedules;
mod traces;
mod watching;

use std::time::Duration;

use rand::RngExt;
use serde_json::{Value, json};

use crate::{
    Client,
    cluster::Cluster,
    events::{Seen, is_over},
};

/// Rows of the file that is imported or exported.
const ROWS: usize = 100_000;
/// Rows of a file whose import takes seconds: it still runs when the test comes to look, however busy the machine.
const MANY: usize = 5 * ROWS;

/// A CSV whose rows are all different.
fn csv(rows: usize) -> String {
    let mut text = String::from("number,name,amount,day\n");
    for n in 0..rows {
        text += &format!("{n},Name {n},{}.{:02},2026-0{}-1{}\n", n / 7, n % 100, 1 + n % 9, n % 9);
    }
    text
}

/// Uploads a file of so many rows and starts its import.
async fn start_import(owner: &Client, rows: usize) -> Value {
    let upload = owner.upload("/recordsets/import/upload", "rows.csv", csv(rows)).await.expect(201);
    owner
        .post("/recordsets/import", json!({ "file_uri": upload["file_uri"], "name": "Rows" }))
        .await
        .expect(202)
}

/// Watches a job to its end whatever happens to the connection, resuming where it was. The rules of
/// every stream hold over all connections: the sequence increases, nothing is skipped without a `GAP`,
/// and the percent never goes back.
async fn watch_to_the_end(client: Client, stream_url: String) -> Value {
    let mut seen = Seen::default();
    loop {
        if let Some(mut reader) = client.events_if_up(&stream_url, seen).await {
            while let Some(event) = reader.next().await {
                if is_over(&event) {
                    return event;
                }
            }
            seen = reader.seen();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Watches a job in the background, from its start to its end.
fn watch(owner: &Client, started: &Value) -> tokio::task::JoinHandle<Value> {
    let stream_url = started["stream_url"].as_str().expect("an answer that starts a job has a stream_url");
    tokio::spawn(watch_to_the_end(owner.clone(), stream_url.to_owned()))
}

/// Waits until the job has gone on a bit: a random share of what is left of the file.
async fn wait_for_progress(owner: &Client, status_url: &str, beyond: i64) -> i64 {
    let target = beyond + rand::rng().random_range(3000..12_000);
    loop {
        let job = owner.get(status_url).await.expect(200);
        let done = job["counts"]["done"].as_i64().unwrap_or(0);
        if done >= target || is_over(&job) {
            return done;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The schema of the workspace that a client is in.
fn schema_of(owner: &Client) -> String {
    let workspace = owner.workspace.as_ref().expect("an owner is in a workspace");
    format!("ws_{}", workspace.replace('-', ""))
}

/// What must hold once an import has ended, whatever happened in between.
async fn assert_exactly_once(cluster: &Cluster, owner: &Client, end: &Value, of: usize) {
    assert_eq!(end["status"], "COMPLETED", "{end}");
    assert_eq!(end["counts"]["done"], of);
    let schema = schema_of(owner);
    let rows = cluster.number(&format!("select count(*) from {schema}.live_records")).await;
    assert_eq!(rows, i64::try_from(of).unwrap());
    let distinct =
        cluster.number(&format!("select count(distinct data->>'number') from {schema}.live_records")).await;
    assert_eq!(distinct, rows, "each row of the file once");
}
