//! Who may use a file, an import and its report: the workspace's own people, by their roles.

use serde_json::json;

use crate::{TestApp, workspace::recordsets::become_role};

const PEOPLE: &str = "Name,Age\nAda,36\nEve\n";

#[tokio::test(flavor = "multi_thread")]
async fn another_workspaces_file_recordset_and_jobs_do_not_exist() {
    let app = TestApp::start().await;
    let (ada, eve) = (app.owner().await, app.owner().await);
    let upload = ada.upload("/recordsets/import/upload", "people.csv", PEOPLE).await.expect(201);
    let (recordset, end) = ada.import("People", PEOPLE).await;
    let job = end["job_id"].as_str().unwrap();
    let own = eve.upload("/recordsets/import/upload", "people.csv", PEOPLE).await.expect(201);

    let file = json!({"file_uri": upload["file_uri"], "name": "Mine"});
    let into = format!("/recordsets/import/records/{}", recordset["id"].as_str().unwrap());
    let of_job = |rest: &str| format!("/recordsets/import/jobs/{job}{rest}");
    for refused in [
        eve.post(&into, json!({"file_uri": own["file_uri"]})).await,
        eve.post("/recordsets/export", json!({"recordset_id": recordset["id"]})).await,
        eve.get(&of_job("")).await,
        eve.get(&of_job("/report-url")).await,
        eve.get(&format!("/recordsets/import/status/{job}")).await,
        eve.post(&of_job("/cancel"), json!({})).await,
        eve.delete(&of_job("")).await,
    ] {
        assert_eq!(refused.error(404), "record_not_found");
    }
    // A file is named in the body, so that the field is to blame; another workspace's is not found.
    let nowhere = json!({"file_uri": format!("file:{}", uuid::Uuid::now_v7()), "name": "Mine"});
    for path in ["/recordsets/import/upload/analyze", "/recordsets/import"] {
        let (hers, none) = (eve.post(path, file.clone()).await, eve.post(path, nowhere.clone()).await);
        assert_eq!((hers.status, &hers.text), (none.status, &none.text), "{path}");
        assert!([404, 422].contains(&hers.status), "{path}: {}", hers.text);
    }
    assert_eq!(eve.get("/recordsets/import/jobs").await.expect(200)["total"], 0);
    assert_eq!(eve.get("/recordsets").await.expect(200)["total"], 0);
    assert_eq!(ada.get(&of_job("")).await.expect(200)["status"], "COMPLETED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_looks_at_imports_and_starts_none() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let upload = owner.upload("/recordsets/import/upload", "people.csv", PEOPLE).await.expect(201);
    let (recordset, end) = owner.import("People", PEOPLE).await;
    let job = format!("/recordsets/import/jobs/{}", end["job_id"].as_str().unwrap());
    become_role(&app, "viewer").await;

    owner.get(&job).await.expect(200);
    owner.get("/recordsets/import/jobs").await.expect(200);
    let file = json!({"file_uri": upload["file_uri"], "name": "More"});
    for refused in [
        owner.upload("/recordsets/import/upload", "people.csv", PEOPLE).await,
        owner.post("/recordsets/import/upload/analyze", file.clone()).await,
        owner.post("/recordsets/import", file).await,
        owner.post("/recordsets/export", json!({"recordset_id": recordset["id"]})).await,
        owner.post(&format!("{job}/cancel"), json!({})).await,
        owner.post("/recordsets/import/jobs/cancel-all", json!({})).await,
        owner.delete(&job).await,
    ] {
        assert_eq!(refused.error(403), "forbidden");
    }
    become_role(&app, "member").await;
    assert_eq!(owner.delete(&job).await.error(403), "forbidden");
    become_role(&app, "admin").await;
    owner.delete(&job).await.expect(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_to_a_report_is_good_for_that_report_only() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (_, one) = owner.import("People", PEOPLE).await;
    let (_, other) = owner.import("More", PEOPLE).await;
    let (one, other) = (one["job_id"].as_str().unwrap(), other["job_id"].as_str().unwrap());
    let link = owner.get(&format!("/recordsets/import/jobs/{one}/report-url")).await.expect(200);
    let link = link["report_url"].as_str().unwrap();

    let report = app.anonymous().get(link).await;
    assert_eq!(report.status, 200);
    assert!(report.headers["content-type"].to_str().unwrap().starts_with("text/csv"));
    let (path, query) = link.split_once('?').unwrap();
    let later = query.replace("exp=1", "exp=2");
    let garbled = format!("{}x", &query[..query.len() - 1]);
    for bad in [
        format!("{}?{query}", path.replace(one, other)),
        format!("{path}?{later}"),
        format!("{path}?{garbled}"),
        format!("{path}?exp=9999999999&sig="),
        format!("{path}?exp=-1&sig=x"),
    ] {
        assert_eq!(app.anonymous().get(&bad).await.error(403), "forbidden", "{bad}");
    }
    assert_eq!(app.anonymous().get(path).await.error(422), "parameter_missing");
}
