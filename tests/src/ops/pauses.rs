//! Pauses.

use serde_json::json;

use super::{enqueue_no_ops, let_another_job_pass, workspace};
use crate::{TestApp, masked};

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_pool_holds_its_jobs_until_it_is_resumed() {
    let app = TestApp::start().await;
    let operator = app.operator();
    let pause = operator.post("/pauses", json!({"pool": "maintenance"})).await.expect(201);

    let job = enqueue_no_ops(&app, 1, None).await[0];
    let queue = operator.get("/queues/maintenance").await.expect(200);
    assert_eq!((&queue["paused"], &queue["ready"]), (&json!(1), &json!(0)), "{queue}");
    assert_eq!(operator.get(&format!("/jobs/{job}")).await.expect(200)["status"], "QUEUED");
    let lifted_after = app.count("select floor(extract(epoch from clock_timestamp()))::bigint").await;
    operator.delete(&format!("/pauses/{}", pause["id"].as_str().unwrap())).await.expect(204);

    let end = app.wait_for_end(job).await;
    assert_eq!((&end["status"], &end["attempt"]), (&json!("COMPLETED"), &json!(1)));
    let started: chrono::DateTime<chrono::Utc> = end["started_at"].as_str().unwrap().parse().unwrap();
    assert!(started.timestamp() >= lifted_after, "not before the pause was lifted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_kind_holds_back_no_other_kind_of_its_pool() {
    let app = TestApp::start().await;
    let pause = app.operator().post("/pauses", json!({"kind": "engine.no_op"})).await.expect(201);
    let job = enqueue_no_ops(&app, 1, None).await[0];

    let_another_job_pass(&app).await;

    let held = app.operator().get(&format!("/jobs/{job}")).await.expect(200);
    assert_eq!((&held["status"], &held["attempt"]), (&json!("QUEUED"), &json!(0)));
    app.operator().delete(&format!("/pauses/{}", pause["id"].as_str().unwrap())).await.expect(204);
    assert_eq!(app.wait_for_end(job).await["status"], "COMPLETED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_workspace_holds_back_no_other_workspace() {
    let app = TestApp::start().await;
    let (ada, eve) = (app.owner().await, app.owner().await);
    let pause = app.operator().post("/pauses", json!({"workspace_id": workspace(&ada)})).await.expect(201);
    let held = enqueue_no_ops(&app, 1, Some(workspace(&ada))).await[0];
    let free = enqueue_no_ops(&app, 1, Some(workspace(&eve))).await[0];

    assert_eq!(app.wait_for_end(free).await["status"], "COMPLETED");

    assert_eq!(app.operator().get(&format!("/jobs/{held}")).await.expect(200)["attempt"], 0);
    app.operator().delete(&format!("/pauses/{}", pause["id"].as_str().unwrap())).await.expect(204);
    assert_eq!(app.wait_for_end(held).await["status"], "COMPLETED");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_paused_already_stays_so_under_its_old_id() {
    let app = TestApp::start().await;
    let operator = app.operator();
    let first = operator.post("/pauses", json!({"pool": "imports"})).await.expect(201);
    let body = json!({"pool": "imports", "reason": "the disk is full", "paused_by": "Ada"});
    let again = operator.post("/pauses", body).await.expect(201);
    assert_eq!(first["id"], again["id"]);
    assert_eq!(
        masked(&operator.get("/pauses").await.expect(200)),
        masked(&json!({"items": [{"id": first["id"], "pool": "imports", "reason": "the disk is full",
                                 "paused_by": "Ada", "created_at": first["created_at"]}]}))
    );
    let path = format!("/pauses/{}", first["id"].as_str().unwrap());
    operator.delete(&path).await.expect(204);
    assert_eq!(operator.delete(&path).await.error(404), "record_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_of_everything_or_of_a_pool_that_is_none_is_refused() {
    let app = TestApp::start().await;
    for body in [
        json!({}),
        json!({"reason": "because"}),
        json!({"pool": "cellar"}),
        json!({"kind": ""}),
        json!({"kind": "records.imprt"}),
    ] {
        assert_eq!(app.operator().post("/pauses", body).await.error(422), "record_invalid");
    }
}
