//! Recordset Import: files into records.

mod access;
mod bad_input;
mod ends;
mod files;
mod meanwhile;

use serde_json::{Value, json};

use crate::{Client, TestApp};

/// Uploads a file; answers its URI.
async fn uploaded(owner: &Client, name: &str, bytes: impl Into<Vec<u8>>) -> Value {
    let upload = owner.upload("/recordsets/import/upload", name, bytes).await.expect(201);
    upload["file_uri"].clone()
}

/// Creates a recordset.
async fn recordset(owner: &Client, fields: Value) -> String {
    let created = owner.post("/recordsets", json!({ "name": "People", "fields": fields })).await.expect(201);
    created["id"].as_str().unwrap().to_owned()
}

/// How many records a workspace shows, behind the scenes.
async fn records(app: &TestApp, owner: &Client) -> i64 {
    let schema = format!("ws_{}", owner.workspace.as_ref().unwrap().replace('-', ""));
    app.count(&format!("select count(*) from {schema}.live_records")).await
}

/// The detail of a job.
async fn detail(owner: &Client, job: &Value) -> Value {
    owner.get(&format!("/recordsets/import/jobs/{}", job["job_id"].as_str().unwrap())).await.expect(200)
}

/// The error report of a job, line by line.
async fn report(app: &TestApp, owner: &Client, job: &Value) -> Vec<String> {
    let url = detail(owner, job).await["report_url"].as_str().expect("there is a report").to_owned();
    let reply = app.anonymous().get(&url).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.text.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_becomes_records_and_its_bad_rows_a_report() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let id = recordset(
        &owner,
        json!([
            { "label": "Name", "field_type": "text", "required": true },
            { "label": "Age", "field_type": "integer" },
        ]),
    )
    .await;
    let csv =
        "Name,Age,Note\nAda,36,\"first, of all\"\n,12,none\nBob,old,\"two\nlines\"\n\nCy,7,x,y\nDee,,\n";
    let file_uri = uploaded(&owner, "people.csv", csv).await;
    let started = owner
        .post(&format!("/recordsets/import/records/{id}"), json!({ "file_uri": file_uri }))
        .await
        .expect(202);
    let end = owner.follow(&started).await;
    assert_eq!(end["status"], "COMPLETED", "{end}");
    assert_eq!(
        end["result"],
        json!({ "rows": 5, "imported": 2, "failed": 3, "skipped": 0, "recordset_id": id, "report": true })
    );

    let list = owner.get(&format!("/records?recordset_id={id}")).await.expect(200);
    let data: Vec<&Value> = list["items"].as_array().unwrap().iter().map(|record| &record["data"]).collect();
    assert!(data.contains(&&json!({ "name": "Ada", "age": 36 })), "{list}");
    assert!(data.contains(&&json!({ "name": "Dee" })), "{list}");
    let counted = owner.get(&format!("/recordsets/{id}")).await.expect(200);
    assert_eq!(counted["record_count"], 2);

    let detail = detail(&owner, &started).await;
    assert_eq!(
        detail["validation"]["errors_by_code"],
        json!({ "not_an_integer": 1, "ragged_row": 1, "required": 1 })
    );
    assert_eq!(detail["field_mappings"], json!({ "Age": "age", "Name": "name" }));
    let report = report(&app, &owner, &started).await;
    assert_eq!(report[0], "row,column,code,reason,Name,Age,Note");
    assert_eq!(report[1], "2,Name,required,Name is required,,12,none");
    assert!(report[2].starts_with("3,Age,not_an_integer,"), "{report:?}");
    assert!(report[2].ends_with(",Bob,old,\"two") && report[3] == "lines\"", "{report:?}");
    assert!(report[4].starts_with("4,,ragged_row,") && report[4].ends_with(",Cy,7,x,y"), "{report:?}");
    assert_eq!(report.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_cell_of_a_report_is_a_formula_to_a_spreadsheet() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let fields = json!([{ "label": "=Name", "key": "name", "field_type": "text" }, { "label": "Age", "field_type": "integer" }]);
    let id = recordset(&owner, fields).await;
    let file_uri = uploaded(&owner, "people.csv", "=Name,Age,@x\n=1+1,old,'=2\n+a,@b,-3\n").await;
    let asked = json!({ "file_uri": file_uri, "field_mappings": { "=Name": "name", "Age": "age" } });
    let started = owner.post(&format!("/recordsets/import/records/{id}"), asked).await.expect(202);
    assert_eq!(owner.follow(&started).await["counts"]["failed"], 2);
    let report = report(&app, &owner, &started).await;
    assert_eq!(report[0], "row,column,code,reason,'=Name,Age,'@x");
    assert!(report[1].ends_with(",'=1+1,old,'=2"), "{report:?}");
    assert!(report[2].ends_with(",'+a,'@b,-3"), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_without_fields_of_its_own_takes_those_of_the_file() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let csv = "Name;Born;Score\nAda;1815-12-10;1,5\nBob;1990-01-02;2,25\n";
    let (recordset, end) = owner.import("Scores", csv).await;
    assert_eq!(end["result"]["imported"], 2, "{end}");
    let types: Vec<_> = recordset["fields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|field| (field["key"].as_str().unwrap(), field["field_type"].as_str().unwrap()))
        .collect();
    assert_eq!(types, [("name", "text"), ("born", "date"), ("score", "decimal")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mapping_that_does_not_fit_is_refused_by_name_and_starts_nothing() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let fields = json!([
        { "label": "Name", "field_type": "text" },
        { "label": "Code", "field_type": "text", "required": true },
    ]);
    let id = recordset(&owner, fields).await;
    let file_uri = uploaded(&owner, "people.csv", "Name,Age\nAda,36\n").await;
    let path = format!("/recordsets/import/records/{id}");

    let mappings = json!({ "Nam": "name", "Age": "years" });
    let answer =
        owner.post(&path, json!({ "file_uri": file_uri, "field_mappings": mappings })).await.expect(422);
    assert_eq!(
        answer["fields"],
        json!({ "field_mappings.Age": ["the recordset has no field “years”"],
                "field_mappings.Nam": ["the file has no such column"] })
    );
    let answer = owner.post(&path, json!({ "file_uri": file_uri })).await.expect(422);
    assert_eq!(
        answer["fields"],
        json!({ "field_mappings": ["code is required, and no column is mapped to it"] })
    );
    let answer = owner.get("/recordsets/import/jobs").await.expect(200);
    assert_eq!(answer["total"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn unique_values_are_kept_unique_within_the_file_and_against_the_store() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let fields = json!([
        { "label": "Email", "field_type": "email", "unique": true },
        { "label": "Code", "field_type": "text", "unique": true },
    ]);
    let id = recordset(&owner, fields).await;
    owner
        .post("/records", json!({ "recordset_id": id, "data": { "email": "ada@example.com" } }))
        .await
        .expect(201);
    // The second row is refused for its email, so its code is free for the third.
    let csv = "email,code\nbob@example.com,1\nada@example.com,2\ncy@example.com,2\ndee@example.com,1\n";
    let file_uri = uploaded(&owner, "people.csv", csv).await;
    let started = owner
        .post(&format!("/recordsets/import/records/{id}"), json!({ "file_uri": file_uri }))
        .await
        .expect(202);
    let end = owner.follow(&started).await;
    assert_eq!((&end["result"]["imported"], &end["result"]["failed"]), (&json!(2), &json!(2)), "{end}");
    assert_eq!(records(&app, &owner).await, 3);
    let report = report(&app, &owner, &started).await;
    assert_eq!(
        report[1..],
        [
            "2,email,not_unique,another record has this value,ada@example.com,2",
            "4,code,not_unique,another record has this value,dee@example.com,1",
        ]
    );
}
