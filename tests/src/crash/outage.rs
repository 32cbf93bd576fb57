//! Servers that are away or take no writes: requests are answered 503 at once, and no job spends an attempt.

use futures::StreamExt;
use serde_json::json;

use super::start_import;
use crate::{
    Client,
    cluster::{Cluster, free_port, wait_until},
};

#[tokio::test(flavor = "multi_thread")]
async fn without_a_database_the_api_says_so_at_once_and_goes_on_when_it_is_back() {
    let mut cluster = Cluster::start_with_postgres("test-away").await;
    let owner = cluster.owner().await;
    cluster.stop_postgres();

    let login = json!({ "email": "unknown@example.com", "password": "wrong" });
    wait_until("the API has noticed", || async {
        let refused = Client::anonymous(&cluster.base).post("/auth/login", login.clone()).await;
        refused.status == 503 && refused.text.contains("database_unreachable")
    })
    .await;
    let refused = owner.get("/recordsets").await;
    assert_eq!(refused.headers["retry-after"], "2");
    assert_eq!(refused.error(503), "database_unreachable");
    let ready = reqwest::get(format!("{}/ready", cluster.base)).await.unwrap();
    assert_eq!(ready.status(), 503);
    assert_eq!(reqwest::get(format!("{}/health", cluster.base)).await.unwrap().status(), 200);
    let metrics = reqwest::get(format!("{}/metrics", cluster.base)).await.unwrap();
    assert_eq!(metrics.status(), 200);
    assert!(metrics.text().await.unwrap().contains("\nmillrace_database_reachable 0\n"));

    cluster.start_postgres();
    wait_until("the API is ready again", || cluster.is_ready()).await;
    owner.get("/recordsets").await.expect(200);
    assert_eq!(cluster.restart_the_fallen(), Vec::<&str>::new(), "an outage ends no process");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_takes_no_writes_spends_no_attempt_of_a_job() {
    let cluster = Cluster::start_with_postgres("test-read-only").await;
    let owner = cluster.owner().await;
    let import = start_import(&owner, super::ROWS).await;
    let job = import["job_id"].as_str().unwrap().to_owned();
    let status = || async { owner.get(&format!("/jobs/{job}")).await };
    wait_until("it writes", || async {
        status().await.json()["counts"]["done"].as_i64().is_some_and(|rows| rows > 0)
    })
    .await;

    cluster.alter_postgres("alter system set default_transaction_read_only = on").await;
    wait_until("a write is refused", || async {
        owner.post("/recordsets", json!({ "name": "Refused" })).await.status == 503
    })
    .await;
    cluster.alter_postgres("alter system reset default_transaction_read_only").await;

    wait_until("it is done", || async {
        let reply = status().await;
        reply.status == 200 && reply.json()["status"] == "COMPLETED"
    })
    .await;
    let done = status().await.expect(200);
    assert_eq!((&done["attempt"], &done["counts"]["done"]), (&json!(1), &json!(super::ROWS)), "{done}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_forgets_everything_ends_no_stream_and_no_job() {
    let cluster = Cluster::start().await;
    let owner = cluster.owner().await;
    let import = start_import(&owner, super::MANY).await;
    let (job, stream) = (import["job_id"].clone(), import["stream_url"].as_str().unwrap());
    let mut one = owner.events(stream, None).await;
    let mut all = owner.events("/jobs/stream", None).await;
    assert_eq!((one.status, all.status), (200, 200));
    while one.next().await.expect("the import runs")["status"] != "RUNNING" {}

    cluster.flush_redis().await;
    let mut later = owner.events(stream, None).await;
    assert_eq!(later.status, 200, "a further stream is admitted");
    assert_eq!(later.next().await.unwrap()["status"], "RUNNING", "the import still runs");
    let end = one.to_the_end().await;
    assert_eq!((&end["status"], &end["counts"]["done"]), (&json!("COMPLETED"), &json!(super::MANY)), "{end}");
    assert_eq!(later.to_the_end().await["seq"], end["seq"]);
    loop {
        let (_, event) = all.next_line().await.expect("the stream of all jobs goes on");
        if event["job_id"] == job && event["status"] == "COMPLETED" {
            break;
        }
    }
    // What is asked for afterwards is done, and its stream ends.
    let next = start_import(&owner, 10).await;
    assert_eq!(owner.follow(&next).await["status"], "COMPLETED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_takes_no_writes_is_not_ready() {
    let cluster = Cluster::start().await;
    let says = |status: u16| {
        let url = format!("{}/ready", cluster.base);
        move || {
            let url = url.clone();
            async move { reqwest::get(url).await.is_ok_and(|answer| answer.status() == status) }
        }
    };
    for (refuse, accept) in [
        (["CONFIG", "SET", "maxmemory", "1"], ["CONFIG", "SET", "maxmemory", "0"]),
        (["REPLICAOF", "127.0.0.1", "1", ""], ["REPLICAOF", "NO", "ONE", ""]),
    ] {
        cluster.redis(&refuse).await;
        wait_until("not ready", says(503)).await;
        cluster.redis(&accept).await;
        wait_until("ready again", says(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_uses_redis_follows_its_name_when_the_old_one_refuses_writes() {
    let mut cluster = Cluster::start().await;
    let link = cluster.link_to_redis().await;
    let url = format!("redis://127.0.0.1:{}/0", link.port());
    for process in ["api", "scheduler", "imports"] {
        cluster.start_process_with(process, &[("REDIS_URL", &url)]);
    }
    wait_until("ready", || cluster.is_ready()).await;
    let owner = cluster.owner().await;
    assert_eq!(owner.follow(&start_import(&owner, 10).await).await["status"], "COMPLETED");
    let database = cluster.database_behind(&link).await;
    let mut heard = database.bus.messages("news").await.unwrap();

    let other = cluster.another_redis().await;
    link.lead_to(other.port());
    cluster.redis(&["REPLICAOF", "127.0.0.1", "1", ""]).await;
    wait_until("writes are taken", || async { database.bus.probe().await.is_ok() }).await;

    // A subscription at the old one ends, so that its holder subscribes anew.
    assert!(heard.next().await.is_none());
    let mut heard = database.bus.messages("news").await.unwrap();
    let mut publish = redis::cmd("PUBLISH");
    publish.arg("news").arg("good");
    assert_eq!(publish.query_async::<i64>(&mut database.bus.connection()).await.unwrap(), 1);
    assert_eq!(heard.next().await.unwrap().get_payload::<String>().unwrap(), "good");
    // The processes have followed: jobs are handed out and watched by the other one.
    wait_until("ready again", || cluster.is_ready()).await;
    assert_eq!(owner.follow(&start_import(&owner, 10).await).await["status"], "COMPLETED");
    // Those of events and of logs, and what the scheduler and the worker are woken and asked by.
    let channels = 2 * database.bus.event_channels().len() + 3;
    wait_until("all listen there", || async { other.number_of_channels().await >= channels }).await;
    assert_eq!(cluster.restart_the_fallen(), Vec::<&str>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_stopping_says_so_before_it_stops_answering() {
    let mut cluster = Cluster::start().await;
    cluster.start_process_with("api", &[("SHUTDOWN_DELAY_SECONDS", "4")]);
    wait_until("ready", || cluster.is_ready()).await;
    let asked = cluster.ask_to_leave("api");

    wait_until("it says that it is stopping", || async {
        let Ok(answer) = reqwest::get(format!("{}/ready", cluster.base)).await else { return false };
        answer.status() == 503 && answer.text().await.is_ok_and(|body| body.contains("stopping"))
    })
    .await;
    let health = reqwest::get(format!("{}/health", cluster.base)).await.expect("it answers still");
    assert_eq!(health.status(), 200);
    asked.wait_for_a_good_end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_and_a_worker_tell_their_figures_from_the_beginning_and_whether_they_can_work() {
    let mut cluster = Cluster::start().await;
    let (scheduler, worker) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
    cluster.start_process_with("scheduler", &[("METRICS_LISTEN", &scheduler)]);
    cluster.start_process_with("maintenance", &[("METRICS_LISTEN", &worker)]);
    let read = async |address: &str, path: &str| -> Option<(u16, String)> {
        let answer = reqwest::get(format!("http://{address}{path}")).await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    };
    for (address, mark) in [(&scheduler, "\"leading\":true"), (&worker, "ready")] {
        wait_until("it is ready", || async {
            read(address, "/ready").await.is_some_and(|(status, body)| status == 200 && body.contains(mark))
        })
        .await;
    }
    let (_, figures) = read(&scheduler, "/metrics").await.unwrap();
    assert!(figures.contains("# HELP millrace_dispatch_started_over_total "), "{figures}");
    assert!(figures.contains("\nmillrace_jobs_rescued_total 0\n"), "{figures}");
    let (_, figures) = read(&worker, "/metrics").await.unwrap();
    assert!(figures.contains("\nmillrace_lease_renewals_failed_total 0\n"), "{figures}");
    wait_until("the figures of each kind have begun", || async {
        let begun = "\nmillrace_jobs_started_total{kind=\"engine.no_op\"} ";
        read(&worker, "/metrics").await.is_some_and(|(_, figures)| figures.contains(begun))
    })
    .await;

    let database = cluster.database().await;
    database.enqueue(jobs::NewJob::new(&jobs::kinds::NoOp::default())).await.unwrap();
    wait_until("durations are in buckets", || async {
        let bucket = "millrace_job_seconds_bucket{kind=\"engine.no_op\",le=\"";
        read(&worker, "/metrics").await.is_some_and(|(_, figures)| figures.contains(bucket))
    })
    .await;
    cluster.terminate("scheduler");
    assert_eq!(read(&worker, "/ready").await.unwrap().0, 200, "a worker needs no leader to take jobs");
}
