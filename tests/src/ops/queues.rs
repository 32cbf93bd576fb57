//! Queues, scaling, and the same figures for Prometheus.

use ::jobs::{NewJob, kinds::NoOp};
use serde_json::{Value, json};

use super::{enqueue_no_ops, workspace};
use crate::{TestApp, client::send, cluster::wait_until};

/// The members of an object that are named.
fn some(of: &Value, names: &[&str]) -> Value {
    names.iter().map(|name| ((*name).to_owned(), of[name].clone())).collect::<serde_json::Map<_, _>>().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_shows_what_waits_by_kind_and_by_tenant() {
    let app = TestApp::start().await;
    let operator = app.operator();
    let ada = app.owner().await;
    let limit = json!({"scope": "installation", "kind": "engine.no_op", "max_running": 0});
    operator.put("/limits", limit).await.expect(200);
    let held = json!({"workspace_id": workspace(&ada), "pool": "maintenance"});
    operator.post("/pauses", held).await.expect(201);
    let mut jobs = enqueue_no_ops(&app, 2, Some(workspace(&ada))).await;
    jobs.extend(enqueue_no_ops(&app, 3, None).await);
    let later = NoOp::default();
    let later = NewJob::new(&later).run_at(::jobs::clock::now() + chrono::TimeDelta::hours(1));
    jobs.push(app.database.enqueue(later).await.unwrap().id());

    let queue = operator.get("/queues/maintenance").await.expect(200);

    let names = ["ready", "paused", "scheduled", "running"];
    let all = json!({"ready": 3, "paused": 2, "scheduled": 1, "running": 0});
    assert_eq!(some(&queue, &names), all, "{queue}");
    assert_eq!((&queue["slots"], &queue["workers"]), (&json!(4), &json!(1)), "{queue}");
    assert!(queue["enqueued_per_minute"].as_f64().unwrap() > 0.0, "{queue}");
    assert_eq!(queue["kinds"].as_array().unwrap().len(), 1, "{queue}");
    assert_eq!(queue["kinds"][0]["kind"], "engine.no_op");
    assert_eq!(some(&queue["kinds"][0], &names), all);
    let installation = json!({"ready": 3, "paused": 0, "scheduled": 1, "running": 0});
    let adas = json!({"ready": 0, "paused": 2, "scheduled": 0, "running": 0});
    assert_eq!(queue["workspaces"][0]["workspace_id"], uuid::Uuid::nil().to_string());
    assert_eq!(some(&queue["workspaces"][0], &names), installation);
    assert_eq!(queue["workspaces"][1]["workspace_id"], workspace(&ada).to_string());
    assert_eq!(some(&queue["workspaces"][1], &names), adas);

    let fewer = operator.get("/queues/maintenance?limit=1").await.expect(200);
    assert_eq!(fewer["workspaces"].as_array().unwrap().len(), 1);
    let queues = operator.get("/queues").await.expect(200);
    let pools: Vec<_> = queues["pools"].as_array().unwrap().iter().map(|pool| &pool["pool"]).collect();
    assert_eq!(pools, ["deliveries", "exports", "imports", "maintenance", "provisioning"]);
    assert_eq!(operator.get("/queues/cellar").await.error(404), "record_not_found");
    for job in jobs {
        operator.post(&format!("/jobs/{job}/cancel"), json!({})).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_autoscaler_gets_the_number_of_slots_for_the_waiting_work() {
    let app = TestApp::start().await;
    let operator = app.operator();
    let limit = json!({"scope": "installation", "kind": "engine.no_op", "max_running": 0});
    let limit = operator.put("/limits", limit).await.expect(200);
    wait_until("the worker has signed on", || async {
        operator.get("/pools/maintenance/scaling").await.expect(200)["slots"] == 4
    })
    .await;
    let idle = operator.get("/pools/maintenance/scaling").await.expect(200);
    let names = ["pool", "ready", "running", "slots", "desired"];
    assert_eq!(
        some(&idle, &names),
        json!({"pool": "maintenance", "ready": 0, "running": 0, "slots": 4, "desired": 0})
    );

    // Nothing is known of how long these take: a second each.
    let jobs = enqueue_no_ops(&app, 120, None).await;
    let scaling = async |path: &str| operator.get(path).await.expect(200);
    wait_until("it is counted", || async { scaling("/pools/maintenance/scaling").await["ready"] == 120 })
        .await;

    let busy = scaling("/pools/maintenance/scaling").await;
    assert_eq!(
        some(&busy, &names),
        json!({"pool": "maintenance", "ready": 120, "running": 0, "slots": 4, "desired": 2})
    );
    assert_eq!(busy["backlog_seconds"], 30.0, "two minutes of work on four slots");
    assert_eq!(scaling("/pools/maintenance/scaling?target=1").await["desired"], 120);
    assert_eq!(scaling("/pools/imports/scaling").await["desired"], 0);
    let metrics = send(reqwest::Client::new().get(format!("{}/metrics", app.base))).await.text;
    for line in [
        r#"millrace_jobs{kind="engine.no_op",pool="maintenance",state="due"} 120"#,
        r#"millrace_pool_jobs{pool="maintenance",state="ready"} 120"#,
        r#"millrace_pool_backlog_seconds{pool="maintenance"} 30.000"#,
        r#"millrace_pool_desired_slots{pool="maintenance"} 2"#,
        r#"millrace_pool_desired_slots{pool="imports"} 0"#,
        r#"millrace_pool_slots{pool="maintenance"} 4"#,
        r#"millrace_workers{state="taking"} 1"#,
        "millrace_pauses 0",
        "millrace_led 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }

    operator.delete(&format!("/limits/{}", limit["id"].as_str().unwrap())).await.expect(204);
    for job in jobs {
        app.wait_for_end(job).await;
    }
}
