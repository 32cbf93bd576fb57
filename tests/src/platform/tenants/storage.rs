//! What a workspace stores, and how it ends where its plan allows no more.

use serde_json::{Value, json};

use crate::{Client, TestApp, client::send};

const UPLOAD: &str = "/recordsets/import/upload";

async fn used(owner: &Client) -> i64 {
    owner.get("/v1/usage").await.expect(200)["data"]["used_storage_bytes"].as_i64().unwrap()
}

/// Lets the plan allow so many bytes more than are in use.
async fn leave_room(app: &TestApp, owner: &Client, bytes: i64) -> i64 {
    let limit = used(owner).await + bytes;
    app.run(&format!("update plan_limits set storage_bytes = {limit} where plan = 'free'")).await;
    limit
}

async fn records(app: &TestApp, owner: &Client) -> i64 {
    let schema = format!("ws_{}", owner.workspace.as_ref().unwrap().replace('-', ""));
    app.count(&format!("select count(*) from {schema}.live_records")).await
}

/// Rows of about 140 bytes each as records.
fn rows(count: usize) -> String {
    let lines: Vec<String> = (0..count).map(|n| n.to_string()).collect();
    format!("n\n{}\n", lines.join("\n"))
}

async fn uploaded(owner: &Client, csv: String) -> Value {
    owner.upload(UPLOAD, "rows.csv", csv).await.expect(201)["file_uri"].clone()
}

async fn start_import(owner: &Client, file: &Value, name: &str, mode: &str) -> Value {
    let asked = json!({ "file_uri": file, "name": name, "mode": mode });
    owner.post("/recordsets/import", asked).await.expect(202)
}

