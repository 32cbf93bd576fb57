//! Throughput.

use ::jobs::{NewJob, kinds::NoOp};

use super::enqueue_no_ops;
use crate::{TestApp, cluster::wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_counted_by_how_they_ended() {
    let app = TestApp::start().await;
    let operator = app.operator();
    let mut jobs = enqueue_no_ops(&app, 3, None).await;
    let fails_once = NoOp { failures: 1, sleep_ms: 20, ..NoOp::default() };
    jobs.push(app.database.enqueue(NewJob::new(&fails_once)).await.unwrap().id());
    for job in jobs {
        app.wait_for_end(job).await;
    }

    // Steps of a day, so that the test may run at any minute.
    let path = "/throughput?pool=maintenance&kind=engine.no_op&step=86400";
    let sum = async |name: &str| {
        let history = operator.get(path).await.expect(200);
        history["items"].as_array().unwrap().iter().map(|item| item[name].as_f64().unwrap()).sum::<f64>()
    };
    let counts = async || {
        let mut counts = Vec::new();
        for name in ["completed", "retried", "failed", "first_runs"] {
            counts.push(format!("{name}: {}", sum(name).await));
        }
        counts
    };
    wait_until("the worker has written its figures", || async { sum("completed").await >= 4.0 }).await;

    assert_eq!(counts().await, ["completed: 4", "retried: 1", "failed: 0", "first_runs: 4"]);
    assert!(sum("run_seconds").await >= 0.02, "both runs of the one that slept");
    assert!(sum("wait_seconds").await >= 0.0);
    let other = operator.get("/throughput?pool=imports").await.expect(200);
    assert_eq!(other["items"], serde_json::json!([]));
    assert!(operator.get("/queues/maintenance").await.expect(200)["ended_per_minute"].is_number());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_that_makes_no_sense_is_refused() {
    let app = TestApp::start().await;
    for query in ["step=61", "step=0", "from=2200-01-01T00:00:00Z", "to=1999-01-01T00:00:00Z", "pool=cellar"]
    {
        let refused = app.operator().get(&format!("/throughput?{query}")).await;
        assert_eq!(refused.error(422), "record_invalid", "{query}");
    }
}
