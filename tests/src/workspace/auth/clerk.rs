//! People who signed in with Clerk.

use reqwest::Method;
use serde_json::{Value, json};

use super::Person;
use crate::{Reply, TestApp, client::send};

const SECRET: &str = "a secret that Clerk's front end has, too";

async fn check(app: &TestApp, secret: Option<&str>, person: Value) -> Reply {
    let mut request = app.anonymous().request(Method::POST, "/auth/clerk/check").json(&person);
    if let Some(secret) = secret {
        request = request.header("X-Clerk-Secret", secret);
    }
    send(request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_known_by_their_address_once_and_by_their_clerk_id_from_then_on() {
    let app = TestApp::start_with(&[("CLERK_SECRET", SECRET)]).await;
    let ada = Person::new(&app).await;
    let person = json!({"clerk_id": "user_1", "email": ada.email.to_uppercase()});
    let known = check(&app, Some(SECRET), person).await.expect(200);
    assert_eq!((&known["exists"], &known["user"]["email"]), (&json!(true), &json!(ada.email)));
    app.anonymous().signed_in(&known).get("/auth/me").await.expect(200);

    let moved = json!({"clerk_id": "user_1", "email": "elsewhere@example.com"});
    assert_eq!(check(&app, Some(SECRET), moved).await.expect(200)["user"]["email"], json!(ada.email));
    // Another person at Clerk isn't this user for having the same address.
    let other = json!({"clerk_id": "user_2", "email": ada.email});
    assert_eq!(check(&app, Some(SECRET), other).await.expect(200), json!({"exists": false}));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_made_and_who_was_deactivated_stays_out() {
    let app = TestApp::start_with(&[("CLERK_SECRET", SECRET)]).await;
    let ada = Person::new(&app).await;
    let users = app.count("select count(*) from control.users").await;
    let unknown = json!({"clerk_id": "user_1", "email": "unknown@example.com"});
    assert_eq!(check(&app, Some(SECRET), unknown).await.expect(200), json!({"exists": false}));
    assert_eq!(
        check(&app, Some(SECRET), json!({"clerk_id": "user_1"})).await.expect(200),
        json!({"exists": false})
    );
    assert_eq!(app.count("select count(*) from control.users").await, users);

    sqlx::query("update control.users set is_active = false").execute(&app.database.pool).await.unwrap();
    let person = json!({"clerk_id": "user_1", "email": ada.email});
    assert_eq!(check(&app, Some(SECRET), person).await.error(409), "account_deactivated");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_secret_nobody_is_told_anything() {
    let (app, without) = (TestApp::start_with(&[("CLERK_SECRET", SECRET)]).await, TestApp::start().await);
    let person = json!({"clerk_id": "user_1"});
    assert_eq!(check(&app, None, person.clone()).await.error(401), "token_missing");
    assert_eq!(check(&app, Some("a guess"), person.clone()).await.error(401), "token_invalid");
    assert_eq!(check(&without, Some(SECRET), person).await.error(503), "clerk_not_configured");
}
