//! One W3C trace from the request to the job that it starts.

use jobs::kinds::NoOp;
use reqwest::Method;
use serde_json::{Value, json};

use super::sleeper;
use crate::{Client, Cluster, Collector, TestApp, client::send};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// Starts an import as part of a trace; answers with what the answer says.
async fn import(owner: &Client, traceparent: Option<&str>) -> Value {
    let upload = owner.upload("/recordsets/import/upload", "data.csv", "name\nAda\n").await.expect(201);
    let mut request = owner
        .request(Method::POST, "/recordsets/import")
        .json(&json!({ "file_uri": upload["file_uri"], "name": "Airfields" }));
    if let Some(traceparent) = traceparent {
        request = request.header("traceparent", traceparent);
    }
    send(request).await.expect(202)
}

async fn trace_of(owner: &Client, started: &Value) -> Value {
    let job = started["job_id"].as_str().unwrap();
    owner.get(&format!("/jobs/{job}")).await.expect(200)["trace_id"].clone()
}

/// An import in a trace of the client's, run to its end by processes that export what they trace.
async fn traced_import() -> (Collector, Cluster, Client, Value) {
    let collector = Collector::start().await;
    let cluster = Cluster::start_with(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
    ])
    .await;
    let owner = cluster.owner().await;
    let started = import(&owner, Some(&format!("00-{TRACE}-b7ad6b7169203331-01"))).await;
    owner.follow(&started).await;
    (collector, cluster, owner, started)
}

#[tokio::test(flavor = "multi_thread")]
async fn request_enqueue_dispatch_and_run_are_one_trace_across_processes() {
    let (collector, _cluster, owner, started) = traced_import().await;

    assert_eq!(trace_of(&owner, &started).await, TRACE);
    let request = collector.span(TRACE, "POST /api/v1/recordsets/import").await;
    assert_eq!((request.service.as_str(), request.parent.as_str()), ("millrace-api", "b7ad6b7169203331"));
    let enqueue = collector.span(TRACE, "enqueue").await;
    assert_eq!((enqueue.service.as_str(), &enqueue.parent), ("millrace-api", &request.id));
    let dispatch = collector.span(TRACE, "dispatch").await;
    assert_eq!((dispatch.service.as_str(), &dispatch.parent), ("millrace-imports", &enqueue.id));
    let run = collector.span(TRACE, "records.import").await;
    assert_eq!((run.service.as_str(), &run.parent), ("millrace-imports", &enqueue.id));
    assert!(dispatch.start <= dispatch.end && dispatch.end <= run.end, "{dispatch:?} {run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_sql_statement_is_a_span_below_the_one_that_runs_it_without_its_values() {
    let (collector, _cluster, _, started) = traced_import().await;

    let request = collector.span(TRACE, "POST /api/v1/recordsets/import").await;
    let insert = collector.query(TRACE, "millrace-api", "insert into imports").await;
    assert_eq!(insert.parent, request.id);
    assert_eq!((insert.name.as_str(), insert.attributes["db.operation.name"].as_str()), ("INSERT", "INSERT"));
    assert!(request.start <= insert.start && insert.start < insert.end && insert.end <= request.end);
    let run = collector.span(TRACE, "records.import").await;
    let select = collector.query(TRACE, "millrace-imports", "from imports i").await;
    assert_eq!((&select.parent, select.name.as_str()), (&run.id, "SELECT"));

    let queries = collector.all().into_iter().filter(|span| span.attributes.contains_key("db.query.text"));
    for query in queries {
        assert_eq!(query.attributes["db.system.name"], "postgresql");
        assert!(!query.parent.is_empty(), "statements outside of requests and jobs make no spans: {query:?}");
        let shown = format!("{query:?}");
        let values = ["data.csv", "Airfields", "@example.com", started["job_id"].as_str().unwrap()];
        assert!(values.iter().all(|value| !shown.contains(value)), "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_keeps_the_trace_of_its_request_where_nothing_is_exported() {
    let app = TestApp::start().await;
    let owner = app.owner().await;

    let ours = format!("00-{TRACE}-b7ad6b7169203331-01");
    let mut traces = Vec::new();
    for traceparent in [Some(ours.as_str()), None, Some("00-not-a-trace")] {
        let started = import(&owner, traceparent).await;
        owner.follow(&started).await; // the same file again would be the same job as long as this one lives
        traces.push(trace_of(&owner, &started).await);
    }

    let [ours, new, malformed] = traces.try_into().expect("three");
    assert_eq!(ours, TRACE);
    for trace in [&new, &malformed] {
        assert_eq!(trace.as_str().map(str::len), Some(32), "{trace}");
    }
    assert!(new != malformed && new != TRACE, "each request without a trace begins one");
    let of_nobody = sleeper(&app, &owner, NoOp::default()).await;
    assert_eq!(trace_of(&owner, &json!({ "job_id": of_nobody })).await, Value::Null);
}
