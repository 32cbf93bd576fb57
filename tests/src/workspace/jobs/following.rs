//! Streams and tickets follow the permissions that the kinds of jobs ask for, as these change.

use domain_data::job_kinds::ExportRecords;
use jobs::{JobId, NewJob, kinds::NoOp};
use serde_json::{Value, json};

use super::{enqueue, kinds::take, sleeper};
use crate::{Client, EventReader, TestApp};

/// An export that waits for its time.
async fn waiting_export(app: &TestApp, owner: &Client) -> String {
    let export = ExportRecords { export_id: JobId::new() };
    let later = jobs::clock::now() + chrono::Duration::hours(1);
    enqueue(app, owner, NewJob::new(&export).run_at(later)).await.id().to_string()
}

async fn cancel(owner: &Client, job: &str) {
    owner.post(&format!("/jobs/{job}/cancel"), json!({})).await.expect(200);
    super::end_of(owner, job).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_and_its_ticket_end_with_the_permission_that_the_job_s_kind_asks_for() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let bob = app.join(&owner, "viewer").await;
    let export = waiting_export(&app, &owner).await;
    let other = sleeper(&app, &owner, NoOp { sleep_ms: 600_000, ..NoOp::default() }).await;
    let mut open = Vec::new();
    let mut tickets = Vec::new();
    // Tickets of the generic route and of the feature's own.
    for detail in [format!("/jobs/{export}"), format!("/recordsets/import/jobs/{export}")] {
        let url = bob.get(&detail).await.expect(200)["stream_url"].as_str().unwrap().to_owned();
        tickets.extend([url.clone(), url.replace("/stream?", "/logs/stream?")]);
    }
    for path in ["stream", "logs/stream"] {
        open.push(bob.events(&format!("/jobs/{export}/{path}"), None).await);
    }
    for url in &tickets {
        open.push(app.anonymous().events(url, None).await);
    }
    let poll = tokio::spawn({
        let (bob, path) = (bob.clone(), format!("/jobs/{export}?since={}&wait=30", i64::MAX));
        async move { bob.get(&path).await }
    });
    let mut of_other = bob.events(&format!("/jobs/{other}/stream"), None).await;

    take(&owner, "viewer", &["exports:view"]).await;

    for closed in futures::future::join_all(open.into_iter().map(EventReader::closed_for)).await {
        assert_eq!(closed, "permission_removed");
    }
    assert_eq!(poll.await.unwrap().error(403), "forbidden");
    for url in &tickets {
        assert_eq!(app.anonymous().get(url).await.error(403), "forbidden", "{url}");
    }
    cancel(&owner, &other).await;
    let mut end = Value::Null;
    while let Some(event) = of_other.next().await {
        end = event;
    }
    assert_eq!(end["status"], "CANCELLED", "streams of jobs that may still be viewed go on");
    cancel(&owner, &export).await;
}

/// Reads to the next gap; answers the jobs of the events before it.
async fn to_the_gap(stream: &mut EventReader) -> Vec<Value> {
    let mut jobs = Vec::new();
    loop {
        let (id, event) = stream.next_line().await.expect("the stream of a workspace has no end");
        if event["status"] == "GAP" {
            assert_eq!(id, None);
            return jobs;
        }
        jobs.push(event["job_id"].clone());
    }
}

