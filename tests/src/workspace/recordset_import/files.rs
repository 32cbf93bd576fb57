//! Uploads: what is found in files, and how they are read.

use serde_json::json;

use super::uploaded;
use crate::TestApp;

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_answered_with_what_is_in_the_file() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let csv = "Name\tAge\nAda\t36\nBob\t\n";
    let answer = owner.upload("/recordsets/import/upload", "people.tsv", csv).await.expect(201);
    assert_eq!((&answer["name"], &answer["size"]), (&json!("people.tsv"), &json!(csv.len())));
    let analysis = &answer["analysis"];
    assert_eq!((&analysis["format"], &analysis["delimiter"]), (&json!("csv"), &json!("\t")));
    assert_eq!((&analysis["row_count"], &analysis["encoding"]), (&json!(2), &json!("UTF-8")));
    assert_eq!(analysis["columns"][1]["field_type"], "integer");
    assert_eq!(analysis["columns"][1]["empty_count"], 1);
    assert_eq!(analysis["sample_rows"], json!([["Ada", "36"], ["Bob", ""]]));
    assert_eq!(analysis["suggested_fields"][0]["key"], "name");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_can_be_looked_at_again_with_other_options() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let file_uri = uploaded(&owner, "people.csv", "Ada|36\nBob|7\n").await;
    let options = json!({ "delimiter": "|", "has_header": false });
    let answer = owner
        .post("/recordsets/import/upload/analyze", json!({ "file_uri": file_uri, "options": options }))
        .await
        .expect(200);
    assert_eq!(answer["analysis"]["row_count"], 2);
    assert_eq!(answer["analysis"]["columns"][0]["name"], "column_1");

    let started = owner
        .post("/recordsets/import", json!({ "file_uri": file_uri, "name": "People", "options": options }))
        .await
        .expect(202);
    assert_eq!(owner.follow(&started).await["result"]["imported"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn json_and_geojson_become_records_too() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    for (name, text) in [
        ("people.json", r#"[{"name": "Ada", "tags": ["a"]}, {"name": "Bob"}]"#),
        ("people.ndjson", "{\"name\": \"Ada\"}\n{\"name\": \"Bob\"}\n"),
        (
            "people.geojson",
            r#"{"type": "FeatureCollection", "features": [
                {"type": "Feature", "properties": {"name": "A"}, "geometry": {"type": "Point", "coordinates": [13.4, 52.5]}},
                {"type": "Feature", "properties": {"name": "B"}, "geometry": {"type": "Point", "coordinates": [2.3, 48.9]}}]}"#,
        ),
    ] {
        let file_uri = uploaded(&owner, name, text).await;
        let started =
            owner.post("/recordsets/import", json!({ "file_uri": file_uri, "name": name })).await.expect(202);
        let end = owner.follow(&started).await;
        assert_eq!(end["result"]["imported"], 2, "{name}: {end}");
    }
    let schema = format!("ws_{}", owner.workspace.as_ref().unwrap().replace('-', ""));
    let mapped = app
        .count(&format!(
            "select count(*) from {schema}.records where ext.st_x(promoted_gis_1) in (13.4, 2.3)"
        ))
        .await;
    assert_eq!(mapped, 2, "points are on the map");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_no_import_uses_is_swept_after_a_day() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let old = uploaded(&owner, "old.csv", "a\n1\n").await;
    let used = uploaded(&owner, "used.csv", "a\n1\n").await;
    let fresh = uploaded(&owner, "fresh.csv", "a\n1\n").await;
    let started =
        owner.post("/recordsets/import", json!({ "file_uri": used, "name": "Used" })).await.expect(202);
    owner.follow(&started).await;
    let schema = format!("ws_{}", owner.workspace.as_ref().unwrap().replace('-', ""));
    for uri in [&old, &used] {
        let id = uri.as_str().unwrap().strip_prefix("file:").unwrap();
        app.count(&format!(
            "with old as (update {schema}.files set created_at = now() - interval '25 hours' where id = '{id}'
             returning 1) select count(*) from old"
        ))
        .await;
    }
    let sweep = domain_data::job_kinds::SweepUploads {};
    app.database.enqueue(jobs::NewJob::new(&sweep)).await.unwrap();
    crate::cluster::wait_until("the sweep has ended", || async {
        app.count("select count(*) from shard.finished_jobs where kind = 'uploads.sweep'").await == 1
    })
    .await;

    assert_eq!(app.count(&format!("select count(*) from {schema}.files")).await, 2);
    let look = |uri| owner.post("/recordsets/import/upload/analyze", json!({ "file_uri": uri }));
    assert_eq!(look(&old).await.status, 404);
    assert_eq!(look(&used).await.status, 200);
    assert_eq!(look(&fresh).await.status, 200);
    let folder = owner.workspace.as_ref().unwrap().replace('-', "");
    let stored = std::fs::read_dir(app.folder.path().join("files").join(folder).join("uploads")).unwrap();
    assert_eq!(stored.count(), 2, "its bytes are gone too");
}
