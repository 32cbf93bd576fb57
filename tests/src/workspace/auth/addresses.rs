//! Addresses: which spellings are one, and what is known of whose they are.

use reqwest::Method;
use serde_json::{Value, json};

use super::{PASSWORD, Person, sign_in};
use crate::{Client, Reply, TestApp, app::new_signup, client::send};

const CLERK_SECRET: &str = "a secret that Clerk's front end has, too";
const NEW: &str = "a stitch in time saves nine";

/// Signs up with an address, and leaves it unverified.
async fn sign_up(app: &TestApp, email: &str) -> Client {
    let mut signup = new_signup();
    signup["email"] = json!(email);
    app.anonymous().signed_in(&app.anonymous().post("/auth/signup", signup).await.expect(201))
}

async fn activate(app: &TestApp, token: &str, password: &str) -> Reply {
    app.anonymous().post("/auth/activate", json!({ "token": token, "password": password })).await
}

async fn verified(client: &Client) -> Value {
    client.get("/auth/me").await.expect(200)["email_verified"].clone()
}

async fn check_clerk(app: &TestApp, clerk_id: &str, email: &str) -> Value {
    let request = app.anonymous().request(Method::POST, "/auth/clerk/check");
    let request = request.header("X-Clerk-Secret", CLERK_SECRET);
    send(request.json(&json!({"clerk_id": clerk_id, "email": email}))).await.expect(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_taken_in_all_of_its_spellings_and_in_no_other() {
    let app = TestApp::start().await;
    sign_up(&app, "info@bücher.example").await;
    let taken = [
        "INFO@BÜCHER.EXAMPLE",
        "info@xn--bcher-kva.example",
        "info@bu\u{308}cher.example",
        "ｉnfo@bücher。example",
    ];
    for email in taken {
        let mut signup = new_signup();
        signup["email"] = json!(email);
        let reply = app.anonymous().post("/auth/signup", signup).await;
        assert_eq!(reply.error(409), "email_taken", "{email}");
        sign_in(&app, email, PASSWORD).await.expect(200);
    }
    for email in ["İnfo@bücher.example", "info@bucher.example"] {
        sign_up(&app, email).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_of_another_domain_is_never_let_in_for_one_that_folds_to_it() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let eve = sign_up(&app, "boss@İnİtech.example").await;
    sqlx::query("update control.users set email_verified_at = now()")
        .execute(&app.database.pool)
        .await
        .unwrap();
    let workspace = owner.workspace.clone().unwrap();
    owner.post("/members", json!({"email": "boss@initech.example", "role": "admin"})).await;
    let invitations = format!("/workspaces/{workspace}/invitations");
    owner.post(&invitations, json!({"email": "boss@initech.example", "role": "admin"})).await;

    let there = eve.in_workspace(Some(&workspace));
    assert_eq!(there.get("/recordsets").await.error(404), "record_not_found");
    let eves = "select count(*) from control.invitations i join control.users u on u.id = i.user_id
                 where u.email_key like 'boss@xn--%'";
    assert_eq!(app.count(eves).await, 0);
    // The real one can sign up.
    sign_up(&app, "boss@initech.example").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_signs_up_works_at_once_and_verifies_the_address_by_the_mailed_link_with_their_password() {
    let app = TestApp::start().await;
    let email = "ada@example.com";
    let ada = sign_up(&app, email).await;
    ada.get("/recordsets").await.expect(200);
    assert_eq!(verified(&ada).await, false);

    let first = app.mail(email, "Your workspace is ready", 1).await.in_link("token");
    app.anonymous().post("/auth/activate/resend", json!({ "email": email })).await.expect(200);
    let link = app.mail(email, "Activate your account", 1).await;
    assert_eq!(activate(&app, &first, PASSWORD).await.error(401), "token_invalid", "there is a newer one");
    let look = format!("/auth/activate?{}", link.link().query().unwrap());
    assert_eq!(app.anonymous().get(&look).await.expect(200)["user"]["email"], email);
    activate(&app, &link.in_link("token"), PASSWORD).await.expect(200);

    // With the password of the account, its sessions go on.
    assert_eq!(verified(&ada).await, true);
    assert_eq!(activate(&app, &link.in_link("token"), PASSWORD).await.error(401), "token_invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unverified_address_matches_no_account() {
    let app = TestApp::start_with(&[("CLERK_SECRET", CLERK_SECRET)]).await;
    let owner = app.owner().await;
    let email = "ceo@bigcorp.example";
    let squatter = sign_up(&app, email).await;
    let workspace = owner.workspace.clone().unwrap();

    owner.post("/members", json!({ "email": email })).await;
    let invitations = format!("/workspaces/{workspace}/invitations");
    owner.post(&invitations, json!({ "email": email })).await;
    owner.post(&format!("{invitations}/link"), json!({ "email": email })).await;

    let there = squatter.in_workspace(Some(&workspace));
    assert_eq!(there.get("/recordsets").await.error(404), "record_not_found");
    let matched = format!(
        "select (select count(*) from control.memberships m join control.users u on u.id = m.user_id
                  where u.email_key = '{email}' and m.workspace_id = '{workspace}')
              + (select count(*) from control.invitations i join control.users u on u.id = i.user_id
                  where u.email_key = '{email}')"
    );
    assert_eq!(app.count(&matched).await, 0);
    assert_eq!(check_clerk(&app, "user_1", email).await, json!({"exists": false}));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_the_mail_of_a_squatted_address_gets_the_account_to_themselves() {
    let app = TestApp::start_with(&[("CLERK_SECRET", CLERK_SECRET)]).await;
    let email = "ceo@bigcorp.example";
    let squatter = sign_up(&app, email).await;
    let made = squatter.post("/auth/tokens", json!({"name": "A way back"})).await.expect(201);
    let way_back = squatter.with_token(made["token"].as_str());

    let token = app.mail(email, "Your workspace is ready", 1).await.in_link("token");
    let owner = app.anonymous().signed_in(&activate(&app, &token, NEW).await.expect(200));

    assert_eq!(verified(&owner).await, true);
    for client in [&squatter, &way_back] {
        assert_eq!(client.get("/recordsets").await.error(401), "token_invalid");
    }
    assert_eq!(sign_in(&app, email, PASSWORD).await.error(401), "credentials_invalid");
    assert_eq!(check_clerk(&app, "user_1", email).await["exists"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailed_reset_verifies_the_address_and_one_that_was_handed_over_does_not() {
    let app = TestApp::start().await;
    let owner = Person::new(&app).await;
    let member = Person::employee(&app, &owner, "member").await;
    let doubt = "update control.users set email_verified_at = null";
    sqlx::query(doubt).execute(&app.database.pool).await.unwrap();
    let path = format!("/workspaces/{}/members/{}/password-reset/link", owner.workspace(), member.id);
    let link = owner.client.post(&path, json!({})).await.expect(200);
    let token = link["reset_url"].as_str().unwrap().split("token=").nth(1).unwrap();
    let reset = json!({"token": token, "password": NEW});
    app.anonymous().post("/auth/reset-password", reset).await.expect(200);
    let signed_in = sign_in(&app, &member.email, NEW).await.expect(200);
    assert_eq!(verified(&app.anonymous().signed_in(&signed_in)).await, false);

    let ask = json!({"email": member.email});
    app.anonymous().post("/auth/request-password-reset", ask).await.expect(200);
    let token = app.mail(&member.email, "Choose a new password", 1).await.in_link("token");
    let reset = json!({"token": token, "password": PASSWORD});
    app.anonymous().post("/auth/reset-password", reset).await.expect(200);
    let signed_in = sign_in(&app, &member.email, PASSWORD).await.expect(200);
    assert_eq!(verified(&app.anonymous().signed_in(&signed_in)).await, true);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_accepts_a_mailed_invitation_has_verified_the_address() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let email = "grace@example.com";
    let registration = json!({"email": email, "name": "Grace Hopper"});
    app.anonymous().post("/auth/register", registration).await.expect(201);
    app.mail(email, "Activate your account", 1).await;
    let invitations = format!("/workspaces/{}/invitations", owner.workspace.as_deref().unwrap());
    owner.post(&invitations, json!({ "email": email })).await.expect(201);
    let token = app.mail(email, "You are invited to Analytical Engines", 1).await.in_link("token");
    let accept = json!({"token": token, "password": PASSWORD});
    app.anonymous().post("/workspaces/invitations/accept", accept).await.expect(200);
    let grace = app.anonymous().signed_in(&sign_in(&app, email, PASSWORD).await.expect(200));
    assert_eq!(verified(&grace).await, true);
}
