//! Jobs of every workspace.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{enqueue_no_ops, workspace};
use crate::TestApp;

fn ids(list: &Value) -> Vec<String> {
    list["items"].as_array().unwrap().iter().map(|job| job["job_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_all_workspaces_are_listed_newest_first_page_by_page() {
    let app = TestApp::start().await;
    let operator = app.operator();
    let (ada, eve) = (app.owner().await, app.owner().await);
    operator.post("/pauses", json!({"kind": "engine.no_op"})).await.expect(201);
    let mut all = Vec::new();
    for workspace in [Some(workspace(&ada)), None, Some(workspace(&eve))] {
        all.extend(enqueue_no_ops(&app, 2, workspace).await.iter().map(ToString::to_string));
    }
    all.reverse();

    let first = operator.get("/jobs?kind=engine.no_op&limit=4").await.expect(200);
    assert_eq!(ids(&first), all[..4]);
    assert_eq!(first["items"][0]["workspace_id"], workspace(&eve).to_string());
    let next = first["next"].as_str().unwrap();
    let second = operator.get(&format!("/jobs?kind=engine.no_op&limit=4&before={next}")).await.expect(200);
    assert_eq!((ids(&second), &second["next"]), (all[4..].to_vec(), &Value::Null));

    let listed = async |query: &str| ids(&operator.get(&format!("/jobs?{query}")).await.expect(200));
    assert_eq!(listed(&format!("workspace_id={}&kind=engine.no_op", workspace(&ada))).await, all[4..]);
    assert_eq!(listed(&format!("workspace_id={}", Uuid::nil())).await[..2], all[2..4]);
    assert_eq!(listed("status=QUEUED&pool=maintenance").await, all);
    assert!(listed("status=RUNNING&pool=maintenance").await.is_empty());
    assert!(!listed("status=COMPLETED&pool=provisioning").await.is_empty(), "two have signed up");
    for job in all {
        operator.post(&format!("/jobs/{job}/cancel"), json!({})).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_job_can_be_cancelled_and_tried_again() {
    let app = TestApp::start().await;
    let operator = app.operator();
    let ada = app.owner().await;
    let pause = operator.post("/pauses", json!({"kind": "engine.no_op"})).await.expect(201);
    let job = enqueue_no_ops(&app, 1, Some(workspace(&ada))).await[0];
    let path = format!("/jobs/{job}");

    assert_eq!(operator.post(&format!("{path}/retry"), json!({})).await.error(409), "job_not_failed");
    let cancelled = operator.post(&format!("{path}/cancel"), json!({})).await.expect(200);
    assert_eq!(cancelled["status"], "CANCELLED");
    assert_eq!(operator.post(&format!("{path}/cancel"), json!({})).await.error(409), "job_over");
    let again = operator.post(&format!("{path}/retry"), json!({})).await.expect(200);
    assert_eq!(again["status"], "QUEUED");
    operator.delete(&format!("/pauses/{}", pause["id"].as_str().unwrap())).await.expect(204);

    let end = app.wait_for_end(job).await;
    assert_eq!((&end["status"], &end["workspace_id"]), (&json!("COMPLETED"), &json!(workspace(&ada))));
    assert_eq!(ada.get(&path).await.expect(200)["status"], "COMPLETED", "its workspace sees the same");
    let none = format!("/jobs/{}", Uuid::now_v7());
    assert_eq!(operator.get(&none).await.error(404), "record_not_found");
    for what in ["cancel", "retry"] {
        assert_eq!(operator.post(&format!("{none}/{what}"), json!({})).await.error(404), "record_not_found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_of_all_workspaces_are_listed_until_they_are_tried_again() {
    let app = TestApp::start().await;
    let operator = app.operator();
    let ada = app.owner().await;
    let job = enqueue_no_ops(&app, 1, Some(workspace(&ada))).await[0];
    app.wait_for_end(job).await;
    // A no-op doesn't fail permanently: write that it did.
    sqlx::query("update finished_jobs set state = 'failed', error = '{\"code\": \"x\", \"message\": \"y\"}' where id = $1")
        .bind(job.0)
        .execute(&app.database.pool)
        .await
        .unwrap();

    let letters = operator.get("/dead-letters").await.expect(200);
    assert_eq!(ids(&letters), [job.to_string()]);
    assert_eq!(
        (&letters["items"][0]["error_code"], &letters["items"][0]["error_message"]),
        (&json!("x"), &json!("y"))
    );
    assert!(
        ids(&operator.get(&format!("/dead-letters?workspace_id={}", Uuid::nil())).await.expect(200))
            .is_empty()
    );
    operator.post(&format!("/jobs/{job}/retry"), json!({})).await.expect(200);
    app.wait_for_end(job).await;
    assert!(ids(&operator.get("/dead-letters").await.expect(200)).is_empty());
}
