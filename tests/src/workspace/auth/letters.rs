//! How much mail goes out, and what others may write into it.

use serde_json::json;

use super::Person;
use crate::{TestApp, app::new_signup, cluster::wait_until};

/// Waits until all mail that was asked for is out, or was not written.
async fn all_written(app: &TestApp) {
    let waiting = "select count(*) from shard.jobs where kind in ('accounts.write', 'mail.send')";
    wait_until("all mail is written", || async { app.count(waiting).await == 0 }).await;
}

/// Sets a limit of mails.
async fn limit(app: &TestApp, subject: &str, mails: i32) {
    sqlx::query("update control.mail_limits set mails = $2 where subject = $1")
        .bind(subject)
        .bind(mails)
        .execute(&app.database.pool)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn invitations_to_one_person_are_limited_whoever_sends_them() {
    let app = TestApp::start().await;
    let (owner, eve, ada) = (app.owner().await, app.owner().await, Person::new(&app).await);
    let mut replies = Vec::new();
    for n in 0..15 {
        let host = if n % 2 == 0 { &owner } else { &eve };
        let path = format!("/workspaces/{}/invitations", host.workspace.as_deref().unwrap());
        replies.push(host.post(&path, json!({"email": ada.email})).await);
    }
    assert!(replies[..10].iter().all(|reply| reply.status == 201), "{replies:?}");
    for refused in replies.into_iter().skip(10) {
        let wait: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=3600).contains(&wait), "{wait}");
        assert_eq!(refused.error(429), "mail_limit_reached");
    }
    all_written(&app).await;
    assert_eq!(app.mails(&ada.email, "You are invited to Analytical Engines").len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn resets_by_admins_are_limited_with_invitations() {
    let app = TestApp::start().await;
    let owner = Person::new(&app).await;
    let ada = Person::new(&app).await.join(&owner, "member").await;
    let path = format!("/workspaces/{}/members/{}/password-reset", owner.workspace(), ada.id);
    for _ in 0..10 {
        owner.client.post(&path, json!({})).await.expect(200);
    }
    assert_eq!(owner.client.post(&path, json!({})).await.error(429), "mail_limit_reached");
    all_written(&app).await;
    assert_eq!(app.mails(&ada.email, "Choose a new password").len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_is_counted_for_who_causes_it_and_for_their_workspace() {
    let app = TestApp::start().await;
    let owner = Person::new(&app).await;
    let admin = Person::new(&app).await.join(&owner, "admin").await;
    limit(&app, "member", 2).await;
    limit(&app, "workspace", 3).await;
    let path = format!("/workspaces/{}/invitations", owner.workspace());
    let mut people = Vec::new();
    for _ in 0..5 {
        people.push(json!({"email": Person::new(&app).await.email}));
    }
    for body in &people[..2] {
        owner.client.post(&path, body.clone()).await.expect(201);
    }
    let refused = owner.client.post(&path, people[2].clone()).await.expect(429);
    let why = refused["detail"].as_str().unwrap();
    assert!(why.starts_with("too many emails were sent by this caller"), "{refused}");
    // What was refused counts nowhere.
    admin.client.post(&path, people[3].clone()).await.expect(201);
    let refused = admin.client.post(&path, people[4].clone()).await.expect(429);
    let why = refused["detail"].as_str().unwrap();
    assert!(why.starts_with("too many emails were sent in the name of this workspace"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_registers_others_is_limited_and_told_the_same_whoever_they_are() {
    let app = TestApp::start().await;
    let ada = Person::new(&app).await;
    limit(&app, "visitor", 8).await;
    let register = async |email: &str| {
        app.anonymous().post("/auth/register", json!({"email": email, "name": "Grace Hopper"})).await
    };
    // To one address five mails go out in an hour; nothing shows when it is full.
    for _ in 0..7 {
        register("grace@example.com").await.expect(201);
    }
    register("GRACE@example.com").await.expect(201);
    all_written(&app).await;
    assert_eq!(app.mails("grace@example.com", "Activate your account").len(), 5);
    for email in [ada.email.as_str(), "unknown@example.com"] {
        assert_eq!(register(email).await.error(429), "mail_limit_reached", "{email}");
        let ask = json!({ "email": email });
        let reset = app.anonymous().post("/auth/request-password-reset", ask.clone()).await;
        assert_eq!(reset.error(429), "mail_limit_reached");
        let lookup = app.anonymous().post("/v1/tenants/lookup", ask).await;
        assert_eq!(lookup.error(429), "mail_limit_reached");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_written_to_without_having_asked_reads_nothing_of_the_senders() {
    let app = TestApp::start().await;
    let name = "You have won! Claim at https://evil.example/";
    let registration = json!({"email": "ada@example.com", "name": name});
    app.anonymous().post("/auth/register", registration).await.expect(201);
    let mail = app.mail("ada@example.com", "Activate your account", 1).await;
    assert!(mail.text.starts_with("Hello,") && !mail.text.contains("evil"), "{}", mail.text);

    let mut signup = new_signup();
    (signup["full_name"], signup["company_name"]) = (json!(name), json!("=?utf-8?q?Your=20bank?="));
    let signed_up = app.anonymous().post("/auth/signup", signup.clone()).await.expect(201);
    let owner = app.anonymous().signed_in(&signed_up);
    app.verify(&signup["email"]).await;
    let mail = app.mail(signup["email"].as_str().unwrap(), "Your workspace is ready", 1).await;
    assert!(mail.text.starts_with("Hello,") && !mail.text.contains("bank"), "{}", mail.text);

    let bob = Person::new(&app).await;
    let path = format!("/workspaces/{}/invitations", owner.workspace.as_deref().unwrap());
    owner.post(&path, json!({"email": bob.email})).await.expect(201);
    let mail = app.mail(&bob.email, "You are invited to a workspace", 1).await;
    assert!(!mail.text.contains("evil") && !mail.text.contains("bank"), "{}", mail.text);
}

/// Mail is counted in one place, so nothing else may make the job that sends it.
#[test]
fn mail_is_enqueued_in_one_place() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut folders: Vec<_> =
        ["api", "domain", "runtime", "workers"].iter().map(|name| root.join(name)).collect();
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && std::fs::read_to_string(&path).unwrap().contains("SendMail")
            {
                found.push(path.strip_prefix(root).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    // Where its kind is declared, a mail is made, and it is sent. `mail::post` alone makes mail.
    let places =
        ["domain/core/src/job_kinds.rs", "domain/core/src/mail/letter.rs", "workers/src/deliveries.rs"];
    assert_eq!(found, places);
}
