//! What Stripe tells: believed by its signature, done once, and harmless when it doesn't concern us.

use serde_json::json;

use crate::{
    Client, Stripe, TestApp,
    app::new_signup,
    stripe::{paid_checkout, signed, tell},
};

async fn plan_of(app: &TestApp, who: &Client) -> String {
    sqlx::query_scalar("select plan from control.workspaces where id = $1::uuid")
        .bind(who.workspace.as_ref())
        .fetch_one(&app.database.pool)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_without_a_good_signature_of_now_is_refused() {
    let stripe = Stripe::start().await;
    let app = stripe.start_app(&[]).await;
    let visitor = app.anonymous();
    let notice = json!({"id": "evt_1", "type": "checkout.session.completed",
                        "data": {"object": paid_checkout("ada@example.com")}});
    let (payload, now) = (notice.to_string(), jobs::clock::now().timestamp());
    for signature in [
        String::new(),
        signed("whsec_of_somebody_else", now, &payload),
        signed("whsec_of_this_test", now - 600, &payload),
        signed("whsec_of_this_test", now, &payload.replace("growth", "starter")),
    ] {
        assert_eq!(tell(&visitor, &payload, &signature).await.error(400), "signature_invalid", "{signature}");
    }
    let large = "x".repeat((256 << 10) + 1);
    let signature = signed("whsec_of_this_test", now, &large);
    assert_eq!(tell(&visitor, &large, &signature).await.error(413), "payload_too_large");
    let nonsense = signed("whsec_of_this_test", now, "nonsense");
    assert_eq!(tell(&visitor, "nonsense", &nonsense).await.error(422), "record_invalid");
    assert_eq!(app.count("select count(*) from control.stripe_invites").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_an_account_or_has_not_paid_yet_is_not_invited() {
    let stripe = Stripe::start().await;
    let app = stripe.start_app(&[]).await;
    let signup = new_signup();
    app.anonymous().post("/auth/signup", signup.clone()).await.expect(201);
    let known = paid_checkout(signup["email"].as_str().unwrap());
    let mut unpaid = paid_checkout("eve@example.com");
    unpaid["payment_status"] = "unpaid".into();
    let mut one_time = paid_checkout("mallory@example.com");
    one_time["mode"] = "payment".into();
    for checkout in [known, unpaid.clone(), one_time] {
        stripe.tell(&app, "checkout.session.completed", &checkout).await.expect(200);
    }
    assert_eq!(app.count("select count(*) from control.stripe_invites").await, 0);

    unpaid["payment_status"] = "paid".into();
    stripe.tell(&app, "checkout.session.async_payment_succeeded", &unpaid).await.expect(200);
    assert_eq!(app.count("select count(*) from control.stripe_invites").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_has_the_plan_that_its_subscription_is_for() {
    let stripe = Stripe::start().await;
    let app = stripe.start_app(&[]).await;
    let mut signup = new_signup();
    signup["payment_method_id"] = "pm_card".into();
    let ada = app.anonymous().signed_in(&app.anonymous().post("/auth/signup", signup).await.expect(201));
    let told = async |kind: &str, id: &str, status: &str, price: &str| {
        let subscription = json!({"id": id, "status": status, "trial_end": null,
                                  "items": {"data": [{"price": {"id": price}}]}});
        stripe.tell(&app, &format!("customer.subscription.{kind}"), &subscription).await.expect(200)
    };
    assert_eq!(plan_of(&app, &ada).await, "starter");

    let answer = told("updated", "sub_1", "active", "price_growth").await;
    assert_eq!((&answer["success"], &answer["data"]), (&json!(true), &json!({"received": true})));
    assert_eq!(plan_of(&app, &ada).await, "growth");
    told("updated", "sub_1", "active", "price_of_another_product").await;
    told("updated", "sub_of_nobody", "canceled", "price_growth").await;
    told("paused", "sub_1", "paused", "price_growth").await;
    assert_eq!(plan_of(&app, &ada).await, "growth", "what we don't know changes nothing");
    told("updated", "sub_1", "past_due", "price_starter").await;
    assert_eq!(plan_of(&app, &ada).await, "starter");
    told("updated", "sub_1", "unpaid", "price_starter").await;
    assert_eq!(plan_of(&app, &ada).await, "free");
    told("updated", "sub_1", "active", "price_growth").await;
    told("deleted", "sub_1", "canceled", "price_growth").await;
    assert_eq!(plan_of(&app, &ada).await, "free");
    let audited = "select count(*) from shard.audit_log where action = 'workspace.plan_changed'";
    assert_eq!(app.count(audited).await, 7, "the subscription, and each change of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_secret_no_notice_is_taken() {
    let app = TestApp::start().await;
    let signature = signed("", jobs::clock::now().timestamp(), "{}");
    assert_eq!(tell(&app.anonymous(), "{}", &signature).await.error(503), "stripe_not_configured");
}
