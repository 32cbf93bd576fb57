//! Mail over the wire, to a real SMTP server: what arrives, and what happens while it can't.

use std::time::Duration;

use jobs::JobId;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    SmtpServer, TestApp,
    app::new_signup,
    cluster::{free_port, wait_until},
};

/// Millrace with that mail server.
async fn app_with(url: &str) -> TestApp {
    TestApp::start_with(&[("MAIL_URL", url), ("MAIL_FROM", "Millrace <hello@millrace.example>")]).await
}

/// The job of the only mail there is.
async fn mail_job(app: &TestApp) -> JobId {
    let jobs: Vec<Uuid> = sqlx::query_scalar(
        "select id from shard.jobs where kind = 'mail.send'
         union select id from shard.finished_jobs where kind = 'mail.send'",
    )
    .fetch_all(&app.database.pool)
    .await
    .unwrap();
    assert_eq!(jobs.len(), 1);
    JobId(jobs[0])
}

/// Waits until the only mail has been tried and waits for another attempt. That may come soon and end
/// before we look: how long a mail waits is drawn.
async fn put_off(app: &TestApp) {
    wait_until("the mail has been tried", || async {
        let tried = "select (select count(*) from shard.jobs
                              where kind = 'mail.send' and state = 'waiting' and attempt > 0)
                          + (select count(*) from shard.finished_jobs where kind = 'mail.send')";
        app.count(tried).await == 1
    })
    .await;
}

/// How the only mail's job ended: status, attempt, code of the last error.
async fn end(app: &TestApp) -> (Value, Value, Value) {
    let end = app.wait_for_end(mail_job(app).await).await;
    (end["status"].clone(), end["attempt"].clone(), end["error_code"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_welcome_mail_arrives_once_readable_as_text_and_as_a_page() {
    let server = SmtpServer::start(&[]).await;
    let app = app_with(&server.url()).await;
    let mut signup = new_signup();
    signup["company_name"] = "Räder & <Söhne>".into();
    app.anonymous().post("/auth/signup", signup.clone()).await.expect(201);
    let ended = end(&app).await;

    let told = server.told();
    assert_eq!(ended, (json!("COMPLETED"), json!(1), Value::Null), "{told:#?}");
    assert_eq!(told.len(), 1, "{told:#?}");
    let mail = &told[0]["mail"];
    assert_eq!(mail["from"], "hello@millrace.example");
    assert_eq!(mail["to"], json!([signup["email"]]));
    let headers = &mail["headers"];
    assert_eq!(headers["From"], "Millrace <hello@millrace.example>");
    assert_eq!(headers["To"], signup["email"]);
    assert_eq!(headers["Subject"], "Your workspace is ready");
    assert_eq!(headers["Message-ID"], format!("<{}@millrace.example>", mail_job(&app).await));
    assert!(headers["Date"].is_string(), "{headers}");
    assert_eq!((&mail["type"], &mail["defects"]), (&json!("multipart/alternative"), &json!([])));
    let parts = mail["parts"].as_array().unwrap();
    let types: Vec<_> = parts.iter().map(|part| part["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["text/plain", "text/html"]);
    let text = parts[0]["body"].as_str().unwrap();
    // The address is not verified yet: its name stays out.
    assert!(text.starts_with("Hello,") && !text.contains("Räder"), "{text}");
    let page = parts[1]["body"].as_str().unwrap();
    assert!(page.contains("Hello,") && page.contains("Confirm the address"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_server_is_away_mail_waits_and_arrives_once_it_is_back() {
    let port = free_port();
    let app = app_with(&format!("smtp://127.0.0.1:{port}")).await;
    app.owner().await;
    put_off(&app).await;

    let server = SmtpServer::start(&["--port", &port.to_string()]).await;
    jobs::testing::pass(&app.database, Duration::from_secs(3600)).await;
    let (status, attempt, last_error) = end(&app).await;
    assert_eq!((status, last_error), (json!("COMPLETED"), json!("attempt_failed")));
    assert!(attempt.as_i64().unwrap() >= 2, "{attempt}");
    assert_eq!(server.told().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_is_put_off_is_sent_again_under_the_same_message_id() {
    let server = SmtpServer::start(&["--answer", "451 4.7.1 try again later"]).await;
    let app = app_with(&server.url()).await;
    app.owner().await;
    server.after(1).await;
    put_off(&app).await;

    jobs::testing::pass(&app.database, Duration::from_secs(3600)).await;
    assert_eq!(end(&app).await, (json!("COMPLETED"), json!(2), json!("attempt_failed")));
    let told = server.told();
    let answers: Vec<_> = told.iter().map(|event| event["mail"]["answer"].as_str().unwrap()).collect();
    assert_eq!(answers, ["451 4.7.1 try again later", "250 2.0.0 taken"]);
    assert_eq!(told[0]["mail"]["headers"]["Message-ID"], told[1]["mail"]["headers"]["Message-ID"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_is_refused_for_good_is_not_sent_again() {
    let server = SmtpServer::start(&["--answer", "554 5.7.1 no"]).await;
    let app = app_with(&server.url()).await;
    app.owner().await;
    assert_eq!(end(&app).await, (json!("FAILED"), json!(1), json!("mail_refused")));
    assert_eq!(server.told().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_to_someone_whom_the_server_does_not_know_is_refused_for_good() {
    let signup = new_signup();
    let email = signup["email"].as_str().unwrap();
    let server = SmtpServer::start(&["--unknown", email]).await;
    let app = app_with(&server.url()).await;
    app.anonymous().post("/auth/signup", signup.clone()).await.expect(201);
    assert_eq!(end(&app).await, (json!("FAILED"), json!(1), json!("mail_refused")));
    assert_eq!(server.told(), [json!({ "refused": email })]);
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_is_sent_under_the_name_and_password_of_the_url() {
    let server = SmtpServer::start(&["--login", "millrace:pass word"]).await;
    let app = app_with(&format!("smtp://millrace:pass%20word@127.0.0.1:{}", server.port)).await;
    app.owner().await;
    assert_eq!(end(&app).await, (json!("COMPLETED"), json!(1), Value::Null));
    assert_eq!(server.told()[0]["mail"]["authenticated"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_not_the_mails_fault_so_it_waits() {
    let server = SmtpServer::start(&["--login", "millrace:password"]).await;
    let app = app_with(&format!("smtp://millrace:passw0rd@127.0.0.1:{}", server.port)).await;
    app.owner().await;
    put_off(&app).await;
    assert!(server.told().is_empty());
    app.operator().post(&format!("/jobs/{}/cancel", mail_job(&app).await), json!({})).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_tls_is_required_nothing_goes_out_without() {
    let server = SmtpServer::start(&[]).await;
    let app = app_with(&format!("{}?tls=required", server.url())).await;
    app.owner().await;
    put_off(&app).await;
    assert!(server.told().is_empty());
    app.operator().post(&format!("/jobs/{}/cancel", mail_job(&app).await), json!({})).await.expect(200);
}
