//! The log of a job: what its handler said, capped, readable and streamed.

use jobs::kinds::NoOp;
use serde_json::{Value, json};

use super::sleeper;
use crate::{TestApp, client::send};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_handler_says_is_in_its_jobs_log_by_the_time_the_job_is_over() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let job = sleeper(&app, &owner, NoOp { lines: 2, ..NoOp::default() }).await;
    let other = sleeper(&app, &owner, NoOp::default()).await;

    for job in [&job, &other] {
        owner.events(&format!("/jobs/{job}/stream"), None).await.to_the_end().await;
    }

    let log = owner.get(&format!("/jobs/{job}/logs")).await.expect(200);
    let said: Vec<_> =
        log["items"].as_array().unwrap().iter().map(|line| (&line["level"], &line["message"])).collect();
    let (info, first, second) =
        (json!("info"), json!("a requested line line=1"), json!("a requested line line=2"));
    assert_eq!(said, [(&info, &first), (&info, &second)]);
    assert_eq!(owner.get(&format!("/jobs/{other}/logs")).await.expect(200)["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_capped_per_attempt_and_says_so_once() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let job = sleeper(&app, &owner, NoOp { lines: 1500, failures: 1, ..NoOp::default() }).await;

    owner.events(&format!("/jobs/{job}/stream"), None).await.to_the_end().await;

    let mut lines = Vec::new();
    loop {
        let after = lines.last().map_or(0, |line: &Value| line["id"].as_i64().unwrap());
        let page = owner.get(&format!("/jobs/{job}/logs?after={after}")).await.expect(200);
        match page["items"].as_array().unwrap() {
            items if items.is_empty() => break,
            items => lines.extend(items.clone()),
        }
    }
    for attempt in [1, 2] {
        let of_attempt: Vec<_> = lines.iter().filter(|line| line["attempt"] == attempt).collect();
        assert_eq!(of_attempt.len(), 1001, "attempt {attempt}");
        assert_eq!(of_attempt[999]["message"], "a requested line line=1000");
        assert_eq!(of_attempt[1000]["message"], "more lines of this attempt were dropped");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_streamed_while_the_job_runs_and_ends_with_it() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let job = NoOp { lines: 3, sleep_ms: 60_000, ..NoOp::default() };
    let job = sleeper(&app, &owner, job).await;
    let path = format!("/jobs/{job}/logs/stream");

    let mut stream = owner.events(&path, None).await;
    let mut ids = Vec::new();
    for line in 1..=3 {
        let (id, data) = stream.next_line().await.expect("the job still sleeps");
        assert_eq!(data["message"], format!("a requested line line={line}"));
        assert_eq!(id, data["id"].as_i64());
        ids.push(id.unwrap());
    }
    let mut resumed = owner.events(&path, Some(ids[1])).await;
    assert_eq!(resumed.next_line().await.unwrap().0, Some(ids[2]), "only what came after");

    owner.post(&format!("/jobs/{job}/cancel"), json!({})).await.expect(200);
    for stream in [&mut stream, &mut resumed] {
        let (id, end) = stream.next_line().await.expect("the end is sent");
        assert_eq!((id, &end["status"]), (Some(ids[2]), &json!("CANCELLED")));
        assert!(stream.next_line().await.is_none(), "and the stream closes");
    }
    assert_eq!(
        owner.events(&path, Some(ids[2])).await.status,
        204,
        "a reader that has seen the end gets 204"
    );
    let mut late = owner.events(&path, None).await;
    for id in &ids {
        assert_eq!(late.next_line().await.unwrap().0, Some(*id));
    }
    assert_eq!(late.next_line().await.unwrap().1["status"], "CANCELLED");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_arrive_although_the_bus_forgot_to_say_so() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let job = sleeper(&app, &owner, NoOp { sleep_ms: 60_000, ..NoOp::default() }).await;
    let mut stream = owner.events(&format!("/jobs/{job}/logs/stream"), None).await;

    // As a worker does that can't reach Redis: the line is in the ledger, and not announced.
    sqlx::query("insert into job_logs (job_id, attempt, level, message) values ($1, 1, 'info', 'unheard')")
        .bind(job.parse::<uuid::Uuid>().unwrap())
        .execute(&app.database.pool)
        .await
        .unwrap();

    assert_eq!(stream.next_line().await.unwrap().1["message"], "unheard");
    owner.post(&format!("/jobs/{job}/cancel"), json!({})).await.expect(200);
    assert_eq!(stream.next_line().await.unwrap().1["status"], "CANCELLED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_stream_is_for_members_and_for_the_jobs_own_ticket() {
    let app = TestApp::start().await;
    let (ada, eve) = (app.owner().await, app.owner().await);
    let upload = ada.upload("/recordsets/import/upload", "data.csv", "name\nAda\n").await.expect(201);
    let import = json!({ "file_uri": upload["file_uri"], "name": "People" });
    let started = ada.post("/recordsets/import", import).await.expect(202);
    ada.follow(&started).await;
    let job = started["job_id"].as_str().unwrap();
    let ticket = started["stream_url"].as_str().unwrap().split_once('?').unwrap().1;

    let path = format!("/jobs/{job}/logs/stream");
    let get = |client: crate::Client, path: String| async move { client.get(&path).await };
    assert_eq!(get(eve, path.clone()).await.error(404), "record_not_found");
    assert_eq!(get(app.anonymous(), path.clone()).await.error(401), "token_missing");
    assert_eq!(get(app.anonymous(), format!("{path}?ticket=a.b")).await.error(401), "token_invalid");
    let request = app.anonymous().request(reqwest::Method::GET, &format!("{path}?{ticket}"));
    let reply = send(request).await;
    assert_eq!(reply.status, 200);
    assert!(reply.text.contains(r#""status":"COMPLETED""#), "{}", reply.text);
}
