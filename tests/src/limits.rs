//! Rate limits, as data and under concurrency.

use futures::future::join_all;
use serde_json::json;
use sqlx::PgPool;

use crate::{Client, Cluster, TestApp, client::Reply, cluster::wait_until};

/// Sets a limit, and waits until the API goes by it.
async fn limit(pool: &PgPool, probe: &Client, principal: &str, bucket: &str, requests: i32) {
    sqlx::query("update control.rate_limits set requests = $3 where principal = $1 and bucket = $2")
        .bind(principal)
        .bind(bucket)
        .bind(requests)
        .execute(pool)
        .await
        .unwrap();
    let said = format!("\"{bucket}\";q={requests};");
    wait_until("the limit holds", || async {
        let reply = probe.get("/recordsets").await;
        reply.headers.get("RateLimit-Policy").is_some_and(|policy| policy.to_str().unwrap().contains(&said))
    })
    .await;
}

/// A key of somebody's workspace, with every scope.
async fn key(pool: &PgPool, owner: &Client) -> Client {
    let secret = format!("mrk_{}", domain::secret::generate());
    sqlx::query(
        "insert into control.api_keys (id, workspace_id, name, prefix, hash, scopes, created_by)
         select gen_random_uuid(), workspace_id, 'test', left($2, 12), $3, '{*}', user_id
           from control.memberships where workspace_id = $1::uuid and role = 'owner'",
    )
    .bind(&owner.workspace)
    .bind(&secret)
    .bind(domain::secret::hash(&secret))
    .execute(pool)
    .await
    .unwrap();
    owner.in_workspace(None).with_token(Some(&secret))
}

fn retry_after(reply: &Reply) -> u64 {
    reply.headers["Retry-After"].to_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_at_once_as_many_pass_as_may() {
    let app = TestApp::start().await;
    let (probe, owner) = (app.owner().await, app.owner().await);
    limit(&app.database.pool, &probe, "user", "principal", 30).await;
    let replies = join_all((0..100).map(|_| owner.get("/recordsets"))).await;
    let (passed, refused): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 200);
    assert_eq!((passed.len(), refused.len()), (30, 70));
    for reply in refused {
        let wait = retry_after(reply);
        assert!((1..=60).contains(&wait), "{wait}");
        assert_eq!(reply.json()["error"], "rate_limited");
        assert!(reply.json()["detail"].as_str().unwrap().contains(&wait.to_string()), "{}", reply.text);
    }
    app.owner().await.get("/recordsets").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_is_not_counted_in_any_bucket() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (probe, key) = (key(&app.database.pool, &owner).await, key(&app.database.pool, &owner).await);
    limit(&app.database.pool, &probe, "api_key", "day", 500).await;
    limit(&app.database.pool, &probe, "api_key", "principal", 3).await;
    for _ in 0..3 {
        key.get("/recordsets").await.expect(200);
    }
    for _ in 0..5 {
        assert_eq!(key.get("/recordsets").await.error(429), "rate_limited");
    }
    let used: Option<i64> = redis::cmd("GET")
        .arg(app.database.bus.rate_key(&format!("key:{}:day", id_of(&app, &key).await)))
        .query_async(&mut app.database.bus.connection())
        .await
        .unwrap();
    assert_eq!(used, Some(3));
}

async fn id_of(app: &TestApp, key: &Client) -> uuid::Uuid {
    sqlx::query_scalar("select id from control.api_keys where hash = $1")
        .bind(domain::secret::hash(key.token.as_deref().unwrap()))
        .fetch_one(&app.database.pool)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_polls_a_job_on_a_free_key_is_not_locked_out() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (probe, key) = (key(&app.database.pool, &owner).await, key(&app.database.pool, &owner).await);
    limit(&app.database.pool, &probe, "api_key", "principal", 30).await;
    let (recordset, _) = owner.import("Things", "name\none\n").await;
    let asked = json!({ "recordset_id": recordset["id"], "format": "csv" });
    let started = key.post("/recordsets/export", asked).await.expect(202);
    // A poll a second for a minute, and then some.
    for _ in 0..80 {
        key.get(started["status_url"].as_str().unwrap()).await.expect(200);
    }
    for _ in 0..29 {
        key.get("/recordsets").await.expect(200);
    }
    assert_eq!(key.get("/recordsets").await.error(429), "rate_limited", "the export was the first of 30");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_a_process_counts_by_itself_and_says_so() {
    let mut cluster = Cluster::start().await;
    let database = cluster.database().await;
    let (probe, owner) = (cluster.owner().await, cluster.owner().await);
    limit(&database.pool, &probe, "user", "principal", 30).await;
    cluster.stop_redis();
    let replies = join_all((0..60).map(|_| owner.get("/recordsets"))).await;
    let passed = replies.iter().filter(|reply| reply.status == 200).count();
    assert_eq!(passed, 30);
    let figures = owner.get("/metrics").await.text;
    assert!(figures.contains("millrace_rate_limits_counted_alone_total"), "{figures}");
    cluster.restart_redis().await;
}
