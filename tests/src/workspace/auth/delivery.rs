//! Delivery of a sign-up's end: to the holder of its token, for a while, and stored nowhere.

use serde_json::{Value, json};

use super::signup::{sign_up, url};
use crate::{TestApp, masked};

#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_a_sign_up_is_its_streams_last_event() {
    let app = TestApp::start().await;
    let (started, end) = sign_up(&app).await;

    let status = app.anonymous().get(url(&started, "status_url")).await.expect(200);

    assert_eq!(masked(&status)["seq"], masked(&end)["seq"]);
    for token in ["access_token", "refresh_token"] {
        assert_eq!(status["result"][token], end["result"][token], "each reading has the same {token}");
    }
    assert_eq!(app.count("select count(*) from control.refresh_tokens").await, 1);
    let ada = app.anonymous().signed_in(&status["result"]);
    ada.get("/auth/me").await.expect(200);
    // Once the session has ended, nothing is delivered any more.
    ada.post("/auth/logout", json!({})).await.expect(200);
    let late = app.anonymous().get(url(&started, "status_url")).await.expect(200);
    assert_eq!(late["result"]["access_token"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_up_whose_refresh_token_was_used_delivers_none_again_and_the_session_goes_on() {
    let app = TestApp::start().await;
    let (started, end) = sign_up(&app).await;
    let token = json!({ "refresh_token": end["result"]["refresh_token"] });
    let refreshed = app.anonymous().post("/auth/refresh", token).await.expect(200);

    let again = app.anonymous().get(url(&started, "status_url")).await.expect(200);

    assert_eq!((&again["status"], &again["result"]["refresh_token"]), (&json!("COMPLETED"), &Value::Null));
    app.anonymous().signed_in(&refreshed).get("/auth/me").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn completed_never_comes_without_what_was_made() {
    let app = TestApp::start().await;
    let (started, end) = sign_up(&app).await;
    // The end can't be delivered for now.
    for query in
        ["alter table control.refresh_tokens rename to away", "update control.signups set session_id = null"]
    {
        sqlx::query(query).execute(&app.database.pool).await.unwrap();
    }
    let status = app.anonymous().get(url(&started, "status_url")).await;
    assert_eq!(status.error(500), "internal");
    let mut stream = app.anonymous().events(url(&started, "stream_url"), end["prev"].as_i64()).await;
    assert!(stream.next().await.is_none(), "the stream ends before the event");

    let back = "alter table control.away rename to refresh_tokens";
    sqlx::query(back).execute(&app.database.pool).await.unwrap();
    let resumed = app.anonymous().events(url(&started, "stream_url"), end["prev"].as_i64()).await;
    assert!(resumed.to_the_end().await["result"]["refresh_token"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_a_sign_ups_stream_says_names_it_by_its_own_token() {
    let prefix = format!("t{}", uuid::Uuid::now_v7().simple());
    let app = TestApp::start_with(&[("REDIS_PREFIX", &prefix)]).await;
    let (started, end) = sign_up(&app).await;
    // What is kept of the feed goes: a resumed reader has missed some of it, and gets a `GAP`.
    let redis = redis::Client::open(crate::database::variable("REDIS_URL")).unwrap();
    let mut connection = redis.get_multiplexed_async_connection().await.unwrap();
    let job = sqlx::query_scalar::<_, uuid::Uuid>("select job_id from control.signups");
    let job = job.fetch_one(&app.database.pool).await.unwrap();
    let keys: Vec<String> =
        redis::cmd("KEYS").arg(format!("{prefix}*{job}*")).query_async(&mut connection).await.unwrap();
    redis::cmd("DEL").arg(keys).exec_async(&mut connection).await.unwrap();
    let request = app.anonymous().request(reqwest::Method::GET, url(&started, "stream_url"));
    let text = request.header("Last-Event-ID", 1).send().await.unwrap().text().await.unwrap();
    assert!(text.contains(r#""status":"GAP""#) && end["seq"].as_i64() > Some(1), "{text}");
    assert!(text.contains(url(&started, "job_id")) && !text.contains(&job.to_string()), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_a_sign_up_are_stored_nowhere() {
    let prefix = format!("t{}", uuid::Uuid::now_v7().simple());
    let app = TestApp::start_with(&[("REDIS_PREFIX", &prefix)]).await;
    let (started, end) = sign_up(&app).await;

    let secrets = [
        url(&started, "job_id"),
        end["result"]["access_token"].as_str().unwrap(),
        end["result"]["refresh_token"].as_str().unwrap(),
    ];
    let kept = kept_in_redis(&prefix).await;
    assert!(kept.contains("seeding_defaults"), "the events of the sign-up are there: {kept}");
    for secret in secrets {
        for table in
            ["shard.all_jobs", "shard.job_logs", "shard.events", "control.signups", "control.refresh_tokens"]
        {
            let found = format!("select count(*) from {table} t where position('{secret}' in t::text) > 0");
            assert_eq!(app.count(&found).await, 0, "{table}");
        }
        assert!(!kept.contains(secret), "Redis holds a token");
    }
    assert!(app.count("select count(*) from control.refresh_tokens").await > 0);
    assert_eq!(app.count("select count(*) from control.signups where password_hash is not null").await, 0);
    let password = "select count(*) from shard.all_jobs t where position('correct horse' in t::text) > 0";
    assert_eq!(app.count(password).await, 0);
}

/// All that the streams of a test's prefix hold.
async fn kept_in_redis(prefix: &str) -> String {
    let redis = redis::Client::open(crate::database::variable("REDIS_URL")).unwrap();
    let mut connection = redis.get_multiplexed_async_connection().await.unwrap();
    let keys: Vec<String> =
        redis::cmd("KEYS").arg(format!("{prefix}*")).query_async(&mut connection).await.unwrap();
    let mut kept = String::new();
    for key in keys {
        let kind: String = redis::cmd("TYPE").arg(&key).query_async(&mut connection).await.unwrap();
        if kind == "stream" {
            let entries: redis::Value =
                redis::cmd("XRANGE").arg(&key).arg("-").arg("+").query_async(&mut connection).await.unwrap();
            gather(&entries, &mut kept);
        }
    }
    kept
}

fn gather(value: &redis::Value, text: &mut String) {
    match value {
        redis::Value::BulkString(bytes) => *text += &String::from_utf8_lossy(bytes),
        redis::Value::Array(items) => items.iter().for_each(|item| gather(item, text)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_never_given_names_no_sign_up() {
    let app = TestApp::start().await;
    let (started, _) = sign_up(&app).await;
    let job = sqlx::query_scalar::<_, uuid::Uuid>("select job_id from control.signups")
        .fetch_one(&app.database.pool)
        .await
        .unwrap();
    let longer = format!("{}A", url(&started, "job_id"));
    // The job's own id is no secret, so it must not do.
    for token in ["nonsense", &longer, &job.to_string()] {
        for path in [format!("/auth/signup/jobs/{token}"), format!("/auth/signup/jobs/{token}/stream")] {
            assert_eq!(app.anonymous().get(&path).await.error(404), "record_not_found");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_that_has_seen_the_end_of_a_sign_up_is_told_to_stay_away() {
    let app = TestApp::start().await;
    let (started, end) = sign_up(&app).await;
    let stream = url(&started, "stream_url");

    let again = app.anonymous().events(stream, end["seq"].as_i64()).await;
    assert_eq!(again.status, 204);
    // One that had not seen it gets it, tokens included.
    let resumed = app.anonymous().events(stream, end["prev"].as_i64()).await.to_the_end().await;
    assert_eq!(masked(&resumed["result"]["workspace_id"]), masked(&end["result"]["workspace_id"]));
    assert_eq!(resumed["result"]["refresh_token"], end["result"]["refresh_token"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_delivered_for_15_minutes_and_no_longer() {
    let app = TestApp::start().await;
    let (started, _) = sign_up(&app).await;

    ended(&app, "14 minutes 50 seconds").await;
    let in_time = app.anonymous().get(url(&started, "status_url")).await.expect(200);
    assert!(in_time["result"]["access_token"].is_string(), "{in_time}");

    ended(&app, "15 minutes 1 second").await;
    let late = app.anonymous().get(url(&started, "status_url")).await.expect(200);
    assert_eq!(late["status"], "COMPLETED");
    insta::assert_json_snapshot!(masked(&late["result"]), @r#"
    {
      "message": "Your workspace is ready. Sign in to use it.",
      "workspace_id": "[id]",
      "workspace_name": "Analytical Engines"
    }
    "#);
    let streamed = app.anonymous().follow(&started).await;
    assert_eq!(streamed["result"], late["result"]);
}

/// Puts the end of every sign-up back.
async fn ended(app: &TestApp, ago: &str) {
    sqlx::query("update shard.finished_jobs set finished_at = now() - $1::text::interval where kind = 'workspaces.provision'")
        .bind(ago)
        .execute(&app.database.pool)
        .await
        .unwrap();
}
