//! Jobs by filter, many cancelled at once, and a waiting one put first.

use std::time::Duration;

use ::jobs::{NewJob, clock, kinds::NoOp};
use chrono::TimeDelta;
use reqwest::Url;
use serde_json::{Value, json};

use super::{sleeper, status_of};
use crate::{
    Client, TestApp,
    cluster::{Link, wait_until},
    database::variable,
    workspace::recordsets::become_role,
};

/// Enqueues a job for tomorrow.
async fn for_tomorrow(app: &TestApp, owner: &Client) -> String {
    let workspace = owner.workspace.as_ref().unwrap().parse().unwrap();
    let job = NoOp::default();
    let job = NewJob::new(&job).workspace(Some(workspace)).run_at(clock::now() + TimeDelta::days(1));
    let id = app.database.enqueue(job).await.unwrap().id();
    id.to_string()
}

/// A job that runs until it is cancelled.
async fn running(app: &TestApp, owner: &Client) -> String {
    let job = sleeper(app, owner, NoOp { sleep_ms: 60_000, ..NoOp::default() }).await;
    let mut events = owner.events(&format!("/jobs/{job}/stream?since=0"), None).await;
    while events.next().await.expect("it starts")["status"] != "RUNNING" {}
    job
}

async fn cancel(who: &Client, selection: Value) -> Value {
    who.post("/jobs/cancel", selection).await.expect(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn many_jobs_are_cancelled_by_filter_and_the_neighbours_are_not() {
    let app = TestApp::start().await;
    let (owner, eve) = (app.owner().await, app.owner().await);
    let (one, two) = (for_tomorrow(&app, &owner).await, for_tomorrow(&app, &owner).await);
    let (live, other) = (running(&app, &owner).await, for_tomorrow(&app, &eve).await);

    assert_eq!(
        cancel(&owner, json!({"kind": "records.import"})).await,
        json!({"cancelled": 0, "requested": 0, "more": false})
    );
    let pending = json!({"kind": "engine.no_op", "status": "PENDING"});
    assert_eq!(cancel(&owner, pending).await, json!({"cancelled": 2, "requested": 0, "more": false}));
    for job in [one, two] {
        assert_eq!(status_of(&owner, &job).await, "CANCELLED");
    }
    assert_eq!(status_of(&owner, &live).await, "RUNNING");
    let all = cancel(&owner, json!({"all": true})).await;
    assert_eq!(all, json!({"cancelled": 0, "requested": 1, "more": false}));
    let end = owner.events(&format!("/jobs/{live}/stream"), None).await.to_the_end().await;
    assert_eq!(end["status"], "CANCELLED");

    assert_eq!(status_of(&eve, &other).await, "PENDING");
    assert_eq!(cancel(&eve, json!({"all": true})).await["cancelled"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_jobs_than_one_transaction_takes_are_all_cancelled() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let workspace = owner.workspace.as_ref().unwrap().parse().unwrap();
    let mut tx = app.database.begin().await.unwrap();
    let job = NoOp::default();
    let later = clock::now() + TimeDelta::days(1);
    let many = (0..1100).map(|_| NewJob::new(&job).workspace(Some(workspace)).run_at(later)).collect();
    jobs::enqueue_all(&mut tx, many).await.unwrap();
    tx.commit().await.unwrap();

    let cancelled = owner.post_without_key("/jobs/cancel", json!({"status": "PENDING"})).await.expect(200);

    assert_eq!(cancelled, json!({"cancelled": 1100, "requested": 0, "more": false}));
    assert_eq!(app.count("select count(*) from finished_jobs where state = 'cancelled'").await, 1100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_to_cancel_many_says_which_or_says_all() {
    let app = TestApp::start().await;
    let owner = app.owner().await;

    let nothing = owner.post("/jobs/cancel", json!({})).await.expect(422);
    assert_eq!(nothing["fields"], json!({"all": ["must be true where nothing else says which ones"]}));
    assert_eq!(owner.post("/jobs/cancel", json!({"search": ""})).await.error(422), "record_invalid");
    let over = owner.post("/jobs/cancel", json!({"status": "FAILED"})).await.expect(422);
    assert_eq!(over["fields"], json!({"status": ["must be PENDING, QUEUED or RUNNING"]}));
    let since = owner.post("/jobs/cancel", json!({"since": "yesterday"})).await;
    assert_eq!(since.error(422), "record_invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_job_is_put_first_and_its_watchers_see_a_transition() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let job = for_tomorrow(&app, &owner).await;
    let path = format!("/jobs/{job}");
    let mut events = owner.events(&format!("{path}/stream"), None).await;
    let before = events.next().await.expect("a snapshot");

    let changed = owner.patch(&path, json!({"priority": 0})).await.expect(200);

    assert_eq!((&changed["priority"], &changed["status"]), (&json!(0), &json!("PENDING")));
    let event = events.next().await.expect("the transition");
    assert_eq!(event["seq"], changed["seq"]);
    assert!(event["seq"].as_i64() > before["seq"].as_i64());
    for same in [json!({"priority": 0}), json!({})] {
        assert_eq!(owner.patch(&path, same).await.expect(200)["seq"], changed["seq"]);
    }
    for nonsense in [10, -1] {
        let refused = owner.patch(&path, json!({"priority": nonsense})).await.expect(422);
        assert_eq!(refused["fields"], json!({"priority": ["must be a whole number from 0 to 9"]}));
    }
    cancel(&owner, json!({"all": true})).await;
    assert_eq!(owner.patch(&path, json!({"priority": 1})).await.error(409), "job_not_waiting");
}

#[tokio::test(flavor = "multi_thread")]
async fn members_cancel_many_and_reorder_and_viewers_and_strangers_do_not() {
    let app = TestApp::start().await;
    let (owner, eve) = (app.owner().await, app.owner().await);
    let job = for_tomorrow(&app, &owner).await;
    let path = format!("/jobs/{job}");

    assert_eq!(eve.patch(&path, json!({"priority": 1})).await.error(404), "record_not_found");
    for (role, status) in [("viewer", 403), ("member", 200), ("admin", 200), ("owner", 200)] {
        become_role(&app, role).await;
        assert_eq!(owner.patch(&path, json!({"priority": 1})).await.status, status, "{role}");
        let none = json!({"kind": "records.import"});
        assert_eq!(owner.post("/jobs/cancel", none).await.status, status, "{role}");
    }
    cancel(&owner, json!({"all": true})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_listed_by_batch_time_and_what_they_say() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (parent, child) = (for_tomorrow(&app, &owner).await, for_tomorrow(&app, &owner).await);
    let disguise = "update jobs set batch_id = $2::uuid, created_at = now() - interval '2 hours',
                           error = '{\"message\": \"The disk is FULL\"}' where id = $1::uuid";
    sqlx::query(disguise).bind(&child).bind(&parent).execute(&app.database.pool).await.unwrap();
    let listed = async |query: &str| -> Vec<String> {
        let page = owner.get(&format!("/jobs?{query}")).await.expect(200);
        let ids = page["items"].as_array().unwrap().iter();
        let ids: Vec<_> = ids.map(|job| job["job_id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(page["total"], ids.len());
        ids
    };
    let hour_ago = (clock::now() - TimeDelta::hours(1)).format("%Y-%m-%dT%H:%M:%SZ");

    assert_eq!(listed("").await, [child.clone(), parent.clone()]);
    assert_eq!(listed(&format!("batch_id={parent}")).await, std::slice::from_ref(&child));
    assert_eq!(listed(&format!("since={hour_ago}")).await, std::slice::from_ref(&parent));
    assert_eq!(listed(&format!("until={hour_ago}")).await, std::slice::from_ref(&child));
    assert_eq!(listed("search=disk+is+full").await, std::slice::from_ref(&child));
    assert_eq!(listed("search=NO_OP").await, [child.clone(), parent.clone()]);
    assert!(listed("search=%25").await.is_empty());
    assert_eq!(owner.get("/jobs?batch_id=x").await.error(422), "record_invalid");

    let answer = owner.get("/jobs").await.expect(200);
    assert!(answer["items"][0].get("payload").is_none());
    let batch = cancel(&owner, json!({"batch_id": parent})).await;
    assert_eq!(batch["cancelled"], 1);
    assert_eq!(status_of(&owner, &child).await, "CANCELLED");
    cancel(&owner, json!({"search": "no_op"})).await;
    assert_eq!(status_of(&owner, &parent).await, "CANCELLED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_does_not_answer_holds_up_no_other_request_while_a_job_is_cancelled() {
    let redis: Url = variable("REDIS_URL").parse().unwrap();
    let link = Link::to(redis.port().expect("the test's URL has a port")).await;
    let mut behind = redis.clone();
    behind.set_port(Some(link.port())).unwrap();
    let variables = [("REDIS_URL", behind.as_str()), ("WORKSPACE_CONNECTIONS", "1")];
    let app = TestApp::start_with(&variables).await;
    let owner = app.owner().await;
    let job = running(&app, &owner).await;

    link.cut();
    let cancelling = tokio::spawn({
        let (owner, path) = (owner.clone(), format!("/jobs/{job}/cancel"));
        async move { owner.post(&path, json!({})).await }
    });
    let asked = "select count(*) from shard.jobs where cancel_requested";
    wait_until("the request is committed", || async { app.count(asked).await == 1 }).await;
    // The one place of the workspace is free, though the commit's events are not sent.
    owner.get("/recordsets").await.expect(200);
    let cancelled = tokio::time::timeout(Duration::from_secs(8), cancelling).await;
    let answer = cancelled.expect("Redis is waited for once, for two seconds").unwrap().expect(200);
    assert_eq!(answer["cancel_requested"], true);

    // The worker finds the request in the ledger.
    wait_until("the job has ended", || async { app.count(asked).await == 0 }).await;
    link.mend();
    assert_eq!(status_of(&owner, &job).await, "CANCELLED");
}
