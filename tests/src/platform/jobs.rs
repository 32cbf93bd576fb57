//! Jobs as the Platform API shows them.

use ::jobs::kinds::NoOp;
use serde_json::json;

use crate::{TestApp, masked, workspace::sleeper};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_has_the_same_end_by_poll_and_by_stream_under_its_type_id() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let job = sleeper(&app, &owner, NoOp { sleep_ms: 20, ..NoOp::default() }).await;

    let end = owner.events(&format!("/v1/jobs/{job}/stream"), None).await.to_the_end().await;

    let id = end["job_id"].as_str().unwrap();
    assert!(id.starts_with("job_"), "{id}");
    let polled = owner.get(&format!("/v1/jobs/{id}")).await.expect(200);
    assert_eq!((&polled["data"]["seq"], &polled["data"]["job_id"]), (&end["seq"], &end["job_id"]));
    assert_eq!(polled["success"], true);
    assert!(polled["request_id"].is_string());
    // The same job on the other surface.
    assert_eq!(owner.get(&format!("/jobs/{job}")).await.expect(200)["seq"], end["seq"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_cancelled_by_its_type_id() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let job = sleeper(&app, &owner, NoOp { sleep_ms: 60_000, ..NoOp::default() }).await;
    let stream = owner.events(&format!("/v1/jobs/{job}/stream"), None).await;

    let asked = owner.post(&format!("/v1/jobs/{job}/cancel"), json!({})).await.expect(200);

    assert_eq!(masked(&asked["data"]["job_id"]), "[id]");
    assert_eq!(stream.to_the_end().await["status"], "CANCELLED");
    assert_eq!(owner.post(&format!("/v1/jobs/{job}/cancel"), json!({})).await.error(409), "job_over");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_another_workspace_does_not_exist() {
    let app = TestApp::start().await;
    let (owner, eve) = (app.owner().await, app.owner().await);
    let job = sleeper(&app, &owner, NoOp::default()).await;

    for path in [format!("/v1/jobs/{job}"), format!("/v1/jobs/{job}/stream"), "/v1/jobs/job_x".to_owned()] {
        assert_eq!(eve.get(&path).await.error(404), "record_not_found", "{path}");
    }
    let cancelled = eve.post(&format!("/v1/jobs/{job}/cancel"), json!({})).await;
    assert_eq!(cancelled.error(404), "record_not_found");
}
