//! Forgotten passwords, and new ones in place of old.

use futures::future::join_all;
use serde_json::json;

use super::{PASSWORD, Person, audited, sign_in};
use crate::{Reply, TestApp};

const SUBJECT: &str = "Choose a new password";
const NEW: &str = "a stitch in time saves nine";

async fn ask(app: &TestApp, email: &str) -> Reply {
    app.anonymous().post("/auth/request-password-reset", json!({ "email": email })).await
}

async fn reset(app: &TestApp, token: &str, password: &str) -> Reply {
    app.anonymous().post("/auth/reset-password", json!({ "token": token, "password": password })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_password_is_replaced_by_the_link_that_is_mailed() {
    let app = TestApp::start_with(&[("APP_URL", "https://app.example.com/of/ours")]).await;
    let ada = Person::new(&app).await;
    ask(&app, &format!(" {} ", ada.email.to_uppercase())).await.expect(200);
    let mail = app.mail(&ada.email, SUBJECT, 1).await;
    assert!(mail.link().as_str().starts_with("https://app.example.com/of/ours/reset-password?token="));
    let token = mail.in_link("token");

    assert_eq!(
        reset(&app, &token, NEW).await.expect(200),
        json!({"message": "The password was changed. Sign in with the new one."})
    );

    assert_eq!(sign_in(&app, &ada.email, PASSWORD).await.error(401), "credentials_invalid");
    assert_eq!(ada.client.get("/auth/me").await.error(401), "token_invalid");
    sign_in(&app, &ada.email, NEW).await.expect(200);
    assert_eq!(reset(&app, &token, "another stitch in time").await.error(401), "token_invalid");
    app.mail(&ada.email, "Your password was changed", 1).await;
    assert!(audited(&app, Some(ada.id)).await.contains(&"password.changed".to_owned()));
    let ended = "select count(*) from control.sessions where revoked_for = 'password_changed'";
    assert_eq!(app.count(ended).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_revokes_personal_tokens_and_lists_the_keys_that_go_on() {
    let app = TestApp::start().await;
    let ada = Person::new(&app).await;
    let made = ada.client.post("/auth/tokens", json!({"name": "My script"})).await.expect(201);
    let script = ada.client.with_token(made["token"].as_str());
    script.get("/recordsets").await.expect(200);
    let key = json!({"name": "Nightly sync", "scopes": ["read"]});
    let key = ada.client.post("/api-keys", key).await.expect(201);
    let key = ada.client.with_token(key["key"].as_str());
    key.get("/recordsets").await.expect(200);

    ask(&app, &ada.email).await.expect(200);
    let token = app.mail(&ada.email, SUBJECT, 1).await.in_link("token");
    reset(&app, &token, NEW).await.expect(200);

    assert_eq!(script.get("/recordsets").await.error(401), "token_invalid");
    key.get("/recordsets").await.expect(200);
    let told = app.mail(&ada.email, "Your password was changed", 1).await.text;
    assert!(told.contains("- My script") && told.contains("- Nightly sync"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_twenty_resets_at_once_with_one_link_one_succeeds() {
    let app = TestApp::start().await;
    let ada = Person::new(&app).await;
    ask(&app, &ada.email).await.expect(200);
    let token = app.mail(&ada.email, SUBJECT, 1).await.in_link("token");

    let passwords: Vec<_> = (0..20).map(|i| format!("a stitch in time saves {i}")).collect();
    let replies = join_all(passwords.iter().map(|password| reset(&app, &token, password))).await;

    let won: Vec<_> = (0..20).filter(|&i| replies[i].status == 200).collect();
    assert_eq!(won.len(), 1, "{replies:?}");
    assert_eq!(replies.iter().filter(|reply| reply.status == 401).count(), 19);
    sign_in(&app, &ada.email, &passwords[won[0]]).await.expect(200);
    app.mail(&ada.email, "Your password was changed", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_nobody_has_is_answered_alike_and_gets_nothing() {
    let app = TestApp::start().await;
    let ada = Person::new(&app).await;
    let known = ask(&app, &ada.email).await;
    for email in ["unknown@example.com", "no address", ""] {
        let unknown = ask(&app, email).await;
        assert_eq!((unknown.status, &unknown.text), (200, &known.text), "{email}");
    }
    app.mail(&ada.email, SUBJECT, 1).await;
    let waiting = "select count(*) from shard.jobs where kind in ('accounts.write', 'mail.send')";
    crate::cluster::wait_until("all letters are written", || async { app.count(waiting).await == 0 }).await;
    let links = "select count(*) from control.account_tokens where purpose = 'password_reset'";
    assert_eq!(app.count(links).await, 1);
    assert!(app.mails("unknown@example.com", SUBJECT).is_empty());
    // The token is in the mail, and nowhere else.
    let token = app.mails(&ada.email, SUBJECT)[0].in_link("token");
    for table in ["shard.all_jobs", "control.account_tokens", "shard.audit_log", "shard.job_logs"] {
        let found = format!("select count(*) from {table} t where position('{token}' in t::text) > 0");
        assert_eq!(app.count(&found).await, 0, "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_refused_does_not_use_the_link_up() {
    let app = TestApp::start().await;
    let ada = Person::new(&app).await;
    ask(&app, &ada.email).await.expect(200);
    let token = app.mail(&ada.email, SUBJECT, 1).await.in_link("token");
    for weak in ["short", "password1234", &ada.email, &"x y z ".repeat(200)] {
        let refused = reset(&app, &token, weak).await.expect(422);
        assert!(refused["fields"]["password"].is_array(), "{weak}: {refused}");
    }
    reset(&app, &token, NEW).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_is_good_for_an_hour_and_until_there_is_a_newer_one() {
    let app = TestApp::start().await;
    let ada = Person::new(&app).await;
    ask(&app, &ada.email).await.expect(200);
    let older = app.mail(&ada.email, SUBJECT, 1).await.in_link("token");
    ask(&app, &ada.email).await.expect(200);
    let newer = app.mail(&ada.email, SUBJECT, 2).await.in_link("token");
    assert_eq!(reset(&app, &older, NEW).await.error(401), "token_invalid");
    let minutes = "select (extract(epoch from expires_at - created_at) / 60)::bigint
                     from control.account_tokens where purpose = 'password_reset'";
    assert_eq!(app.count(minutes).await, 60);

    sqlx::query("update control.account_tokens set expires_at = now()")
        .execute(&app.database.pool)
        .await
        .unwrap();
    assert_eq!(reset(&app, &newer, NEW).await.error(401), "token_invalid");
    for nonsense in ["", "nonsense"] {
        assert_eq!(reset(&app, nonsense, NEW).await.error(401), "token_invalid");
    }
    sign_in(&app, &ada.email, PASSWORD).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobodys_mailbox_is_filled_by_others() {
    let app = TestApp::start().await;
    let ada = Person::new(&app).await;
    for _ in 0..8 {
        ask(&app, &ada.email).await.expect(200);
    }
    let waiting = "select count(*) from shard.jobs where kind in ('accounts.write', 'mail.send')";
    crate::cluster::wait_until("all letters are written", || async { app.count(waiting).await == 0 }).await;
    // Five an hour, of which the first was about the sign-up.
    assert_eq!(app.mails(&ada.email, SUBJECT).len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_in_place_of_the_old_ends_all_other_sessions() {
    let app = TestApp::start().await;
    let ada = Person::new(&app).await;
    let elsewhere = ada.sign_in(&app).await;
    let change = |current: &str, new: &str| json!({ "current_password": current, "new_password": new });

    let wrong = ada.client.post("/auth/me/password", change("not this one", NEW)).await.expect(422);
    assert_eq!(wrong["fields"], json!({"current_password": ["is not the current password"]}));
    let weak = ada.client.post("/auth/me/password", change(PASSWORD, "qwertyuiop")).await.expect(422);
    assert!(weak["fields"]["new_password"].is_array(), "{weak}");
    elsewhere.get("/auth/me").await.expect(200);

    ada.client.post("/auth/me/password", change(PASSWORD, NEW)).await.expect(200);
    ada.client.get("/auth/me").await.expect(200);
    assert_eq!(elsewhere.get("/auth/me").await.error(401), "token_invalid");
    sign_in(&app, &ada.email, NEW).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_as_long_as_the_workspace_asks_that_manages_the_account_and_no_other() {
    let app = TestApp::start().await;
    let (owner, eve) = (Person::new(&app).await, Person::new(&app).await);
    let (bob, ada) = (
        Person::new(&app).await.join(&owner, "member").await,
        Person::employee(&app, &owner, "member").await,
    );
    let governance = json!({"password_min_length": 30});
    for boss in [&owner, &eve] {
        boss.client.patch("/v1/governance", governance.clone()).await.expect(200);
    }
    let invite = json!({"email": bob.email});
    eve.client.post(&format!("/workspaces/{}/invitations", eve.workspace()), invite).await.expect(201);
    let change = |new: &str| json!({ "current_password": PASSWORD, "new_password": new });

    let refused = ada.client.post("/auth/me/password", change(NEW)).await.expect(422);
    assert_eq!(refused["fields"], json!({"new_password": ["must have at least 30 characters"]}));
    bob.client.post("/auth/me/password", change(NEW)).await.expect(200);
}
