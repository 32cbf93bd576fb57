//! The ways in which an import ends.

use serde_json::{Value, json};

use super::{detail, records, report, uploaded};
use crate::{Client, TestApp};

/// Starts an import with further members in its request.
async fn start(owner: &Client, csv: String, more: Value) -> Value {
    let mut asked = json!({ "file_uri": uploaded(owner, "rows.csv", csv).await, "name": "Rows",
        "fields": [{ "label": "n", "field_type": "integer" }, { "label": "code", "field_type": "text", "unique": true }] });
    asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    owner.post("/recordsets/import", asked).await.expect(202)
}

fn rows(count: usize, bad: &[usize]) -> String {
    let line = |row| if bad.contains(&row) { format!("x,c{row}") } else { format!("{row},c{row}") };
    let lines: Vec<String> = (1..=count).map(line).collect();
    format!("n,code\n{}\n", lines.join("\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_atomic_import_shows_all_of_its_records_or_none() {
    let app = TestApp::start().await;
    let owner = app.owner().await;

    let refused = start(&owner, rows(20_000, &[15_000]), json!({ "mode": "atomic" })).await;
    let end = owner.follow(&refused).await;
    assert_eq!(end["status"], "FAILED", "{end}");
    assert_eq!(end["error_message"], "1 rows are invalid, so none was written");
    assert_eq!((&end["counts"]["done"], &end["counts"]["failed"]), (&json!(0), &json!(1)), "{end}");
    assert_eq!(records(&app, &owner).await, 0);
    let schema = format!("ws_{}", owner.workspace.as_ref().unwrap().replace('-', ""));
    for left in ["records", "unique_values", "staged_imports", "record_count_deltas"] {
        assert_eq!(app.count(&format!("select count(*) from {schema}.{left}")).await, 0, "{left}");
    }
    assert_eq!(report(&app, &owner, &refused).await.len(), 2);

    let recordset = refused["recordset_id"].as_str().unwrap();
    let file_uri = uploaded(&owner, "rows.csv", rows(20_000, &[])).await;
    let published = owner
        .post(
            &format!("/recordsets/import/records/{recordset}"),
            json!({ "file_uri": file_uri, "mode": "atomic" }),
        )
        .await
        .expect(202);
    let end = owner.follow(&published).await;
    assert_eq!(end["status"], "COMPLETED", "{end}");
    assert_eq!(records(&app, &owner).await, 20_000);
    let counted = owner.get(&format!("/recordsets/{recordset}")).await.expect(200);
    assert_eq!(counted["record_count"], 20_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_atomic_import_that_failed_begins_anew_when_it_is_retried() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let started = start(&owner, rows(9_000, &[8_500]), json!({ "mode": "atomic" })).await;
    owner.follow(&started).await;
    let job = started["job_id"].as_str().unwrap();
    owner.post(&format!("/jobs/{job}/retry"), json!({})).await.expect(200);
    let end = owner.follow(&started).await;
    assert_eq!(end["status"], "FAILED", "{end}");
    assert_eq!((&end["counts"]["done"], &end["counts"]["failed"]), (&json!(0), &json!(1)), "{end}");
    assert_eq!(report(&app, &owner, &started).await.len(), 2, "the report is the second run's alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_stops_after_the_given_number_of_bad_rows() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let started = start(&owner, rows(100, &[10, 20, 30, 40]), json!({ "stop_after_errors": 3 })).await;
    let end = owner.follow(&started).await;
    assert_eq!(end["status"], "FAILED", "{end}");
    assert_eq!((&end["counts"]["done"], &end["counts"]["failed"]), (&json!(27), &json!(3)), "{end}");
    assert_eq!(records(&app, &owner).await, 27, "what was written stays");
    let detail = detail(&owner, &started).await;
    assert_eq!(detail["validation"]["first_errors"][2]["row"], 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_import_ends_soon_and_keeps_what_it_wrote() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let started = start(&owner, rows(400_000, &[]), json!({})).await;
    let job = started["job_id"].as_str().unwrap();
    let mut events = owner.events(started["stream_url"].as_str().unwrap(), None).await;
    while events.next().await.unwrap()["counts"]["done"].as_i64().unwrap() == 0 {}
    let asked = std::time::Instant::now();
    let answer = owner.post(&format!("/recordsets/import/jobs/{job}/cancel"), json!({})).await.expect(200);
    assert_eq!((&answer["status"], &answer["cancel_requested"]), (&json!("RUNNING"), &json!(true)));
    let end = events.to_the_end().await;
    assert!(asked.elapsed().as_secs_f64() < 3.0, "{:?}", asked.elapsed());
    assert_eq!(end["status"], "CANCELLED", "{end}");
    let written = records(&app, &owner).await;
    assert_eq!(end["counts"]["done"], written);
    assert!(written > 0 && written < 400_000, "{written}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_atomic_import_leaves_nothing() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let started = start(&owner, rows(300_000, &[]), json!({ "mode": "atomic" })).await;
    let mut events = owner.events(started["stream_url"].as_str().unwrap(), None).await;
    while events.next().await.unwrap()["counts"]["done"].as_i64().unwrap() == 0 {}
    assert_eq!(records(&app, &owner).await, 0, "staged records are invisible");
    let answer = owner.post("/recordsets/import/jobs/cancel-all", json!({})).await.expect(200);
    assert_eq!(answer, json!({ "cancelled": 0, "requested": 1, "more": false }));
    let end = events.to_the_end().await;
    assert_eq!((&end["status"], &end["counts"]["done"]), (&json!("CANCELLED"), &json!(0)), "{end}");
    let schema = format!("ws_{}", owner.workspace.as_ref().unwrap().replace('-', ""));
    crate::cluster::wait_until("staged records are removed", || async {
        app.count(&format!("select count(*) from {schema}.records")).await == 0
            && app.count(&format!("select count(*) from {schema}.unique_values")).await == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_import_takes_its_report_and_its_file_along() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let started = start(&owner, rows(10, &[3]), json!({})).await;
    owner.follow(&started).await;
    let job = started["job_id"].as_str().unwrap();
    let link = detail(&owner, &started).await["report_url"].as_str().unwrap().to_owned();
    assert_eq!(owner.get(&format!("/recordsets/import/status/{job}")).await.expect(200)["imported"], 9);

    let path = format!("/recordsets/import/jobs/{job}");
    owner.delete(&path).await.expect(204);
    assert_eq!(owner.get(&path).await.error(404), "record_not_found");
    assert_eq!(app.anonymous().get(&link).await.error(404), "record_not_found");
    assert_eq!(records(&app, &owner).await, 9, "the records stay");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_opens_for_its_own_link_only() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let started = start(&owner, rows(3, &[2]), json!({})).await;
    owner.follow(&started).await;
    let job = started["job_id"].as_str().unwrap();
    let fresh = owner.get(&format!("/recordsets/import/jobs/{job}/report-url")).await.expect(200);
    let link = fresh["report_url"].as_str().unwrap();
    assert_eq!(app.anonymous().get(link).await.status, 200);
    assert_eq!(app.anonymous().get(&link.replace("sig=", "sig=A")).await.error(403), "forbidden");
    let other = link.replace(job, &uuid::Uuid::now_v7().to_string());
    assert_eq!(app.anonymous().get(&other).await.error(403), "forbidden");
    let stranger = app.owner().await;
    assert_eq!(stranger.get(&format!("/recordsets/import/jobs/{job}")).await.error(404), "record_not_found");
}
