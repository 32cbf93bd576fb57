//! The stream of all jobs of a workspace.

use jobs::kinds::NoOp;
use serde_json::{Value, json};

use super::{end_of, sleeper};
use crate::{Client, EventReader, TestApp};

/// Reads to an event of that job with that status; answers with its place in the stream and itself.
async fn until(stream: &mut EventReader, job: &str, status: &str) -> (i64, Value) {
    let mut seq = 0;
    loop {
        let (id, event) = stream.next_line().await.expect("the stream of a workspace has no end");
        if event["job_id"] == job {
            let newer = event["seq"].as_i64().unwrap();
            assert!(newer >= seq, "a job's events come in order: {event} after {seq}");
            seq = newer;
            if event["status"] == status {
                return (id.expect("an event has an id"), event);
            }
        }
    }
}

async fn open(who: &Client, query: &str, last: Option<i64>) -> EventReader {
    let stream = who.events(&format!("/jobs/stream{query}"), last).await;
    assert_eq!(stream.status, 200);
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn one_stream_has_all_jobs_of_its_workspace_and_no_others() {
    let app = TestApp::start().await;
    let (ada, eve) = (app.owner().await, app.owner().await);
    let running = sleeper(&app, &ada, NoOp { sleep_ms: 600_000, ..NoOp::default() }).await;
    let foreign = sleeper(&app, &eve, NoOp { sleep_ms: 600_000, ..NoOp::default() }).await;

    let mut stream = open(&ada, "", None).await;
    let (_, event) = until(&mut stream, &running, "RUNNING").await;
    assert_eq!(event["kind"], "engine.no_op");
    let later = sleeper(&app, &ada, NoOp { sleep_ms: 300, report_ms: 50, ..NoOp::default() }).await;
    let (_, end) = until(&mut stream, &later, "COMPLETED").await;
    let poll = ada.get(&format!("/jobs/{later}")).await.expect(200);
    for field in ["status", "progress", "seq", "counts", "result", "attempt", "kind"] {
        assert_eq!(end[field], poll[field], "{field}");
    }
    let mut theirs = open(&eve, "", None).await;
    until(&mut theirs, &foreign, "RUNNING").await;
    for (who, job) in [(&ada, &running), (&eve, &foreign)] {
        who.post(&format!("/jobs/{job}/cancel"), json!({})).await.expect(200);
    }
    // Each stream goes on to this without a word of the other workspace.
    let mut other = None;
    while let Some((_, event)) = stream.next_line().await {
        assert_ne!(event["job_id"], foreign);
        if event["job_id"] == running && event["status"] == "CANCELLED" {
            other = Some(event);
            break;
        }
    }
    assert!(other.is_some());
    until(&mut theirs, &foreign, "CANCELLED").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_reader_gets_the_missed_events_or_a_gap() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let mut stream = open(&ada, "", None).await;
    let first = sleeper(&app, &ada, NoOp::default()).await;
    let (last, _) = until(&mut stream, &first, "COMPLETED").await;
    drop(stream);
    let missed = sleeper(&app, &ada, NoOp::default()).await;
    end_of(&ada, &missed).await;

    let mut again = open(&ada, "", Some(last)).await;
    until(&mut again, &missed, "COMPLETED").await;

    for mut stream in [open(&ada, "", Some(1)).await, open(&ada, "?since=0", None).await] {
        let (id, gap) = stream.next_line().await.unwrap();
        assert_eq!((id, &gap["status"]), (None, &json!("GAP")));
    }
    let running = sleeper(&app, &ada, NoOp { sleep_ms: 600_000, ..NoOp::default() }).await;
    let mut newcomer = open(&ada, "", Some(1)).await;
    assert_eq!(newcomer.next_line().await.unwrap().1["status"], "GAP");
    until(&mut newcomer, &running, "RUNNING").await;
    ada.post(&format!("/jobs/{running}/cancel"), json!({})).await.expect(200);
    until(&mut newcomer, &running, "CANCELLED").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_filtered_by_kind_or_status_sends_only_those_events() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let mut ends = open(&ada, "?status=COMPLETED", None).await;
    let mut exports = open(&ada, "?kind=records.export", None).await;
    let job = sleeper(&app, &ada, NoOp::default()).await;
    end_of(&ada, &job).await;
    let recordset = ada.post("/recordsets", json!({ "name": "People" })).await.expect(201);
    let export = json!({ "recordset_id": recordset["id"], "format": "csv" });
    ada.follow(&ada.post("/recordsets/export", export).await.expect(202)).await;

    let (_, first) = ends.next_line().await.unwrap();
    assert_eq!((&first["job_id"], &first["status"]), (&json!(job), &json!("COMPLETED")));
    let (_, first) = exports.next_line().await.unwrap();
    assert_eq!(first["kind"], "records.export");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_workspaces_ticket_opens_the_stream_of_its_jobs_and_nothing_else() {
    let app = TestApp::start().await;
    let (ada, eve) = (app.owner().await, app.owner().await);
    let job = sleeper(&app, &ada, NoOp::default()).await;
    end_of(&ada, &job).await;
    let url = ada.get("/jobs/stream-url").await.expect(200)["stream_url"].as_str().unwrap().to_owned();
    let ticket = url.split_once('?').unwrap().1;
    assert!(url.starts_with("/api/v1/jobs/stream?ticket="), "{url}");

    let mut stream = app.anonymous().events(&url, None).await;
    let next = sleeper(&app, &ada, NoOp::default()).await;
    until(&mut stream, &next, "COMPLETED").await;
    for path in [format!("/jobs/{job}/stream?{ticket}"), format!("/jobs/{job}/logs/stream?{ticket}")] {
        assert_eq!(app.anonymous().get(&path).await.error(401), "token_invalid", "{path}");
    }
    let of_job = ada.get(&format!("/jobs/{job}")).await.expect(200)["stream_url"].clone();
    let of_job = of_job.as_str().unwrap().split_once('?').unwrap().1;
    assert_eq!(app.anonymous().get(&format!("/jobs/stream?{of_job}")).await.error(401), "token_invalid");
    assert_eq!(app.anonymous().get("/jobs/stream").await.error(401), "token_missing");
    // It is of the workspace that it was made in, whatever else is named.
    let mut stream = eve.with_token(None).events(&url, None).await;
    let own = sleeper(&app, &ada, NoOp::default()).await;
    until(&mut stream, &own, "COMPLETED").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_platform_has_the_same_stream_with_its_own_ids() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let answer = ada.get("/v1/jobs/stream-url").await.expect(200);
    let url = answer["data"]["stream_url"].as_str().unwrap();
    assert!(url.starts_with("/v1/jobs/stream?ticket="), "{url}");
    let mut streams = [app.anonymous().events(url, None).await, ada.events("/v1/jobs/stream", None).await];
    let job = sleeper(&app, &ada, NoOp::default()).await;
    let shown = ada.get(&format!("/v1/jobs/{job}")).await.expect(200)["data"]["job_id"].clone();
    for stream in &mut streams {
        let (_, end) = until(stream, shown.as_str().unwrap(), "COMPLETED").await;
        assert_eq!(end["kind"], "engine.no_op");
    }
}
