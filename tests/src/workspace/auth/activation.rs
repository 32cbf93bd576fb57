//! Accounts that wait for their owner to choose a password.

use futures::future::join_all;
use serde_json::{Value, json};

use super::{PASSWORD, Person, audited, sign_in};
use crate::{Reply, TestApp, mailbox::Received, masked};

const SUBJECT: &str = "Activate your account";
const EMAIL: &str = "grace@example.com";

async fn register(app: &TestApp, email: &str) -> Reply {
    app.anonymous().post("/auth/register", json!({ "email": email, "name": "Grace Hopper" })).await
}

async fn look(app: &TestApp, mail: &Received) -> Reply {
    app.anonymous().get(&format!("/auth/activate?{}", mail.link().query().unwrap())).await
}

async fn activate(app: &TestApp, token: &str, password: &str) -> Reply {
    app.anonymous().post("/auth/activate", json!({ "token": token, "password": password })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_registers_chooses_their_password_by_the_mailed_link_and_is_in() {
    let app = TestApp::start().await;
    let registered = register(&app, EMAIL).await.expect(201);
    assert_eq!(
        registered,
        json!({"email": EMAIL, "message": "An email with the next steps will be sent to this address."})
    );
    let mail = app.mail(EMAIL, SUBJECT, 1).await;
    let link = look(&app, &mail).await.expect(200);
    insta::assert_json_snapshot!(masked(&link), @r#"
    {
      "password_min_length": 10,
      "user": {
        "email": "grace@example.com",
        "id": "[id]",
        "name": "Grace Hopper"
      },
      "workspace": null
    }
    "#);

    let token = mail.in_link("token");
    let weak = activate(&app, &token, "1234567890").await.expect(422);
    assert!(weak["fields"]["password"].is_array(), "{weak}");
    let activated = activate(&app, &token, PASSWORD).await.expect(200);

    assert_eq!(activated["workspaces"], json!([]));
    let grace = app.anonymous().signed_in(&activated);
    let id = grace.get("/auth/me").await.expect(200)["id"].as_str().unwrap().parse().unwrap();
    sign_in(&app, EMAIL, PASSWORD).await.expect(200);
    assert_eq!(activate(&app, &token, PASSWORD).await.error(401), "token_invalid");
    assert_eq!(look(&app, &mail).await.error(404), "record_not_found");
    assert_eq!(audited(&app, Some(id)).await, ["user.registered", "account_email.sent", "user.activated"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn registering_a_known_address_is_answered_alike_and_notifies_its_owner() {
    let app = TestApp::start().await;
    let ada = Person::new(&app).await;
    let (taken, free) = (register(&app, &ada.email).await, register(&app, EMAIL).await);
    assert_eq!((taken.status, free.status), (201, 201));
    assert_eq!(taken.text.replace(&ada.email, EMAIL), free.text);

    let received = app.mail(&ada.email, "You have an account already", 1).await;
    assert!(received.link().path().ends_with("/login"));
    app.mail(EMAIL, SUBJECT, 1).await;
    sign_in(&app, &ada.email, PASSWORD).await.expect(200);
    assert_eq!(ada.client.get("/auth/me").await.expect(200)["name"], "Ada Lovelace");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_makes_no_sense_is_refused() {
    let app = TestApp::start().await;
    let wrong =
        app.anonymous().post("/auth/register", json!({"email": "grace", "name": " "})).await.expect(422);
    assert_eq!(
        wrong["fields"],
        json!({"email": ["must be an email address"], "name": ["must not be empty"]})
    );
    let missing = app.anonymous().post("/auth/register", json!({})).await.expect(422);
    assert_eq!(missing["detail"], "required and missing: email, name");
    assert_eq!(app.anonymous().get("/auth/activate").await.error(422), "parameter_missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_cannot_be_signed_in_to_before_its_activation() {
    let app = TestApp::start().await;
    let registration = json!({"email": EMAIL, "name": "Grace Hopper"});
    app.anonymous().post("/auth/register", registration).await.expect(201);
    app.mail(EMAIL, SUBJECT, 1).await;
    assert_eq!(sign_in(&app, EMAIL, PASSWORD).await.error(401), "credentials_invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_link_takes_the_place_of_the_one_before() {
    let app = TestApp::start().await;
    let ada = Person::new(&app).await;
    register(&app, EMAIL).await.expect(201);
    let older = app.mail(EMAIL, SUBJECT, 1).await;
    let resend = async |email: &str| {
        app.anonymous().post("/auth/activate/resend", json!({ "email": email })).await.expect(200)
    };

    let answers: Vec<Value> =
        vec![resend(EMAIL).await, resend(&ada.email).await, resend("unknown@example.com").await];

    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    let newer = app.mail(EMAIL, SUBJECT, 2).await;
    assert_eq!(look(&app, &older).await.error(404), "record_not_found");
    look(&app, &newer).await.expect(200);
    // An account without a password is answered the same.
    app.anonymous().post("/auth/request-password-reset", json!({ "email": EMAIL })).await.expect(200);
    let newest = app.mail(EMAIL, SUBJECT, 3).await;
    activate(&app, &newest.in_link("token"), PASSWORD).await.expect(200);
    assert!(app.mails(&ada.email, SUBJECT).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_leads_to_its_own_workspace_and_to_no_other() {
    let app = TestApp::start().await;
    let owner = Person::new(&app).await;
    let grace = Person::employee(&app, &owner, "member").await;
    sqlx::query("update control.users set activated_at = null, password_hash = null where id = $1")
        .bind(grace.id)
        .execute(&app.database.pool)
        .await
        .unwrap();
    app.anonymous().post("/auth/activate/resend", json!({ "email": grace.email })).await.expect(200);
    let mail = app.mail(&grace.email, SUBJECT, 1).await;

    let link = look(&app, &mail).await.expect(200);
    assert_eq!(link["workspace"], json!({"id": owner.workspace(), "name": "Analytical Engines"}));
    let token = mail.in_link("token");
    for other in [uuid::Uuid::nil(), uuid::Uuid::now_v7()] {
        let path = format!("/auth/activate?workspace_id={other}&token={token}");
        assert_eq!(app.anonymous().get(&path).await.error(404), "record_not_found");
    }
    let replies = join_all((0..8).map(|_| activate(&app, &token, "a stitch in time"))).await;
    assert_eq!(replies.iter().filter(|reply| reply.status == 200).count(), 1);
    let activated = replies.into_iter().find(|reply| reply.status == 200).unwrap().json();
    assert_eq!(activated["workspaces"][0]["id"], owner.workspace());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_was_activated_otherwise_is_not_taken_over_by_an_older_link() {
    let app = TestApp::start().await;
    register(&app, EMAIL).await.expect(201);
    let mail = app.mail(EMAIL, SUBJECT, 1).await;
    let otherwise = "update control.users set activated_at = now(), email_verified_at = now()";
    sqlx::query(otherwise).execute(&app.database.pool).await.unwrap();
    assert_eq!(look(&app, &mail).await.error(404), "record_not_found");
    assert_eq!(activate(&app, &mail.in_link("token"), PASSWORD).await.error(401), "token_invalid");
}
