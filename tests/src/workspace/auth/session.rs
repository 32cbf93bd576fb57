//! Signing in and out, and who one is.

use serde_json::{Value, json};

use crate::{Client, TestApp, app::new_signup, masked};

/// Signs a user up; returns what they sign in with.
async fn account(app: &TestApp) -> (Value, Client) {
    let signup = new_signup();
    let answer = app.anonymous().post("/auth/signup", signup.clone()).await.expect(201);
    let login = json!({"email": signup["email"], "password": signup["password"]});
    (login, app.anonymous().signed_in(&answer))
}

async fn refresh(app: &TestApp, token: &str) -> crate::Reply {
    app.anonymous().post("/auth/refresh", json!({ "refresh_token": token })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_in_answers_tokens_the_user_and_their_workspaces() {
    let app = TestApp::start().await;
    let (mut login, owner) = account(&app).await;
    // Addresses are compared without regard to case and to space around them.
    login["email"] = format!(" {} ", login["email"].as_str().unwrap().to_uppercase()).into();

    let answer = app.anonymous().post("/auth/login", login).await.expect(200);

    insta::assert_json_snapshot!(masked(&answer), @r#"
    {
      "access_token": "[token]",
      "current_workspace_id": "[id]",
      "device_token": "[token]",
      "expires_in": 1800,
      "refresh_token": "[token]",
      "token_type": "bearer",
      "user": {
        "avatar_url": null,
        "bio": null,
        "created_at": "[time]",
        "email": "[email]",
        "email_verified": false,
        "id": "[id]",
        "name": "Ada Lovelace",
        "pending_email": null,
        "phone": null,
        "title": null
      },
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
    assert_eq!(answer["workspaces"][0]["id"].as_str(), owner.workspace.as_deref());
    let mut ada = app.anonymous().signed_in(&answer);
    ada.workspace = owner.workspace.clone();
    assert_ne!(ada.token, owner.token);
    ada.get("/recordsets").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_an_unknown_address_get_the_same_answer() {
    let app = TestApp::start().await;
    let (login, _) = account(&app).await;

    let wrong = json!({"email": login["email"], "password": "not the battery staple"});
    let unknown = json!({"email": "unknown@example.com", "password": login["password"]});
    let (wrong, unknown) = (
        app.anonymous().post("/auth/login", wrong).await,
        app.anonymous().post("/auth/login", unknown).await,
    );

    assert_eq!((wrong.status, unknown.status), (401, 401));
    assert_eq!(wrong.text, unknown.text);
    assert_eq!(
        wrong.json(),
        json!({"error": "credentials_invalid", "detail": "the email or the password is wrong"})
    );
    for weird in
        [json!({"email": "", "password": ""}), json!({"email": "%", "password": "x".repeat(100_000)})]
    {
        assert_eq!(app.anonymous().post("/auth/login", weird).await.text, unknown.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn someone_who_was_deactivated_is_out_at_once() {
    let app = TestApp::start().await;
    let (login, owner) = account(&app).await;
    sqlx::query("update control.users set is_active = false").execute(&app.database.pool).await.unwrap();

    assert_eq!(app.anonymous().post("/auth/login", login).await.error(401), "credentials_invalid");
    assert_eq!(owner.get("/auth/me").await.error(401), "token_invalid");
    assert_eq!(owner.get("/recordsets").await.error(401), "token_invalid");
    assert_eq!(refresh(&app, owner.refresh_token.as_ref().unwrap()).await.error(401), "token_invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refresh_trades_the_token_for_a_new_one() {
    let app = TestApp::start().await;
    let (_, owner) = account(&app).await;
    let first = owner.refresh_token.clone().unwrap();

    let answer = refresh(&app, &first).await.expect(200);

    insta::assert_json_snapshot!(masked(&answer), @r#"
    {
      "access_token": "[token]",
      "expires_in": 1800,
      "refresh_token": "[token]",
      "token_type": "bearer"
    }
    "#);
    let ada = owner.clone().signed_in(&answer);
    assert_ne!(ada.refresh_token, owner.refresh_token);
    ada.get("/recordsets").await.expect(200);
    owner.get("/recordsets").await.expect(200);
    refresh(&app, &ada.refresh_token.unwrap()).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_that_comes_twice_ends_its_session_and_no_other() {
    let app = TestApp::start().await;
    let (login, owner) = account(&app).await;
    let elsewhere = app.anonymous().signed_in(&app.anonymous().post("/auth/login", login).await.expect(200));
    let first = owner.refresh_token.clone().unwrap();
    let ada = owner.clone().signed_in(&refresh(&app, &first).await.expect(200));
    app.run("update refresh_tokens set used_at = used_at - interval '11 seconds'").await;

    let reused = refresh(&app, &first).await;

    assert_eq!(
        reused.expect(401),
        json!({"error": "token_invalid", "detail": "the refresh token is invalid or has expired: sign in again"})
    );
    assert_eq!(refresh(&app, ada.refresh_token.as_ref().unwrap()).await.error(401), "token_invalid");
    for client in [&owner, &ada] {
        assert_eq!(client.get("/auth/me").await.error(401), "token_invalid");
        assert_eq!(client.get("/recordsets").await.error(401), "token_invalid");
    }
    elsewhere.get("/auth/me").await.expect(200);
    refresh(&app, elsewhere.refresh_token.as_ref().unwrap()).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn tabs_that_refresh_at_once_get_the_same_successor_and_stay_signed_in() {
    let app = TestApp::start().await;
    let (_, owner) = account(&app).await;
    let token = owner.refresh_token.clone().unwrap();

    let tabs = futures::future::join_all((0..5).map(|_| refresh(&app, &token))).await;

    let answers: Vec<_> = tabs.into_iter().map(|reply| reply.expect(200)).collect();
    for answer in &answers {
        assert_eq!(answer["refresh_token"], answers[0]["refresh_token"]);
        owner.clone().signed_in(answer).get("/recordsets").await.expect(200);
    }
    let plain = format!(
        "select count(*) from refresh_tokens t where t::text like '%{}%'",
        answers[0]["refresh_token"].as_str().unwrap()
    );
    assert_eq!(app.count(&plain).await, 0, "the successor is not kept as it is");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_a_refresh_is_had_again_until_ten_seconds_have_passed() {
    let app = TestApp::start().await;
    let (_, owner) = account(&app).await;
    let first = owner.refresh_token.clone().unwrap();
    let second = refresh(&app, &first).await.expect(200)["refresh_token"].as_str().unwrap().to_owned();
    let third = refresh(&app, &second).await.expect(200)["refresh_token"].as_str().unwrap().to_owned();

    for (token, successor) in [(&first, &second), (&second, &third)] {
        assert_eq!(refresh(&app, token).await.expect(200)["refresh_token"], **successor);
    }
    app.run("update refresh_tokens set used_at = used_at - interval '11 seconds'").await;
    let fourth = refresh(&app, &third).await.expect(200)["refresh_token"].clone();
    let salted = "select count(*) from refresh_tokens where successor_salt is not null";
    assert_eq!(app.count(salted).await, 1, "nothing leads from an old token to the present one");
    assert_eq!(refresh(&app, &second).await.error(401), "token_invalid");
    assert_eq!(
        refresh(&app, fourth.as_str().unwrap()).await.error(401),
        "token_invalid",
        "the session has ended"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_that_is_nonsense_or_too_old_is_refused() {
    let app = TestApp::start().await;
    let (_, owner) = account(&app).await;
    for nonsense in ["", "nonsense", owner.token.as_ref().unwrap()] {
        assert_eq!(refresh(&app, nonsense).await.error(401), "token_invalid");
    }
    let missing = app.anonymous().post("/auth/refresh", json!({})).await.expect(422);
    assert_eq!(
        missing,
        json!({"error": "parameter_missing", "detail": "required and missing: refresh_token",
               "fields": {"refresh_token": ["is required"]}})
    );
    sqlx::query("update control.refresh_tokens set expires_at = now()")
        .execute(&app.database.pool)
        .await
        .unwrap();
    assert_eq!(refresh(&app, owner.refresh_token.as_ref().unwrap()).await.error(401), "token_invalid");
    // Too old is not stolen: the session goes on for as long as its access token does.
    owner.get("/auth/me").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_ends_the_session_at_once() {
    let app = TestApp::start().await;
    let (login, owner) = account(&app).await;
    let elsewhere = app.anonymous().signed_in(&app.anonymous().post("/auth/login", login).await.expect(200));

    let answer = owner.post("/auth/logout", json!({})).await.expect(200);

    assert_eq!(answer, json!({"message": "Signed out."}));
    assert_eq!(owner.get("/auth/me").await.error(401), "token_invalid");
    assert_eq!(owner.get("/recordsets").await.error(401), "token_invalid");
    assert_eq!(owner.post("/auth/logout", json!({})).await.error(401), "token_invalid");
    assert_eq!(refresh(&app, owner.refresh_token.as_ref().unwrap()).await.error(401), "token_invalid");
    elsewhere.get("/auth/me").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn me_is_the_user_their_workspaces_and_if_asked_their_member() {
    let app = TestApp::start().await;
    let (owner, eve) = (app.owner().await, app.owner().await);
    let (own, foreign) = (owner.workspace.as_ref().unwrap(), eve.workspace.as_ref().unwrap());

    let with_member = owner.get(&format!("/auth/me?workspace_id={own}")).await.expect(200);
    insta::assert_json_snapshot!(masked(&with_member), @r#"
    {
      "avatar_url": null,
      "bio": null,
      "created_at": "[time]",
      "current_workspace_id": "[id]",
      "email": "[email]",
      "email_verified": true,
      "id": "[id]",
      "member": {
        "avatar_url": null,
        "bio": null,
        "created_at": "[time]",
        "email": "[email]",
        "id": "[id]",
        "name": "Ada Lovelace",
        "phone": null,
        "role": "owner",
        "title": null,
        "user_id": "[id]"
      },
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
    let mut without = with_member.clone();
    without.as_object_mut().unwrap().remove("member");
    assert_eq!(owner.get("/auth/me").await.expect(200), without);

    let nowhere = uuid::Uuid::now_v7().to_string();
    for other in [foreign, &nowhere] {
        let answer = owner.get(&format!("/auth/me?workspace_id={other}")).await;
        assert_eq!(answer.error(404), "record_not_found");
    }
    assert_eq!(owner.get("/auth/me?workspace_id=x").await.error(422), "record_invalid");
}
