//! Signing up with an invite after a payment: once, by its code or by address and access code.

use serde_json::{Value, json};
use sqlx::Row;

use super::signup::overtake;
use crate::{
    Client, Stripe, TestApp,
    mailbox::{mails_to, parameter},
    masked,
    stripe::{paid_checkout, subscribed},
};

const ADA: &str = "ada@example.com";
const PASSWORD: &str = "correct horse battery staple";

/// Lets Ada pay; answers the code and the access code in her mail.
async fn invite(stripe: &Stripe, app: &TestApp) -> (String, String) {
    stripe.tell(app, "checkout.session.completed", &paid_checkout(ADA)).await.expect(200);
    let mail = mails_to(app, ADA, 1).await.remove(0);
    assert!(mail.contains("https://app.example.com/register?code="), "{mail}");
    let (_, after) = mail.split_once("access code, it is ").expect("the mail has an access code");
    (parameter(&mail, "code"), after.chars().take(14).collect())
}

fn with_code(code: &str) -> Value {
    json!({"invite_code": code, "password": PASSWORD, "skip_seed": true})
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_paid_signs_up_with_the_mailed_code_once() {
    let stripe = Stripe::start().await;
    let app = stripe.start_app(&[]).await;
    let (code, _) = invite(&stripe, &app).await;
    let visitor = app.anonymous();
    let path = format!("/auth/signup/stripe-invite/{code}");
    insta::assert_json_snapshot!(masked(&visitor.get(&path).await.expect(200)), @r#"
    {
      "company_name": "Analytical Engines",
      "email": "ada@example.com",
      "expires_at": "[time]",
      "name": "Ada Lovelace",
      "plan": "growth"
    }
    "#);

    let answer = visitor.post("/auth/signup/stripe-invite", with_code(&code)).await.expect(201);
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

    let me = visitor.clone().signed_in(&answer).get("/auth/me").await.expect(200);
    assert_eq!((&me["email"], &me["name"]), (&json!(ADA), &json!("Ada Lovelace")));
    let bought =
        sqlx::query("select plan, stripe_customer_id, stripe_subscription_id from control.workspaces")
            .fetch_one(&app.database.pool)
            .await
            .unwrap();
    let bought: [String; 3] = [0, 1, 2].map(|column| bought.get(column));
    assert_eq!(bought, ["growth", "cus_ada@example.com", "sub_ada@example.com"]);
    assert_eq!(stripe.requests(), 0, "what is paid already is not asked for");
    assert_eq!(visitor.get(&path).await.error(410), "gone");
    assert_eq!(visitor.post("/auth/signup/stripe-invite", with_code(&code)).await.error(410), "gone");
    let login = json!({"email": ADA, "password": PASSWORD});
    visitor.post("/auth/login", login).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_webhook_event_sends_no_second_invite() {
    let stripe = Stripe::start().await;
    let app = stripe.start_app(&[]).await;
    invite(&stripe, &app).await;
    for kind in ["checkout.session.completed", "checkout.session.async_payment_succeeded"] {
        stripe.tell(&app, kind, &paid_checkout(ADA)).await.expect(200);
    }
    assert_eq!(app.count("select count(*) from control.stripe_invites").await, 1);
    assert_eq!(app.count("select count(*) from shard.all_jobs where kind = 'mail.send'").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_is_found_only_by_address_and_access_code_together() {
    let stripe = Stripe::start().await;
    let app = stripe.start_app(&[]).await;
    let (mailed, access_code) = invite(&stripe, &app).await;
    let visitor = app.anonymous();
    let look_up = async |email: &str, access_code: &str| {
        let asked = json!({"email": email, "access_code": access_code});
        visitor.post("/auth/lookup-invite", asked).await
    };

    let known = look_up(ADA, "0000-0000-0000").await.expect(404);
    let unknown = look_up("eve@example.com", &access_code).await.expect(404);
    assert_eq!(known, unknown);

    let found = look_up("ADA@example.com", &access_code.to_lowercase().replace('-', "")).await.expect(200);
    assert_eq!((&found["email"], &found["plan"]), (&json!(ADA), &json!("growth")));
    let code = found["invite_code"].as_str().unwrap();
    assert_ne!(code, mailed);
    for code in [code, &mailed] {
        visitor.get(&format!("/auth/signup/stripe-invite/{code}")).await.expect(200);
    }
    let started = visitor.post("/auth/signup/stripe-invite/async", with_code(code)).await.expect(202);
    let end = visitor.follow(&started).await;
    assert_eq!(
        (&end["status"], &end["result"]["workspace_name"]),
        (&json!("COMPLETED"), &json!("Analytical Engines"))
    );
    let ada = visitor.clone().signed_in(&end["result"]);
    ada.get("/recordsets").await.expect(200);

    assert_eq!(look_up(ADA, &access_code).await.expect(404), unknown, "it is used");
    visitor.get(&format!("/auth/signup/stripe-invite/{mailed}")).await.expect(410);
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_at_access_codes_ends_soon_whether_or_not_there_is_an_invite() {
    let stripe = Stripe::start().await;
    let app = stripe.start_app(&[]).await;
    let (_, access_code) = invite(&stripe, &app).await;
    for email in [ADA, "eve@example.com"] {
        let guess = async |access_code: &str| {
            let asked = json!({"email": email, "access_code": access_code});
            app.anonymous().post("/auth/lookup-invite", asked).await
        };
        for _ in 0..5 {
            assert_eq!(guess("0000-0000-0000").await.status, 404);
        }
        assert_eq!(guess(&access_code).await.error(429), "sign_in_locked", "{email}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_who_use_one_invite_at_once_one_wins() {
    let stripe = Stripe::start().await;
    let app = stripe.start_app(&[]).await;
    let (code, _) = invite(&stripe, &app).await;
    let visitor = app.anonymous();

    let all = (0..4).map(|_| visitor.post("/auth/signup/stripe-invite/async", with_code(&code)));
    let replies = futures::future::join_all(all).await;

    let mut statuses: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [202, 410, 410, 410]);
    let started = replies.into_iter().find(|reply| reply.status == 202).unwrap().json();
    assert_eq!(visitor.follow(&started).await["status"], "COMPLETED");
    assert_eq!(app.count("select count(*) from control.workspaces").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_up_that_fails_gives_its_invite_back() {
    let stripe = Stripe::start().await;
    let app = stripe.start_app(&[]).await;
    let (code, _) = invite(&stripe, &app).await;
    let (visitor, signup) = (app.anonymous(), with_code(&code));

    let begin = visitor.post("/auth/signup/stripe-invite", signup.clone());
    let failed = overtake(&app, &json!({"email": ADA}), begin).await;

    assert_eq!(failed.error(409), "email_taken");
    assert_eq!(visitor.post("/auth/signup/stripe-invite", signup.clone()).await.error(409), "email_taken");
    sqlx::query("delete from control.users").execute(&app.database.pool).await.unwrap();
    visitor.post("/auth/signup/stripe-invite", signup).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_clerk_sign_in_needs_no_password() {
    let stripe = Stripe::start().await;
    let app = stripe.start_app(&[]).await;
    let (code, _) = invite(&stripe, &app).await;
    let visitor = app.anonymous();
    let sign_up = async |body: Value| visitor.post("/auth/signup/stripe-invite", body).await;

    let refused = sign_up(json!({"invite_code": code})).await.expect(422);
    assert_eq!(refused["fields"], json!({"password": ["is required"]}));
    let wrong = json!({"invite_code": code, "password": "short", "clerk_id": "a b", "company_name": " "});
    let refused = sign_up(wrong).await.expect(422);
    let fields: Vec<_> = refused["fields"].as_object().unwrap().keys().collect();
    assert_eq!(fields, ["clerk_id", "company_name", "password"]);

    let body = json!({"invite_code": code, "clerk_id": "user_2abc", "company_name": "Engines"});
    let answer = sign_up(body).await.expect(201);
    assert_eq!(answer["workspace_name"], "Engines");
    let by_clerk = "select count(*) from control.users where clerk_id = 'user_2abc' and password_hash like '$argon2id$%'";
    assert_eq!(app.count(by_clerk).await, 1);
    let names: Vec<Value> = visitor.clone().signed_in(&answer).get("/recordsets").await.expect(200)["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|recordset| recordset["name"].clone())
        .collect();
    assert_eq!(names, ["Contacts"], "an example, unless it is declined");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_invite_or_one_with_an_ended_subscription_is_gone() {
    let stripe = Stripe::start().await;
    let app = stripe.start_app(&[]).await;
    let (code, access_code) = invite(&stripe, &app).await;
    let over = subscribed(&format!("sub_{ADA}"), "canceled", "price_growth");
    stripe.tell(&app, "customer.subscription.deleted", &over).await.expect(200);

    let visitor = app.anonymous();
    visitor.get(&format!("/auth/signup/stripe-invite/{code}")).await.expect(410);
    visitor.post("/auth/signup/stripe-invite", with_code(&code)).await.expect(410);
    let asked = json!({"email": ADA, "access_code": access_code});
    visitor.post("/auth/lookup-invite", asked).await.expect(404);
    assert_eq!(app.count("select count(*) from control.signups").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_invite_code_is_not_found() {
    let stripe = Stripe::start().await;
    let app = stripe.start_app(&[]).await;
    let visitor = app.anonymous();
    for code in ["x".repeat(43), format!("{}{}", uuid::Uuid::now_v7().simple(), "0".repeat(12))] {
        assert_eq!(
            visitor.get(&format!("/auth/signup/stripe-invite/{code}")).await.error(404),
            "record_not_found"
        );
        for path in ["/auth/signup/stripe-invite", "/auth/signup/stripe-invite/async"] {
            assert_eq!(visitor.post(path, with_code(&code)).await.error(404), "record_not_found");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_stripe_every_route_of_invites_is_refused() {
    let app = TestApp::start().await;
    let visitor: Client = app.anonymous();
    let lookup = json!({"email": ADA, "access_code": "x"});
    for reply in [
        visitor.get("/auth/signup/stripe-invite/x").await,
        visitor.post("/auth/lookup-invite", lookup).await,
        visitor.post("/auth/signup/stripe-invite", with_code("x")).await,
        visitor.post("/auth/signup/stripe-invite/async", with_code("x")).await,
    ] {
        assert_eq!(reply.error(503), "stripe_not_configured");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clerk_id_is_of_one_account() {
    let stripe = Stripe::start().await;
    let app = stripe.start_app(&[]).await;
    app.owner().await;
    app.run("update control.users set clerk_id = 'user_2abc'").await;
    let (code, _) = invite(&stripe, &app).await;
    let body = json!({"invite_code": code, "clerk_id": "user_2abc", "company_name": "Engines"});
    let refused = app.anonymous().post("/auth/signup/stripe-invite", body).await;
    assert_eq!(refused.error(409), "clerk_id_taken");
}
