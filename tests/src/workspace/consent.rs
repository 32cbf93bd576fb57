//! What a stranger can do to a user whose address they know: nothing, and they learn nothing.

use serde_json::{Value, json};

use super::auth::{PASSWORD, Person, avatar::png, sign_in};
use crate::{TestApp, masked};

/// All that an account is, behind the scenes, but for when it last changed.
async fn account(app: &TestApp, email: &str) -> Value {
    sqlx::query_scalar(
        "select to_jsonb(u) - 'updated_at' - 'last_login_at' from control.users u where email = $1",
    )
    .bind(email)
    .fetch_one(&app.database.pool)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn known_and_unknown_addresses_are_answered_alike_and_nobody_is_put_in() {
    let app = TestApp::start().await;
    let (eve, victim) = (Person::new(&app).await, Person::new(&app).await);
    let details = json!({"title": "Countess", "phone": "+44 20 1", "bio": "Private."});
    victim.client.patch("/auth/me", details).await.expect(200);
    let unknown = "ada.unknown@example.com".to_owned();
    let at = format!("/workspaces/{}", eve.workspace());

    for path in ["/members".to_owned(), format!("{at}/invitations"), format!("{at}/invitations/link")] {
        let mut answers = Vec::new();
        for email in [&victim.email, &unknown] {
            let reply = eve.client.post(&path, json!({ "email": email })).await;
            let status = reply.status;
            let mut answer = masked(&reply.json());
            // What the caller has sent comes back; a fresh link differs each time.
            for part in ["invite_url", "token"] {
                if answer.get(part).is_some() {
                    answer[part] = Value::Null;
                }
            }
            let text = answer.to_string();
            for private in ["Countess", "+44 20 1", "Private.", "Lovelace", &victim.id.to_string()] {
                assert!(!text.contains(private), "{path} tells {private}: {text}");
            }
            answers.push((status, answer));
        }
        assert_eq!(answers[0], answers[1], "{path}");
    }
    let roster = eve.client.items(&format!("{at}/members")).await;
    let pending: Vec<_> =
        roster.as_array().unwrap().iter().filter(|entry| entry["status"] == "pending").map(masked).collect();
    assert_eq!(pending.len(), 2);
    for entry in &pending {
        let shown = [&entry["user_id"], &entry["title"], &entry["avatar_url"]];
        assert_eq!(shown, [&Value::Null; 3], "{entry}");
    }
    assert_eq!(eve.client.get("/members").await.expect(200)["total"], 1);
    assert_eq!(victim.client.items("/workspaces").await.as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_changes_nothing_of_an_account() {
    let app = TestApp::start().await;
    let (eve, victim) = (Person::new(&app).await, Person::new(&app).await);
    let before = account(&app, &victim.email).await;
    let invitation = eve.client.post("/members", json!({"email": victim.email})).await.expect(201);
    eve.client.patch("/v1/governance", json!({"password_min_length": 128})).await.expect(200);
    let person = format!("/auth/{}", victim.id);
    let at = format!("/workspaces/{}/members", eve.workspace());

    let renamed = json!({"name": "Mallory", "phone": "1", "avatar_url": "https://evil.example/a.png"});
    for reply in [
        eve.client.get(&person).await,
        eve.client.patch(&person, renamed).await,
        eve.client.patch(&person, json!({"email": "eve@example.com"})).await,
        eve.client.patch(&person, json!({"role": "viewer"})).await,
        eve.client.upload(&format!("{person}/avatar"), "a.png", png(8, 8)).await,
        eve.client.post(&format!("{at}/{}/password-reset", victim.id), json!({})).await,
        eve.client.post(&format!("{at}/{}/password-reset/link", victim.id), json!({})).await,
        eve.client.delete(&format!("{at}/{}", victim.id)).await,
        eve.client.delete(&format!("/members/{}/permanent", invitation["id"].as_str().unwrap())).await,
    ] {
        assert_eq!(reply.error(404), "record_not_found");
    }
    // What the invitation's id reaches is the invitation.
    let removed =
        eve.client.delete(&format!("{at}/{}", invitation["id"].as_str().unwrap())).await.expect(200);
    assert_eq!((&removed["user_id"], &removed["user_deleted"]), (&Value::Null, &json!(false)));

    assert_eq!(account(&app, &victim.email).await, before);
    assert!(app.mails(&victim.email, "Choose a new password").is_empty());
    let change = json!({"current_password": PASSWORD, "new_password": "a stitch in time"});
    victim.client.post("/auth/me/password", change).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_invited_elsewhere_and_has_no_workspace_yet_is_nobodys_either() {
    let app = TestApp::start().await;
    let (company, eve) = (Person::new(&app).await, Person::new(&app).await);
    let email = "grace@example.com";
    let registration = json!({"email": email, "name": "Grace"});
    app.anonymous().post("/auth/register", registration).await.expect(201);
    app.mail(email, "Activate your account", 1).await;
    let path = |boss: &Person| format!("/workspaces/{}/invitations", boss.workspace());
    let admin = json!({"email": email, "role": "admin"});
    company.client.post(&path(&company), admin).await.expect(201);
    let subject = "You are invited to Analytical Engines";
    let token = app.mail(email, subject, 1).await.in_link("token");
    let before = account(&app, email).await;

    let invitation = eve.client.post(&path(&eve), json!({"email": email})).await.expect(201);
    app.mail(email, subject, 2).await;
    let person = format!("/auth/{}", before["id"].as_str().unwrap());
    let moved = eve.client.patch(&person, json!({"email": eve.email})).await;
    assert_eq!(moved.error(404), "record_not_found");
    let removed = format!("/workspaces/{}/members/{}", eve.workspace(), invitation["id"].as_str().unwrap());
    eve.client.delete(&removed).await.expect(200);
    assert_eq!(account(&app, email).await, before);

    // The company's invitation goes where it was sent, and admits the reader of that mailbox.
    let accept = json!({"token": token, "password": "a stitch in time"});
    let accepted = app.anonymous().post("/workspaces/invitations/accept", accept).await.expect(200);
    assert_eq!((&accepted["email"], &accepted["role"]), (&json!(email), &json!("admin")));
    sign_in(&app, email, "a stitch in time").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_registers_somebody_elses_address_is_out_once_its_reader_accepts() {
    let app = TestApp::start().await;
    let company = Person::new(&app).await;
    let squatter = Person::new(&app).await;
    sqlx::query("update control.users set email_verified_at = null where id = $1")
        .bind(squatter.id)
        .execute(&app.database.pool)
        .await
        .unwrap();
    let path = format!("/workspaces/{}/invitations", company.workspace());
    let invitation =
        company.client.post(&path, json!({"email": squatter.email, "role": "admin"})).await.expect(201);
    let token = app.mail(&squatter.email, "You are invited to Analytical Engines", 1).await.in_link("token");

    assert_eq!(squatter.client.items("/workspaces/invitations").await, json!([]));
    let by_id = json!({"invitation_id": invitation["id"]});
    let refused = squatter.client.post("/workspaces/invitations/accept", by_id).await;
    assert_eq!(refused.error(403), "forbidden");
    let accept = "/workspaces/invitations/accept";
    let missing = app.anonymous().post(accept, json!({"token": token})).await.expect(422);
    assert_eq!(missing["error"], "parameter_missing", "the account may be another's: {missing}");
    let chosen = json!({"token": token, "password": "a stitch in time"});
    app.anonymous().post(accept, chosen).await.expect(200);

    assert_eq!(squatter.client.get("/auth/me").await.error(401), "token_invalid");
    assert_eq!(sign_in(&app, &squatter.email, PASSWORD).await.error(401), "credentials_invalid");
    sign_in(&app, &squatter.email, "a stitch in time").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_member_shows_is_their_accounts_after_joining_by_invitation_too() {
    let app = TestApp::start().await;
    let owner = Person::new(&app).await;
    let ada = Person::new(&app).await;
    ada.client.patch("/auth/me", json!({"title": "Countess"})).await.expect(200);
    ada.client.upload("/auth/me/avatar", "a.png", png(9, 9)).await.expect(200);
    let ada = ada.join(&owner, "member").await;

    ada.client.patch("/auth/me", json!({"title": "Analyst", "bio": "Counts."})).await.expect(200);

    let shown = ada.client.get("/members/me").await.expect(200);
    assert_eq!((&shown["title"], &shown["bio"]), (&json!("Analyst"), &json!("Counts.")));
    let me = ada.client.get(&format!("/auth/me?workspace_id={}", owner.workspace())).await.expect(200);
    assert!(me["avatar_url"].is_string());
    assert_eq!(me["member"]["avatar_url"], me["avatar_url"], "an uploaded picture is not lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_switched_is_told_so_when_they_sign_in() {
    let app = TestApp::start().await;
    let owner = Person::new(&app).await;
    let ada = Person::new(&app).await.join(&owner, "member").await;
    let there = json!({"workspace_id": owner.workspace()});
    ada.client.post("/workspaces/switch", there).await.expect(200);
    let signed_in = sign_in(&app, &ada.email, PASSWORD).await.expect(200);
    assert_eq!(signed_in["current_workspace_id"], owner.workspace());
    let me = ada.client.get("/auth/me").await.expect(200);
    assert_eq!(me["current_workspace_id"], owner.workspace());
}
