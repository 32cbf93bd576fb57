//! Limits.

use serde_json::{Value, json};

use super::{enqueue_no_ops, let_another_job_pass, workspace};
use crate::{TestApp, cluster::wait_until};

const ENDED: &str = "select count(*) from finished_jobs where kind = 'engine.no_op'";

/// Sets a limit on jobs that do nothing.
async fn set(app: &TestApp, body: Value) -> Value {
    let mut limit = json!({"scope": "installation", "kind": "engine.no_op"});
    limit.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
    app.operator().put("/limits", limit).await.expect(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_wait_while_as_many_run_as_may_and_go_on_when_the_limit_goes() {
    let app = TestApp::start().await;
    let limit = set(&app, json!({"max_running": 0})).await;
    let jobs = enqueue_no_ops(&app, 3, None).await;

    let_another_job_pass(&app).await;

    assert_eq!(app.count(ENDED).await, 0);
    app.operator().delete(&format!("/limits/{}", limit["id"].as_str().unwrap())).await.expect(204);
    for job in jobs {
        assert_eq!(app.wait_for_end(job).await["status"], "COMPLETED");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_jobs_start_in_a_period_than_may() {
    let app = TestApp::start().await;
    set(&app, json!({"max_starts": 2, "per_seconds": 86_400})).await;
    let jobs = enqueue_no_ops(&app, 5, None).await;

    wait_until("two have run", || async { app.count(ENDED).await >= 2 }).await;
    let_another_job_pass(&app).await;
    assert_eq!(app.count(ENDED).await, 2);

    let raised = set(&app, json!({"max_starts": 5, "per_seconds": 86_400})).await;
    for job in jobs {
        app.wait_for_end(job).await;
    }
    let limits = app.operator().get("/limits").await.expect(200);
    assert_eq!(limits["items"], json!([raised]), "set again is the same limit");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_one_workspace_concerns_no_other() {
    let app = TestApp::start().await;
    let (ada, eve) = (app.owner().await, app.owner().await);
    let limit =
        set(&app, json!({"scope": "workspace", "workspace_id": workspace(&ada), "max_running": 0})).await;
    let held = enqueue_no_ops(&app, 1, Some(workspace(&ada))).await[0];
    let free = enqueue_no_ops(&app, 1, Some(workspace(&eve))).await[0];

    assert_eq!(app.wait_for_end(free).await["status"], "COMPLETED");

    assert_eq!(app.operator().get(&format!("/jobs/{held}")).await.expect(200)["attempt"], 0);
    app.operator().delete(&format!("/limits/{}", limit["id"].as_str().unwrap())).await.expect(204);
    assert_eq!(app.wait_for_end(held).await["status"], "COMPLETED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_makes_no_sense_is_refused() {
    let app = TestApp::start().await;
    let tenant = uuid::Uuid::now_v7();
    for (body, code) in [
        (json!({"max_running": 1}), "parameter_missing"),
        (json!({"scope": "installation"}), "parameter_missing"),
        (json!({"scope": "workspace", "max_starts": 1}), "parameter_missing"),
        (json!({"scope": "workspace", "max_running": 1, "per_seconds": 1}), "parameter_missing"),
        (json!({"scope": "workspace", "max_running": -1}), "record_invalid"),
        (json!({"scope": "workspace", "max_starts": 1, "per_seconds": 0}), "record_invalid"),
        (json!({"scope": "installation", "workspace_id": tenant, "max_running": 1}), "record_invalid"),
        (json!({"scope": "galaxy", "max_running": 1}), "record_invalid"),
        (json!({"scope": "workspace", "kind": "records.imprt", "max_running": 1}), "record_invalid"),
    ] {
        assert_eq!(app.operator().put("/limits", body.clone()).await.error(422), code, "{body}");
    }
    assert_eq!(app.operator().get("/limits").await.expect(200), json!({"items": []}));
}
