//! Dead letters: jobs that have failed permanently.

mod access;
mod many;

use ::jobs::{NewJob, Unique, kinds::NoOp};
use domain::job_kinds::SendMail;
use serde_json::{Value, json};

use super::jobs::{end_of, enqueue, sleeper};
use crate::{Client, TestApp, masked};

/// A job that has failed permanently; it fails again when it is retried as it is.
pub async fn dead_letter(app: &TestApp, owner: &Client) -> String {
    let job = sleeper(app, owner, NoOp { fails: true, ..NoOp::default() }).await;
    let end = end_of(owner, &job).await;
    assert_eq!(end["status"], "FAILED", "{end}");
    job
}

/// Lets a dead letter succeed when it is retried.
async fn mend(app: &TestApp, job: &str) {
    sqlx::query("update finished_jobs set payload = '{}' where id = $1::uuid")
        .bind(job)
        .execute(&app.database.pool)
        .await
        .unwrap();
}

/// The ids on the first page of a list.
async fn listed(who: &Client, query: &str) -> Vec<String> {
    let page = who.get(&format!("/dead-letters{query}")).await.expect(200);
    let ids = page["items"].as_array().unwrap().iter();
    ids.map(|dead_letter| dead_letter["job_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permanently_failed_job_is_listed_with_its_error_payload_and_log() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    sleeper(&app, &owner, NoOp::default()).await;
    let job = dead_letter(&app, &owner).await;

    let mut list = owner.get("/dead-letters").await.expect(200);
    let mut detail = owner.get(&format!("/dead-letters/{job}")).await.expect(200);
    for shown in [&mut list["items"][0], &mut detail] {
        let stream = shown.as_object_mut().unwrap().remove("stream_url").unwrap();
        assert!(
            stream.as_str().unwrap().starts_with(&format!("/api/v1/jobs/{job}/stream?ticket=")),
            "{stream}"
        );
    }

    insta::assert_json_snapshot!(masked(&list), @r#"
    {
      "items": [
        {
          "attempts": 1,
          "crashes": 0,
          "created_at": "[time]",
          "error_code": "asked_to_fail",
          "error_message": "failure requested",
          "failed_at": "[time]",
          "job_id": "[id]",
          "kind": "engine.no_op",
          "max_attempts": 8,
          "pool": "maintenance",
          "priority": 9,
          "started_at": "[time]"
        }
      ],
      "page": 1,
      "page_size": 50,
      "pages": 1,
      "total": 1
    }
    "#);
    let mut detail = masked(&detail);
    detail["log"][0]["at"] = "[time]".into();
    detail["log"][0]["id"] = "[id]".into();
    insta::assert_json_snapshot!(detail, @r#"
    {
      "actor_type": "system",
      "attempts": 1,
      "crashes": 0,
      "created_at": "[time]",
      "error_code": "asked_to_fail",
      "error_message": "failure requested",
      "failed_at": "[time]",
      "job_id": "[id]",
      "kind": "engine.no_op",
      "log": [
        {
          "at": "[time]",
          "attempt": 1,
          "id": "[id]",
          "level": "error",
          "message": "failure requested"
        }
      ],
      "max_attempts": 8,
      "payload": {
        "fails": true,
        "failures": 0,
        "ignore_cancel": false,
        "lines": 0,
        "report_ms": 0,
        "sleep_ms": 0
      },
      "pool": "maintenance",
      "priority": 9,
      "started_at": "[time]",
      "surface": "workspace",
      "version": 1
    }
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_secret_in_a_dead_letter_is_masked() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let mail =
        SendMail { to: "nowhere".into(), subject: "Come in".into(), text: "by this link".into(), html: None };
    let job = enqueue(&app, &owner, NewJob::new(&mail)).await.id().to_string();
    end_of(&owner, &job).await;

    let dead_letter = owner.get(&format!("/dead-letters/{job}")).await.expect(200);
    let messages = owner.get("/v1/dlq").await.expect(200);

    let shown = json!({"to": "nowhere", "subject": "Come in", "text": "***", "html": null});
    assert_eq!((&dead_letter["payload"], &dead_letter["error_code"]), (&shown, &json!("mail_refused")));
    assert_eq!(messages["data"]["messages"][0]["payload"], shown);
    // And all the same it can be sent once the address is right.
    sqlx::query(
        r#"update finished_jobs set payload = payload || '{"to": "ada@example.com"}' where id = $1::uuid"#,
    )
    .bind(&job)
    .execute(&app.database.pool)
    .await
    .unwrap();
    owner.post(&format!("/dead-letters/{job}/retry"), json!({})).await.expect(200);
    let end = end_of(&owner, &job).await;
    assert_eq!(end["status"], "COMPLETED", "{end}");
    let mails = std::fs::read_dir(app.folder.path().join("mail")).unwrap();
    let sent = mails.map(|mail| std::fs::read_to_string(mail.unwrap().path()).unwrap());
    assert!(sent.into_iter().any(|mail| mail.contains("by this link")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retried_dead_letter_leaves_the_list_until_it_fails_again() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let job = dead_letter(&app, &owner).await;
    let path = format!("/dead-letters/{job}");

    let retried = owner.post(&format!("{path}/retry"), json!({})).await.expect(200);
    assert_eq!((&retried["job_id"], &retried["kind"]), (&json!(job), &json!("engine.no_op")));
    let end = end_of(&owner, &job).await;
    assert_eq!(end["status"], "FAILED");
    assert_eq!(listed(&owner, "").await, std::slice::from_ref(&job));

    mend(&app, &job).await;
    owner.post(&format!("{path}/retry"), json!({})).await.expect(200);
    let end = end_of(&owner, &job).await;
    assert_eq!(end["status"], "COMPLETED");
    assert_eq!(owner.get(&path).await.error(404), "record_not_found");
    assert_eq!(owner.post(&format!("{path}/retry"), json!({})).await.error(404), "record_not_found");
    assert!(listed(&owner, "").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_stays_while_another_job_has_its_unique_key() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let failing = NoOp { fails: true, ..NoOp::default() };
    let same = || Unique::until_done("the same");
    let dead = enqueue(&app, &owner, NewJob::new(&failing).unique(same())).await.id().to_string();
    end_of(&owner, &dead).await;
    let long = NoOp { sleep_ms: 60_000, ..NoOp::default() };
    let live = enqueue(&app, &owner, NewJob::new(&long).unique(same())).await.id().to_string();

    let refused = owner.post(&format!("/dead-letters/{dead}/retry"), json!({})).await;
    assert_eq!(refused.error(409), "duplicate_job");
    let many = owner.post("/dead-letters/retry", json!({"all": true})).await.expect(200);
    assert_eq!(many, json!({"retried": 0, "duplicates": 1, "more": false}));
    assert_eq!(listed(&owner, "").await, std::slice::from_ref(&dead));

    owner.post(&format!("/jobs/{live}/cancel"), json!({})).await.expect(200);
    end_of(&owner, &live).await;
    mend(&app, &dead).await;
    owner.post(&format!("/dead-letters/{dead}/retry"), json!({})).await.expect(200);
    let end: Value = end_of(&owner, &dead).await;
    assert_eq!(end["status"], "COMPLETED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_is_discarded_stays_in_the_history_only() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let job = dead_letter(&app, &owner).await;
    let path = format!("/dead-letters/{job}");

    owner.delete(&path).await.expect(204);

    assert!(listed(&owner, "").await.is_empty());
    assert_eq!(owner.get(&path).await.error(404), "record_not_found");
    assert_eq!(owner.delete(&path).await.error(404), "record_not_found");
    assert_eq!(owner.post(&format!("{path}/retry"), json!({})).await.error(404), "record_not_found");
    assert_eq!(owner.get(&format!("/jobs/{job}")).await.expect(200)["status"], "FAILED");
    assert_eq!(owner.get("/v1/dlq").await.expect(200)["data"], json!({"messages": [], "total": 0}));
}
