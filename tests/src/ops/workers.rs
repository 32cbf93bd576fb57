//! Workers.

use ::jobs::{NewJob, kinds::NoOp};
use serde_json::{Value, json};

use super::enqueue_no_ops;
use crate::{Client, TestApp, cluster::wait_until};

/// The worker of the test's own process, once it has signed on.
async fn worker(operator: &Client) -> Value {
    wait_until("a worker is there", || async {
        operator.get("/workers").await.expect(200)["items"] != json!([])
    })
    .await;
    let workers = operator.get("/workers").await.expect(200);
    assert_eq!(workers["items"].as_array().unwrap().len(), 1, "{workers}");
    workers["items"][0].clone()
}

/// Waits until the worker reports that state.
async fn wait_for_state(operator: &Client, state: &str) {
    wait_until(state, || async { worker(operator).await["state"] == state }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_shown_with_its_slots_and_what_it_has_in_hand() {
    let app = TestApp::start().await;
    let operator = app.operator();
    let long = NoOp { sleep_ms: 60_000, ..NoOp::default() };
    let job = app.database.enqueue(NewJob::new(&long)).await.unwrap().id();
    wait_until("it runs", || async { worker(&operator).await["jobs"][0]["job_id"] == job.to_string() }).await;

    let shown = worker(&operator).await;

    assert_eq!(shown["jobs"][0]["kind"], "engine.no_op");
    assert_eq!(shown["pid"], std::process::id());
    assert_eq!((&shown["live"], &shown["state"]), (&json!(true), &json!("taking")));
    assert!(shown["pools"].as_array().unwrap().contains(&json!({"pool": "imports", "slots": 4})), "{shown}");
    let mine = operator.get(&format!("/jobs?worker_id={}", shown["id"].as_str().unwrap())).await.expect(200);
    assert_eq!(mine["items"][0]["job_id"], job.to_string());
    operator.post(&format!("/jobs/{job}/cancel"), json!({})).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_worker_finishes_what_it_has_and_takes_nothing_more_until_it_is_resumed() {
    let app = TestApp::start().await;
    let operator = app.operator();
    let path = format!("/workers/{}", worker(&operator).await["id"].as_str().unwrap());
    let long = NoOp { sleep_ms: 60_000, ..NoOp::default() };
    let in_hand = app.database.enqueue(NewJob::new(&long)).await.unwrap().id();
    wait_until("it runs", || async { worker(&operator).await["jobs"][0]["job_id"] == in_hand.to_string() })
        .await;

    let told = operator.post(&format!("{path}/pause"), json!({})).await.expect(200);
    assert_eq!(told["asked"], "pause");
    wait_for_state(&operator, "paused").await;
    let waiting = enqueue_no_ops(&app, 1, None).await[0];
    wait_until("the queue is counted", || async {
        operator.get("/queues/maintenance").await.expect(200)["ready"] == 1
    })
    .await;
    assert_eq!(worker(&operator).await["jobs"].as_array().unwrap().len(), 1, "the job in hand goes on");
    let queue = operator.get("/queues/maintenance").await.expect(200);
    assert_eq!((&queue["slots"], &queue["running"]), (&json!(0), &json!(1)), "{queue}");

    operator.post(&format!("{path}/resume"), json!({})).await.expect(200);
    let end = app.wait_for_end(waiting).await;
    assert_eq!((&end["status"], &end["attempt"]), (&json!("COMPLETED"), &json!(1)));
    wait_for_state(&operator, "taking").await;
    operator.post(&format!("/jobs/{in_hand}/cancel"), json!({})).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_asked_to_leave_leaves_and_can_not_be_called_back() {
    let app = TestApp::start().await;
    let operator = app.operator();
    let path = format!("/workers/{}", worker(&operator).await["id"].as_str().unwrap());
    let long = NoOp { sleep_ms: 60_000, ..NoOp::default() };
    let in_hand = app.database.enqueue(NewJob::new(&long)).await.unwrap().id();
    wait_until("it runs", || async { worker(&operator).await["jobs"][0]["job_id"] == in_hand.to_string() })
        .await;

    operator.post(&format!("{path}/drain"), json!({})).await.expect(200);
    wait_for_state(&operator, "leaving").await;
    for way_back in ["resume", "pause"] {
        let refused = operator.post(&format!("{path}/{way_back}"), json!({})).await;
        assert_eq!(refused.error(409), "worker_leaving");
    }
    operator.post(&format!("{path}/drain"), json!({})).await.expect(200);

    operator.post(&format!("/jobs/{in_hand}/cancel"), json!({})).await.expect(200);
    wait_until("it has left", || async {
        operator.get("/workers").await.expect(200) == json!({"items": []})
    })
    .await;
    assert_eq!(operator.post(&format!("{path}/drain"), json!({})).await.error(404), "record_not_found");
}
