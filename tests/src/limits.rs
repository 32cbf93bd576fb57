//! Rate limits, as data and under concurrency.

use futures::future::join_all;
use reqwest::Method;
use serde_json::json;
use sqlx::PgPool;

use crate::{
    Client, Cluster, TestApp,
    client::{Reply, send},
    cluster::wait_until,
};

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

/// A key of a workspace, with every scope.
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
    let other = app.owner().await;
    let (probe, key) = (key(&app.database.pool, &other).await, key(&app.database.pool, &owner).await);
    limit(&app.database.pool, &probe, "api_key", "day", 500).await;
    limit(&app.database.pool, &probe, "api_key", "plan", 3).await;
    for _ in 0..3 {
        key.get("/recordsets").await.expect(200);
    }
    for _ in 0..5 {
        assert_eq!(key.get("/recordsets").await.error(429), "rate_limited");
    }
    let day = format!("plan:{}:day", owner.workspace.as_deref().unwrap());
    assert_eq!(used(&app, &day).await, Some(3));
}

/// How many requests a bucket has counted.
async fn used(app: &TestApp, bucket: &str) -> Option<i64> {
    redis::cmd("GET")
        .arg(app.database.bus.rate_key(bucket))
        .query_async(&mut app.database.bus.connection())
        .await
        .unwrap()
}

