//! Recordset Export: records into files.

use std::time::Duration;

use jobs::testing::pass;
use serde_json::{Value, json};

use crate::{Client, TestApp, cluster::wait_until};

async fn exported(owner: &Client, asked: Value) -> (Value, Value) {
    let started = owner.post("/recordsets/export", asked).await.expect(202);
    let end = owner.follow(&started).await;
    let path = format!("/recordsets/import/jobs/{}", started["job_id"].as_str().unwrap());
    (end, owner.get(&path).await.expect(200))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_the_recordset_in_the_order_of_its_records() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let csv = "Name,Tags,Score\n\"Ada, Countess\",a;b,1.50\n\"say \"\"hi\"\"\",,\n";
    let (recordset, _) = owner.import("People", csv).await;
    let (end, detail) = exported(&owner, json!({ "recordset_id": recordset["slug"] })).await;
    assert_eq!((&end["status"], &end["result"]["rows"]), (&json!("COMPLETED"), &json!(2)), "{end}");
    assert_eq!((&detail["job_type"], &detail["file_name"]), (&json!("export"), &json!("people.csv")));

    let file = app.anonymous().get(detail["download_url"].as_str().unwrap()).await;
    assert_eq!(file.headers["content-type"], "text/csv; charset=utf-8");
    assert_eq!(file.text.len(), usize::try_from(end["result"]["bytes"].as_i64().unwrap()).unwrap());
    let lines: Vec<&str> = file.text.split("\r\n").collect();
    assert_eq!(lines[0], "id,Name,Tags,Score");
    assert!(lines[1].ends_with(",\"Ada, Countess\",a;b,1.50"), "{lines:?}");
    assert!(lines[2].ends_with(",\"say \"\"hi\"\"\",,"), "{lines:?}");

    let (_, detail) = exported(&owner, json!({ "recordset_id": recordset["id"], "fields": ["score"] })).await;
    let file = app.anonymous().get(detail["download_url"].as_str().unwrap()).await;
    assert!(file.text.starts_with("id,Score\r\n"), "{}", file.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_spreadsheet_would_calculate_is_marked_in_the_file_and_comes_back_as_it_was() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let fields = json!([{ "label": "=Name", "key": "name", "field_type": "text" }, { "label": "@Number", "key": "number", "field_type": "decimal" }]);
    let made = owner.post("/recordsets", json!({ "name": "Formulas", "fields": fields })).await.expect(201);
    let values = ["=cmd|'/c calc'!A0", "@SUM(A1)", "+1+1", "-2+3", "'=1", "''@a", "'tis", "plain"];
    for value in values {
        let data = json!({ "name": value, "number": -5 });
        owner.post("/records", json!({ "recordset_id": made["id"], "data": data })).await.expect(201);
    }

    let (_, detail) = exported(&owner, json!({ "recordset_id": made["id"] })).await;
    let file = app.anonymous().get(detail["download_url"].as_str().unwrap()).await.text;
    assert!(file.starts_with("id,'=Name,'@Number\r\n"), "{file}");
    for (line, value) in file.lines().skip(1).zip(values) {
        let marked = match value {
            "'tis" | "plain" => value.to_owned(),
            formula => format!("'{formula}"),
        };
        assert!(line.ends_with(&format!(",{marked},-5")), "{line}");
    }
    let (copy, _) = owner.import("Copy", file).await;
    let labels: Vec<_> =
        copy["fields"].as_array().unwrap().iter().map(|field| field["label"].clone()).collect();
    assert_eq!(labels, ["id", "=Name", "@Number"]);
    let key = copy["fields"][1]["key"].as_str().unwrap();
    let list =
        owner.get(&format!("/records?recordset_id={}", copy["id"].as_str().unwrap())).await.expect(200);
    let mut back: Vec<_> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| record["data"][key].as_str().unwrap())
        .collect();
    let mut expected = values;
    back.sort_unstable();
    expected.sort_unstable();
    assert_eq!(back, expected);

    let (_, detail) = exported(&owner, json!({ "recordset_id": made["id"], "safe": false })).await;
    let file = app.anonymous().get(detail["download_url"].as_str().unwrap()).await.text;
    assert!(file.starts_with("id,=Name,@Number\r\n") && file.contains(",@SUM(A1),-5"), "{file}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_many_segments_has_every_record_once_and_in_order() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let numbers: Vec<String> = (0..120_000).map(|n: i32| n.to_string()).collect();
    let csv = format!("n\n{}\n", numbers.join("\n"));
    let (recordset, _) = owner.import("Numbers", csv).await;
    let (end, detail) = exported(&owner, json!({ "recordset_id": recordset["id"] })).await;
    assert_eq!(end["result"]["rows"], 120_000, "{end}");
    let file = app.anonymous().get(detail["download_url"].as_str().unwrap()).await;
    let numbers: Vec<usize> =
        file.text.lines().skip(1).map(|line| line.split_once(',').unwrap().1.parse().unwrap()).collect();
    assert!(numbers.into_iter().eq(0..120_000), "in the order of the file");
    let schema = format!("ws_{}", owner.workspace.as_ref().unwrap().replace('-', ""));
    assert_eq!(app.count(&format!("select count(*) from {schema}.export_segments")).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_waits_for_a_file_store_that_is_away_without_spending_an_attempt() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (recordset, _) = owner.import("People", "Name\nAda\n").await;
    let (store, elsewhere) = (app.folder.path().join("files"), app.folder.path().join("elsewhere"));
    std::fs::rename(&store, &elsewhere).unwrap();
    std::fs::write(&store, "no folder").unwrap();

    let started =
        owner.post("/recordsets/export", json!({ "recordset_id": recordset["slug"] })).await.expect(202);
    let path = format!("/jobs/{}", started["job_id"].as_str().unwrap());
    wait_until("it waits for the store", || async {
        let job = owner.get(&path).await.expect(200);
        job["status"] != "RUNNING" && job["message"] == "Waiting: the file storage is unreachable."
    })
    .await;
    std::fs::remove_file(&store).unwrap();
    std::fs::rename(&elsewhere, &store).unwrap();
    pass(&app.database, Duration::from_secs(60)).await;

    let end = owner.follow(&started).await;
    assert_eq!((&end["status"], &end["attempt"]), (&json!("COMPLETED"), &json!(1)), "{end}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_nothing_is_a_header() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let fields = json!([{ "label": "Name", "field_type": "text" }]);
    let recordset = owner.post("/recordsets", json!({ "name": "Empty", "fields": fields })).await.expect(201);
    let (_, detail) = exported(&owner, json!({ "recordset_id": recordset["id"] })).await;
    let link = detail["download_url"].as_str().unwrap();
    assert_eq!(app.anonymous().get(link).await.text, "id,Name\r\n");

    let job = detail["job_id"].as_str().unwrap();
    owner.delete(&format!("/recordsets/import/jobs/{job}")).await.expect(204);
    assert_eq!(app.anonymous().get(link).await.error(404), "record_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_exported_is_refused() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let recordset = owner.post("/recordsets", json!({ "name": "A", "fields": [] })).await.expect(201);
    let path = "/recordsets/export";
    let answer =
        owner.post(path, json!({ "recordset_id": recordset["id"], "fields": ["nope"] })).await.expect(422);
    assert_eq!(answer["fields"], json!({ "fields.nope": ["the recordset has no such field"] }));
    assert_eq!(owner.post(path, json!({ "recordset_id": "nowhere" })).await.error(404), "record_not_found");
    let stranger = app.owner().await;
    let answer = stranger.post(path, json!({ "recordset_id": recordset["id"] })).await;
    assert_eq!(answer.error(404), "record_not_found");
}
