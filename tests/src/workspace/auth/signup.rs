//! Sign-ups: watched, waited for, refused, and delivered to whoever holds their token.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::{Client, TestApp, app::new_signup, client, masked};

/// Starts a sign-up and watches it to its end.
async fn sign_up(app: &TestApp) -> (Value, Value) {
    let visitor = app.anonymous();
    let started = visitor.post("/auth/signup/async", new_signup()).await.expect(202);
    let end = visitor.follow(&started).await;
    assert_eq!(end["status"], "COMPLETED", "{end}");
    (started, end)
}

fn url<'a>(started: &'a Value, name: &str) -> &'a str {
    started[name].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_up_is_watched_step_by_step_until_it_hands_over_tokens_that_work() {
    let app = TestApp::start().await;
    let visitor = app.anonymous();

    let started = visitor.post("/auth/signup/async", new_signup()).await.expect(202);
    let token = started["job_id"].as_str().unwrap();
    assert_eq!(started["status_url"], format!("/api/v1/auth/signup/jobs/{token}"));
    assert_eq!(started["stream_url"], format!("/api/v1/auth/signup/jobs/{token}/stream"));

    let mut events = visitor.events(&format!("{}?since=0", url(&started, "stream_url")), None).await;
    let mut steps: Vec<String> = Vec::new();
    let mut end = Value::Null;
    while let Some(event) = events.next().await {
        assert_eq!(event["job_id"], token, "a sign-up is named by its token: {event}");
        if event["status"] == "RUNNING"
            && let Some(step) = event["current_step"].as_str()
            && steps.last().is_none_or(|last| last != step)
        {
            steps.push(step.to_owned());
        }
        end = event;
    }
    assert_eq!(
        steps,
        [
            "validating",
            "creating_user",
            "creating_workspace",
            "creating_schema",
            "running_migrations",
            "creating_member",
            "seeding_defaults",
            "finishing"
        ]
    );
    let mut last = masked(&end);
    for changing in ["job_id", "seq", "prev"] {
        last.as_object_mut().unwrap().remove(changing);
    }
    insta::assert_json_snapshot!(last, @r#"
    {
      "current_step": "finishing",
      "progress": 100,
      "result": {
        "access_token": "[token]",
        "expires_in": 1800,
        "message": "Your workspace is ready.",
        "refresh_token": "[token]",
        "token_type": "bearer",
        "workspace_id": "[id]",
        "workspace_name": "Analytical Engines"
      },
      "status": "COMPLETED",
      "timestamp": "[time]"
    }
    "#);

    let ada = app.anonymous().signed_in(&end["result"]);
    insta::assert_json_snapshot!(masked(&ada.get("/auth/me").await.expect(200)), @r#"
    {
      "created_at": "[time]",
      "email": "[email]",
      "id": "[id]",
      "name": "Ada Lovelace",
      "workspaces": [
        {
          "id": "[id]",
          "name": "Analytical Engines",
          "role": "owner",
          "slug": "analytical-engines"
        }
      ]
    }
    "#);
    assert_eq!(ada.get("/recordsets").await.expect(200)["total"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_a_sign_up_is_its_streams_last_event() {
    let app = TestApp::start().await;
    let (started, end) = sign_up(&app).await;

    let status = app.anonymous().get(url(&started, "status_url")).await.expect(200);

    assert_eq!(masked(&status), masked(&end));
    let ada = app.anonymous().signed_in(&status["result"]);
    ada.get("/auth/me").await.expect(200);
    // Both deliveries are of one session: ending it ends both, and nothing is delivered any more.
    ada.post("/auth/logout", json!({})).await.expect(200);
    let first = app.anonymous().signed_in(&end["result"]);
    assert_eq!(first.get("/auth/me").await.error(401), "token_invalid");
    let late = app.anonymous().get(url(&started, "status_url")).await.expect(200);
    assert_eq!(late["result"]["access_token"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_up_may_be_waited_for() {
    let app = TestApp::start().await;
    let answer = app.anonymous().post("/auth/signup", new_signup()).await.expect(201);
    insta::assert_json_snapshot!(masked(&answer), @r#"
    {
      "access_token": "[token]",
      "expires_in": 1800,
      "refresh_token": "[token]",
      "token_type": "bearer",
      "workspace_id": "[id]",
      "workspace_name": "Analytical Engines"
    }
    "#);
    let ada = app.anonymous().signed_in(&answer);
    assert_eq!(ada.get("/recordsets").await.expect(200)["total"], 0);
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
async fn an_address_that_has_an_account_is_refused_in_any_case() {
    let app = TestApp::start().await;
    let mut signup = new_signup();
    app.anonymous().post("/auth/signup", signup.clone()).await.expect(201);
    signup["email"] = signup["email"].as_str().unwrap().to_uppercase().into();

    for path in ["/auth/signup", "/auth/signup/async"] {
        let refused = app.anonymous().post(path, signup.clone()).await.expect(409);
        assert_eq!(
            refused,
            json!({"error": "email_taken", "detail": "there is an account with this email address already"})
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_sign_ups_at_once_with_one_address_exactly_one_becomes_an_account() {
    let app = TestApp::start().await;
    let (visitor, signup) = (app.anonymous(), new_signup());

    let replies = join_all((0..4).map(|_| visitor.post("/auth/signup/async", signup.clone()))).await;

    let mut statuses: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [202, 409, 409, 409]);
    let started = replies.into_iter().find(|reply| reply.status == 202).unwrap().json();
    assert_eq!(visitor.follow(&started).await["status"], "COMPLETED");
    assert_eq!(app.count("select count(*) from control.users").await, 1);
    assert_eq!(app.count("select count(*) from control.workspaces").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_sign_up_is_said_by_field_and_starts_nothing() {
    let app = TestApp::start().await;
    let visitor = app.anonymous();

    let missing = visitor.post("/auth/signup/async", json!({"full_name": null})).await.expect(422);
    insta::assert_json_snapshot!(missing, @r#"
    {
      "detail": "required and missing: company_name, email, full_name, password",
      "error": "parameter_missing",
      "fields": {
        "company_name": [
          "is required"
        ],
        "email": [
          "is required"
        ],
        "full_name": [
          "is required"
        ],
        "password": [
          "is required"
        ]
      }
    }
    "#);
    let wrong = json!({"email": "ada", "password": "short", "full_name": " ", "company_name": "Two\nlines"});
    insta::assert_json_snapshot!(visitor.post("/auth/signup", wrong).await.expect(422), @r#"
    {
      "detail": "company_name: must be one line; email: must be an email address; full_name: must not be empty; password: must have at least 10 characters",
      "error": "record_invalid",
      "fields": {
        "company_name": [
          "must be one line"
        ],
        "email": [
          "must be an email address"
        ],
        "full_name": [
          "must not be empty"
        ],
        "password": [
          "must have at least 10 characters"
        ]
      }
    }
    "#);
    let kinds = json!({"email": 7, "password": [], "full_name": {}, "company_name": true});
    insta::assert_json_snapshot!(visitor.post("/auth/signup", kinds).await.expect(422), @r#"
    {
      "detail": "company_name: must be a string; email: must be a string; full_name: must be a string; password: must be a string",
      "error": "record_invalid",
      "fields": {
        "company_name": [
          "must be a string"
        ],
        "email": [
          "must be a string"
        ],
        "full_name": [
          "must be a string"
        ],
        "password": [
          "must be a string"
        ]
      }
    }
    "#);

    assert_eq!(app.count("select count(*) from control.signups").await, 0);
    assert_eq!(app.count("select count(*) from shard.all_jobs").await, 0);
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
    assert_eq!(masked(&resumed), masked(&end));
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
      "message": "Your workspace is ready. Sign in to enter it.",
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

#[tokio::test(flavor = "multi_thread")]
async fn a_new_account_is_welcomed_by_mail_once() {
    let app = TestApp::start().await;
    let (_, end) = sign_up(&app).await;
    let ada: Client = app.anonymous().signed_in(&end["result"]);
    let email = ada.get("/auth/me").await.expect(200)["email"].as_str().unwrap().to_owned();

    crate::cluster::wait_until("the mail is out", || async {
        app.count("select count(*) from shard.finished_jobs where kind like 'mail%'").await == 1
    })
    .await;
    let outbox = app.folder.path().join("mail");
    let mails: Vec<_> = std::fs::read_dir(outbox).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(mails.len(), 1, "{mails:?}");
    let mail = std::fs::read_to_string(&mails[0]).unwrap();
    assert!(mail.contains(&email), "{mail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_up_needs_no_token_and_minds_no_bad_one() {
    let app = TestApp::start().await;
    let mut visitor = app.anonymous();
    visitor.token = Some("left over".to_owned());
    let request = visitor.request(reqwest::Method::POST, "/auth/signup").json(&new_signup());
    client::send(request).await.expect(201);
}

/// Lets an account be made by other means while a sign-up with its address runs, so that the sign-up fails.
async fn overtake(app: &TestApp, signup: &Value, begin: impl Future<Output = crate::Reply>) -> crate::Reply {
    let mut other = app.database.begin().await.unwrap();
    // Others may read users meanwhile, and wait to write.
    sqlx::query("lock table control.users in exclusive mode").execute(other.conn()).await.unwrap();
    let insert =
        "insert into control.users (id, email, name, password_hash) values (gen_random_uuid(), $1, 'x', 'x')";
    sqlx::query(insert).bind(signup["email"].as_str()).execute(other.conn()).await.unwrap();
    let commit = async {
        crate::cluster::wait_until("the sign-up's job runs", || async {
            app.count("select count(*) from shard.jobs where state = 'running'").await == 1
        })
        .await;
        other.commit().await.unwrap();
    };
    tokio::join!(begin, commit).0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_up_that_fails_says_why_and_frees_its_address() {
    let app = TestApp::start().await;
    let (visitor, signup) = (app.anonymous(), new_signup());

    let started =
        overtake(&app, &signup, visitor.post("/auth/signup/async", signup.clone())).await.expect(202);

    let end = visitor.follow(&started).await;
    assert_eq!(end["status"], "FAILED");
    assert_eq!(end["error_message"], "there is an account with this email address already");
    assert_eq!(end["result"], json!({"message": "The workspace could not be made."}));
    assert_eq!(visitor.get(url(&started, "status_url")).await.expect(200), end);
    assert_eq!(app.count("select count(*) from control.signups where password_hash is not null").await, 0);

    sqlx::query("delete from control.users").execute(&app.database.pool).await.unwrap();
    visitor.post("/auth/signup", signup).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_sign_up_that_fails_is_told_why() {
    let app = TestApp::start().await;
    let (visitor, signup) = (app.anonymous(), new_signup());
    let answer = overtake(&app, &signup, visitor.post("/auth/signup", signup.clone())).await;
    assert_eq!(
        answer.expect(409),
        json!({"error": "email_taken", "detail": "there is an account with this email address already"})
    );
}