/// Sets a limit before the API has read any.
async fn limit_from_the_start(app: &TestApp, principal: &str, bucket: &str, requests: i32) {
    sqlx::query("update control.rate_limits set requests = $3 where principal = $1 and bucket = $2")
        .bind(principal)
        .bind(bucket)
        .bind(requests)
        .execute(&app.database.pool)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_s_limit_is_the_workspace_s_however_many_keys_it_has_and_a_key_s_own_is_within() {
    let app = TestApp::start().await;
    limit_from_the_start(&app, "api_key", "plan", 5).await;
    let owner = app.owner().await;
    let pool = &app.database.pool;
    let (first, second) = (key(pool, &owner).await, key(pool, &owner).await);
    sqlx::query("update control.api_keys set rate_per_minute = 2 where hash = $1")
        .bind(domain::secret::hash(first.token.as_deref().unwrap()))
        .execute(pool)
        .await
        .unwrap();
    for _ in 0..2 {
        first.get("/recordsets").await.expect(200);
    }
    assert_eq!(first.get("/recordsets").await.error(429), "rate_limited", "its own two are used up");
    for _ in 0..3 {
        second.get("/recordsets").await.expect(200);
    }
    for spent in [&second, &key(pool, &owner).await] {
        assert_eq!(spent.get("/recordsets").await.error(429), "rate_limited", "a new key has no new limit");
    }
    owner.get("/recordsets").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_counted_whatever_they_ask_for_and_use_up_nobody_else_s_limit() {
    let page = "https://app.example.com";
    let app = TestApp::start_with(&[("CORS_ORIGINS", page)]).await;
    limit_from_the_start(&app, "visitor", "ip", 12).await;
    limit_from_the_start(&app, "preflight", "ip", 3).await;
    let owner = app.owner().await;
    let (stranger, wrong) = (app.anonymous(), app.anonymous().with_token(Some("mrk_wrong")));
    let missing = "0190b5a4-7e2f-7c3a-9b1d-2f4e6a8c0d1e";
    let preflight = async |client: &Client, origin: &str| {
        let request = client.request(Method::OPTIONS, "/recordsets").header("Origin", origin);
        send(request.header("Access-Control-Request-Method", "GET")).await
    };
    // The sign-up was the first.
    let asked = [
        stranger.get("/nowhere").await,
        stranger.get("/auth/activate?token=x").await,
        stranger.get(&format!("/auth/signup/jobs/{missing}")).await,
        stranger.get("/workspaces/invitations/details?token=x").await,
        stranger.get(&format!("/recordsets/export/jobs/{missing}/download?exp=1&sig=x")).await,
        stranger.get("/recordsets").await,
        stranger.post("/auth/refresh", json!({"refresh_token": "x"})).await,
        stranger.post("/auth/login", json!([])).await,
        stranger.get("/docs").await,
        wrong.get("/recordsets").await,
        wrong.get("/ops/jobs").await,
    ];
    for (place, reply) in asked.iter().enumerate() {
        assert_ne!(reply.status, 429, "request {place}");
        let standing = reply.headers["RateLimit"].to_str().unwrap();
        assert!(standing.starts_with(&format!("\"ip\";r={};", 10 - place)), "request {place}: {standing}");
    }
    for refused in
        [stranger.get("/nowhere").await, wrong.get("/recordsets").await, wrong.get("/ops/jobs").await]
    {
        assert_eq!(refused.error(429), "rate_limited");
    }
    owner.get("/recordsets").await.expect(200);
    // Those of the people's pages are counted apart.
    for (left, client, origin) in
        [(2, &stranger, page), (1, &stranger, "https://evil.example.com"), (0, &owner, page)]
    {
        let asked = preflight(client, origin).await;
        assert!(asked.headers["RateLimit"].to_str().unwrap().starts_with(&format!("\"ip\";r={left};")));
    }
    for client in [&stranger, &owner] {
        assert_eq!(preflight(client, page).await.error(429), "rate_limited");
    }
    app.operator().get("/jobs").await.expect(200);
    for probe in ["/health", "/ready"] {
        stranger.get(probe).await.expect(200);
    }
    assert_eq!(stranger.get("/metrics").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_ipv6_a_network_is_one_address() {
    let app = TestApp::start_with(&[("TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    limit_from_the_start(&app, "visitor", "ip", 3).await;
    let ask = async |from: &str| {
        let request = app.anonymous().request(reqwest::Method::GET, "/recordsets");
        send(request.header("X-Forwarded-For", from)).await.status
    };
    for host in 1..=3 {
        assert_eq!(ask(&format!("2001:db8:1:1::{host}")).await, 401);
    }
    assert_eq!(ask("2001:db8:1:1:ffff::4").await, 429);
    assert_eq!(ask("2001:db8:1:2::1").await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_no_workspace_counts_in_each_that_its_person_is_in() {
    let app = TestApp::start().await;
    let (owner, host) = (app.owner().await, app.owner().await);
    crate::platform::join_another_workspace(&app, &owner, &host).await;
    let token = owner.post("/auth/tokens", json!({"name": "x"})).await.expect(201);
    let program = app.anonymous().with_token(token["token"].as_str());
    program.get("/v1/me").await.expect(200);
    for workspace in [owner.workspace.unwrap(), host.workspace.unwrap()] {
        assert_eq!(used(&app, &format!("company:{workspace}")).await, Some(1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_counted_by_themselves_and_looking_at_a_job_apart() {
    let app = TestApp::start().await;
    limit_from_the_start(&app, "user", "principal", 4).await;
    let owner = app.owner().await;
    let (_, end) = owner.import("Things", "name\none\n").await;
    let job = end["job_id"].as_str().unwrap();
    let looks = [
        format!("/jobs/{job}"),
        format!("/jobs/{job}/logs"),
        format!("/recordsets/import/jobs/{job}"),
        format!("/recordsets/import/status/{job}"),
    ];
    for look in &looks {
        owner.get(look).await.expect(200);
    }
    // Upload and import were two.
    for _ in 0..2 {
        owner.get("/recordsets").await.expect(200);
    }
    assert_eq!(owner.get("/recordsets").await.error(429), "rate_limited");
    for look in &looks {
        owner.get(look).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_polls_a_job_on_a_free_key_is_not_locked_out() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let other = app.owner().await;
    let (probe, key) = (key(&app.database.pool, &other).await, key(&app.database.pool, &owner).await);
    limit(&app.database.pool, &probe, "api_key", "plan", 30).await;
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
