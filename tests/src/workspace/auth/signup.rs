//! Sign-ups: watched, waited for, refused, and delivered to the holder of their token.

use domain::Actor;
use domain_accounts::{
    signups::{self, SignupId},
    workspaces::provisioning,
};
use futures::future::join_all;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{Client, TestApp, app::new_signup, client, masked};

/// Starts a sign-up and watches it to its end.
pub async fn sign_up(app: &TestApp) -> (Value, Value) {
    let visitor = app.anonymous();
    let started = visitor.post("/auth/signup/async", new_signup()).await.expect(202);
    let end = visitor.follow(&started).await;
    assert_eq!(end["status"], "COMPLETED", "{end}");
    (started, end)
}

pub fn url<'a>(started: &'a Value, name: &str) -> &'a str {
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
      "avatar_url": null,
      "bio": null,
      "created_at": "[time]",
      "current_workspace_id": "[id]",
      "email": "[email]",
      "email_verified": false,
      "id": "[id]",
      "name": "Ada Lovelace",
      "pending_email": null,
      "phone": null,
      "title": null,
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
async fn an_address_that_has_an_account_is_refused_in_any_case() {
    let app = TestApp::start().await;
    let mut signup = new_signup();
    app.anonymous().post("/auth/signup", signup.clone()).await.expect(201);
    signup["email"] = signup["email"].as_str().unwrap().to_uppercase().into();

    for path in ["/auth/signup", "/auth/signup/async"] {
        let refused = app.anonymous().post(path, signup.clone()).await.expect(409);
        assert_eq!(
            refused,
            json!({"error": "email_taken", "detail": "an account with this email address already exists"})
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
async fn an_invalid_sign_up_is_refused_by_field_and_starts_nothing() {
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
pub async fn overtake(
    app: &TestApp,
    signup: &Value,
    begin: impl Future<Output = crate::Reply>,
) -> crate::Reply {
    let mut other = app.database.begin().await.unwrap();
    // Others may read users meanwhile, and wait to write.
    sqlx::query("lock table control.users in exclusive mode").execute(other.conn()).await.unwrap();
    let insert = "insert into control.users (id, email, email_key, name, password_hash)
         values (gen_random_uuid(), $1, $1, 'x', 'x')";
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
async fn a_failed_sign_up_shows_its_reason_and_frees_its_address() {
    let app = TestApp::start().await;
    let (visitor, signup) = (app.anonymous(), new_signup());

    let started =
        overtake(&app, &signup, visitor.post("/auth/signup/async", signup.clone())).await.expect(202);

    let end = visitor.follow(&started).await;
    assert_eq!(end["status"], "FAILED");
    assert_eq!(end["error_message"], "an account with this email address already exists");
    assert_eq!(end["result"], json!({"message": "The workspace could not be created."}));
    let status = visitor.get(url(&started, "status_url")).await.expect(200);
    assert_eq!(masked(&status), masked(&end));
    assert_eq!(app.count("select count(*) from control.signups where password_hash is not null").await, 0);

    sqlx::query("delete from control.users").execute(&app.database.pool).await.unwrap();
    visitor.post("/auth/signup", signup).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sign_up_answers_its_waiting_caller_with_the_reason() {
    let app = TestApp::start().await;
    let (visitor, signup) = (app.anonymous(), new_signup());
    let answer = overtake(&app, &signup, visitor.post("/auth/signup", signup.clone())).await;
    assert_eq!(
        answer.expect(409),
        json!({"error": "email_taken", "detail": "an account with this email address already exists"})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_that_a_killed_attempt_is_still_committing_is_the_sign_ups_own() {
    let app = TestApp::start().await;
    let (id, user) = (Uuid::now_v7(), Uuid::now_v7());
    let reserve =
        "insert into control.signups (id, token_hash, email, email_key, full_name, company_name, password_hash,
                                                user_id, workspace_id, job_id)
                   values ($1, 'token', 'ada@example.com', 'ada@example.com', 'Ada', 'Engines', 'hash', $2, $2, $2)";
    sqlx::query(reserve).bind(id).bind(user).execute(&app.database.pool).await.unwrap();
    let signup = signups::find(&app.database.pool, SignupId(id)).await.unwrap().unwrap();
    let mut killed = app.database.begin().await.unwrap();
    let insert = "insert into control.users (id, email, email_key, name, password_hash)
                  values ($1, 'ada@example.com', 'ada@example.com', 'Ada', 'hash')";
    sqlx::query(insert).bind(user).execute(killed.conn()).await.unwrap();

    let commit = async {
        crate::cluster::wait_until("the next attempt waits for it", || async {
            let waiting = "select count(*) from pg_stat_activity
                            where datname = current_database() and wait_event_type = 'Lock'";
            app.count(waiting).await > 0
        })
        .await;
        killed.commit().await.unwrap();
    };
    let no_actor = Actor::default();
    let (attempt, ()) = tokio::join!(provisioning::create_user(&app.database, &signup, &no_actor), commit);

    attempt.expect("the account is there, and ours");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_sign_up_that_is_stopped_is_told_so() {
    let app = TestApp::start().await;
    app.pause_provisioning().await;
    let visitor = app.anonymous();
    let (answer, ()) = tokio::join!(visitor.post("/auth/signup", new_signup()), app.stop_provisioning());
    assert_eq!(answer.error(409), "signup_failed");
}