/// Reads to an event of that job; answers the jobs of the events on the way.
async fn to_job(stream: &mut EventReader, job: &str) -> Vec<Value> {
    let mut jobs = Vec::new();
    loop {
        let (_, event) = stream.next_line().await.expect("the stream of a workspace has no end");
        assert!(!["CLOSED", "GAP"].contains(&event["status"].as_str().unwrap()), "{event}");
        if event["job_id"] == job {
            return jobs;
        }
        jobs.push(event["job_id"].clone());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_of_all_jobs_follows_which_of_them_its_reader_may_view() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let bob = app.join(&owner, "viewer").await;
    let first = waiting_export(&app, &owner).await;
    let url = bob.get("/jobs/stream-url").await.expect(200)["stream_url"].as_str().unwrap().to_owned();
    let mut streams = [bob.events("/jobs/stream", None).await, app.anonymous().events(&url, None).await];
    for stream in &mut streams {
        to_job(stream, &first).await;
    }

    take(&owner, "viewer", &["exports:view"]).await;
    for stream in &mut streams {
        to_the_gap(stream).await;
    }
    let hidden = waiting_export(&app, &owner).await;
    cancel(&owner, &first).await;
    let shown = sleeper(&app, &owner, NoOp::default()).await;
    super::end_of(&owner, &shown).await;
    for stream in &mut streams {
        let shown_jobs = to_job(stream, &shown).await;
        assert!(
            !shown_jobs.contains(&json!(first)) && !shown_jobs.contains(&json!(hidden)),
            "{shown_jobs:?}"
        );
    }

    owner.post("/permissions/roles/viewer/reset", json!({})).await.expect(200);
    for stream in &mut streams {
        let shown_jobs = to_the_gap(stream).await;
        assert!(!shown_jobs.contains(&json!(hidden)), "{shown_jobs:?}");
        to_job(stream, &hidden).await;
    }
    cancel(&owner, &hidden).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_all_jobs_who_comes_back_is_told_when_it_may_view_others_now() {
    let app = TestApp::start().await;
    let (owner, visitor) = (app.owner().await, app.anonymous());
    let bob = app.join(&owner, "viewer").await;
    let url = bob.get("/jobs/stream-url").await.expect(200)["stream_url"].as_str().unwrap().to_owned();
    let ways = [(&bob, "/jobs/stream"), (&visitor, &*url)];
    let first = waiting_export(&app, &owner).await;
    let mut streams = Vec::new();
    for (client, path) in ways {
        let mut stream = client.events(path, None).await;
        to_job(&mut stream, &first).await;
        streams.push(stream);
    }
    // Ids of events that are kept.
    let noticed = sleeper(&app, &owner, NoOp::default()).await;
    let mut seen = Vec::new();
    for stream in &mut streams {
        to_job(stream, &noticed).await;
        seen.push(stream.id.clone());
    }
    let hidden = waiting_export(&app, &owner).await;
    for ((client, path), id) in ways.into_iter().zip(&seen) {
        to_job(&mut client.events_after(path, id).await, &hidden).await;
    }

    take(&owner, "viewer", &["exports:view"]).await;
    let shown = sleeper(&app, &owner, NoOp { sleep_ms: 600_000, ..NoOp::default() }).await;
    streams.clear();
    for ((client, path), id) in ways.into_iter().zip(&seen) {
        let mut stream = client.events_after(path, id).await;
        assert_eq!(stream.next_line().await.unwrap().1["status"], "GAP");
        let before = to_job(&mut stream, &shown).await;
        assert!(!before.contains(&json!(first)) && !before.contains(&json!(hidden)), "{before:?}");
        streams.push(stream);
    }
    let noticed = sleeper(&app, &owner, NoOp::default()).await;
    for (stream, id) in streams.iter_mut().zip(&mut seen) {
        to_job(stream, &noticed).await;
        stream.id.clone_into(id);
    }
    let next = sleeper(&app, &owner, NoOp::default()).await;
    for ((client, path), id) in ways.into_iter().zip(&seen) {
        to_job(&mut client.events_after(path, id).await, &next).await;
    }

    owner.post("/permissions/roles/viewer/reset", json!({})).await.expect(200);
    for ((client, path), id) in ways.into_iter().zip(&seen) {
        let mut stream = client.events_after(path, id).await;
        assert_eq!(stream.next_line().await.unwrap().1["status"], "GAP");
        to_job(&mut stream, &hidden).await;
    }
    for job in [&first, &hidden, &shown] {
        cancel(&owner, job).await;
    }
}
