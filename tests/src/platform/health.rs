//! Health, readiness and metrics.

use serde_json::json;

use crate::{Reply, TestApp, client::send, masked};

async fn get(app: &TestApp, path: &str) -> Reply {
    send(reqwest::Client::new().get(format!("{}{path}", app.base))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_service_is_healthy_and_ready() {
    let app = TestApp::start().await;
    let health = get(&app, "/health").await;
    let request = health.headers["x-request-id"].to_str().unwrap().to_owned();
    let health = health.expect(200);
    assert_eq!((&health["success"], &health["request_id"]), (&json!(true), &json!(request)));
    assert!(health["data"]["uptime"].is_u64());
    let mut shown = masked(&health["data"]);
    shown["uptime"] = json!("[uptime]");
    assert_eq!(
        shown,
        json!({"status": "ok", "service": "millrace", "version": env!("CARGO_PKG_VERSION"), "region": "local",
               "timestamp": "[time]", "uptime": "[uptime]"})
    );
    let ready = get(&app, "/ready").await.expect(200);
    assert_eq!(
        masked(&ready["data"]),
        json!({"status": "ready", "service": "millrace", "timestamp": "[time]"})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn health_shows_the_region_of_the_installation() {
    let app = TestApp::start_with(&[("REGION", "eu-central")]).await;

    assert_eq!(get(&app, "/health").await.expect(200)["data"]["region"], "eu-central");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_have_figures_of_requests_and_of_jobs() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let workspace = owner.workspace.as_ref().unwrap().parse().unwrap();
    let job = jobs::kinds::NoOp { sleep_ms: 60_000, ..Default::default() };
    let id = app.database.enqueue(jobs::NewJob::new(&job).workspace(Some(workspace))).await.unwrap().id();
    let mut events = owner.events(&format!("/jobs/{id}/stream?since=0"), None).await;
    while events.next().await.expect("it starts")["status"] != "RUNNING" {}

    let metrics = get(&app, "/metrics").await;

    assert_eq!(metrics.status, 200);
    for line in [
        r#"millrace_jobs{kind="engine.no_op",pool="maintenance",state="running"} 1"#,
        r#"millrace_jobs_oldest_due_seconds{kind="engine.no_op",pool="maintenance"} 0.000"#,
    ] {
        assert!(metrics.text.contains(line), "{line} is not in\n{}", metrics.text);
    }
    owner.post(&format!("/jobs/{id}/cancel"), json!({})).await.expect(200);
    events.to_the_end().await;
}