async fn people(owner: &Client) -> String {
    let fields = json!([{ "label": "Name", "field_type": "text" }]);
    let made = owner.post("/recordsets", json!({ "name": "People", "fields": fields })).await.expect(201);
    made["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn records_count_with_their_versions_as_long_as_those_are_kept() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let recordset = people(&owner).await;
    let definition = used(&owner).await;

    let new = json!({ "recordset_id": recordset, "data": { "name": "Ada" } });
    let (path, _) = owner.create("/records", new).await;
    assert_eq!(used(&owner).await - definition, 128 + 14, "its values as JSON, and its place");
    owner.patch(&path, json!({ "data": { "name": "Adele" } })).await.expect(200);
    assert_eq!(used(&owner).await - definition, 2 * 128 + 14 + 16, "and the version before");
    owner.delete(&path).await.expect(204);
    assert_eq!(used(&owner).await - definition, 2 * 128 + 14 + 16, "both versions are kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recordset_counts_with_its_fields_and_settings_and_is_refused_without_room() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    assert_eq!(used(&owner).await, 0);
    let new = json!({ "name": "Ada", "settings": { "note": "x".repeat(1000) } });
    let (path, _) = owner.create("/recordsets", new.clone()).await;
    let empty = used(&owner).await;
    assert!((2027..2100).contains(&empty), "{empty}");

    let field =
        json!({ "fields": [{ "label": "Stage", "field_type": "choice", "options": ["y".repeat(100)] }] });
    owner.patch(&path, field).await.expect(200);
    let with_field = used(&owner).await;
    assert!((empty + 361..empty + 400).contains(&with_field), "{with_field}");
    owner.patch(&path, json!({ "settings": {} })).await.expect(200);
    assert!(used(&owner).await < with_field - 1000, "what becomes smaller makes room");

    leave_room(&app, &owner, 500).await;
    let refused = owner.post("/recordsets", new.clone()).await;
    assert_eq!(refused.error(402), "limit_exceeded");
    let refused = owner.patch(&path, json!({ "settings": new["settings"] })).await;
    assert_eq!(refused.error(402), "limit_exceeded");
    assert_eq!(owner.items("/recordsets").await.as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_exports_and_reports_count_until_they_are_removed() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let csv = "Name,Age\nAda,36\nBob,old\nEve,7\n";
    owner.upload(UPLOAD, "broken.xlsx", "PK\u{3}\u{4} and then nothing").await.error(422);
    assert_eq!(used(&owner).await, 0, "what can't be read is not kept");
    let file = uploaded(&owner, csv.to_owned()).await;
    let file_bytes = i64::try_from(csv.len()).unwrap();
    assert_eq!(used(&owner).await, file_bytes);

    let fields =
        json!([{ "label": "Name", "field_type": "text" }, { "label": "Age", "field_type": "integer" }]);
    let asked = json!({ "file_uri": file, "name": "People", "fields": fields });
    let import = owner.post("/recordsets/import", asked).await.expect(202);
    assert_eq!(owner.follow(&import).await["counts"]["failed"], 1);
    // A recordset with two fields, its settings (`{}`), and its records.
    let definition = 1024
        + i64::try_from("People{}".len()).unwrap()
        + 2 * 256
        + i64::try_from("NameAge[][]".len()).unwrap();
    let record_bytes = definition
        + 2 * 128
        + i64::try_from(r#"{"name":"Ada","age":36}{"name":"Eve","age":7}"#.len()).unwrap();
    let with_report = used(&owner).await;
    assert!(with_report > file_bytes + record_bytes, "{with_report}");

    let path = |job: &Value| format!("/recordsets/import/jobs/{}", job["job_id"].as_str().unwrap());
    owner.delete(&path(&import)).await.expect(204);
    assert_eq!(used(&owner).await, file_bytes + record_bytes, "the report is gone, the records stay");

    let export =
        owner.post("/recordsets/export", json!({ "recordset_id": import["recordset_id"] })).await.expect(202);
    let written = owner.follow(&export).await["result"]["bytes"].as_i64().unwrap();
    assert_eq!(used(&owner).await, file_bytes + record_bytes + written);
    owner.delete(&path(&export)).await.expect(204);
    assert_eq!(used(&owner).await, file_bytes + record_bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_workspace_refuses_additions_and_allows_deletes() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let recordset = people(&owner).await;
    let new = json!({ "recordset_id": recordset, "data": { "name": "Ada" } });
    let (path, _) = owner.create("/records", new.clone()).await;
    let file = uploaded(&owner, rows(3)).await;
    let limit = leave_room(&app, &owner, 0).await;

    let refused = owner.post("/records", new).await.expect(402);
    assert_eq!(refused["error"], "limit_exceeded", "{refused}");
    let message = refused["detail"].as_str().unwrap();
    assert!(
        message.contains(&format!("allows {limit} bytes of storage, of which {limit} are in use")),
        "{message}"
    );
    for refused in [
        owner.patch(&path, json!({ "data": { "name": "Eve" } })).await,
        owner.upload(UPLOAD, "rows.csv", rows(3)).await,
        owner.post("/recordsets/import", json!({ "file_uri": file, "name": "Rows" })).await,
        owner.post("/recordsets/export", json!({ "recordset_id": recordset })).await,
    ] {
        assert_eq!(refused.error(402), "limit_exceeded");
    }
    assert_eq!(used(&owner).await, limit);
    owner.delete(&path).await.expect(204);
    app.run("update workspaces set plan = 'enterprise'").await;
    owner.upload(UPLOAD, "rows.csv", rows(3)).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_ends_where_storage_is_full_and_goes_on_when_there_is_room() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let file = uploaded(&owner, rows(20_000)).await;
    let limit = leave_room(&app, &owner, 1_500_000).await;

    let started = start_import(&owner, &file, "Rows", "partial").await;
    let end = owner.follow(&started).await;
    assert_eq!((&end["status"], &end["error_code"]), (&json!("FAILED"), &json!("limit_exceeded")), "{end}");
    let done = end["counts"]["done"].as_i64().unwrap();
    assert!(0 < done && done < 20_000, "{end}");
    assert_eq!(records(&app, &owner).await, done, "what was written stays");
    assert!(used(&owner).await <= limit);

    app.run("update plan_limits set storage_bytes = null").await;
    owner.post(&format!("/jobs/{}/retry", started["job_id"].as_str().unwrap()), json!({})).await.expect(200);
    let end = owner.follow(&started).await;
    assert_eq!((&end["status"], &end["counts"]["done"]), (&json!("COMPLETED"), &json!(20_000)), "{end}");
    assert_eq!(records(&app, &owner).await, 20_000, "each row once");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_atomic_import_that_fills_the_storage_leaves_nothing_there() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let file = uploaded(&owner, rows(20_000)).await;
    leave_room(&app, &owner, 1_500_000).await;
    let before = used(&owner).await;

    let started = start_import(&owner, &file, "Rows", "atomic").await;
    let end = owner.follow(&started).await;
    assert_eq!((&end["status"], &end["error_code"]), (&json!("FAILED"), &json!("limit_exceeded")), "{end}");
    let definition = 1024 + 256 + i64::try_from("Rows{}n[]".len()).unwrap();
    assert_eq!((records(&app, &owner).await, used(&owner).await), (0, before + definition));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_imports_at_once_pass_the_limit_by_a_batch_at_the_most() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (one, other) = (uploaded(&owner, rows(30_000)).await, uploaded(&owner, rows(30_001)).await);
    let limit = leave_room(&app, &owner, 3_000_000).await;

    let started = [
        start_import(&owner, &one, "One", "partial").await,
        start_import(&owner, &other, "Other", "partial").await,
    ];
    for started in &started {
        let end = owner.follow(started).await;
        assert_eq!(end["error_code"], "limit_exceeded", "{end}");
    }
    let used = used(&owner).await;
    assert!(used <= limit + 8_000 * 140, "{used} of {limit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_fills_the_storage_leaves_no_part_of_a_file() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (recordset, _) = owner.import("Rows", rows(1_000)).await;
    leave_room(&app, &owner, 10_000).await;
    let before = used(&owner).await;

    let started =
        owner.post("/recordsets/export", json!({ "recordset_id": recordset["id"] })).await.expect(202);
    let end = owner.follow(&started).await;
    assert_eq!((&end["status"], &end["error_code"]), (&json!("FAILED"), &json!("limit_exceeded")), "{end}");
    assert_eq!(used(&owner).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_above_the_plans_limit_is_refused_with_or_without_a_content_length() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let unsized_upload = |csv: String| {
        let head = "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.csv\"\r\n\r\n";
        let body = format!("{head}{csv}\r\n--B--\r\n").into_bytes();
        let pieces: Vec<_> =
            body.chunks(10_000).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect();
        let request = owner.request(reqwest::Method::POST, UPLOAD);
        let request = request.header("Content-Type", "multipart/form-data; boundary=B");
        send(request.body(reqwest::Body::wrap_stream(futures::stream::iter(pieces))))
    };
    app.run("update plan_limits set upload_bytes = 100000 where plan = 'free'").await;
    assert_eq!(owner.get("/v1/usage").await.expect(200)["data"]["plan_limits"]["max_upload_bytes"], 100_000);
    // Not much more than is refused unread: a client may fail to send what is not read.
    let (small, large) = (rows(10_000), rows(38_000));
    assert_eq!(owner.upload(UPLOAD, "large.csv", large.clone()).await.error(413), "payload_too_large");
    assert_eq!(unsized_upload(large.clone()).await.error(413), "payload_too_large");

    app.run("update plan_limits set upload_bytes = null where plan = 'free'").await;
    leave_room(&app, &owner, 100_000).await;
    assert_eq!(owner.upload(UPLOAD, "large.csv", large.clone()).await.error(402), "limit_exceeded");
    assert_eq!(unsized_upload(large).await.error(402), "limit_exceeded");
    assert_eq!(used(&owner).await, 0);
    owner.upload(UPLOAD, "small.csv", small).await.expect(201);
}
