//! Webhook events of Stripe: accepted by signature, applied once, and ignored when they don't concern us.

use serde_json::json;

use crate::{
    Client, Stripe, TestApp,
    app::new_signup,
    stripe::{paid_checkout, signed, subscribed, tell},
    workspace::workspaces::post_and_wait,
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
async fn who_has_not_paid_yet_is_not_invited() {
    let stripe = Stripe::start().await;
    let app = stripe.start_app(&[]).await;
    let mut unpaid = paid_checkout("eve@example.com");
    unpaid["payment_status"] = "unpaid".into();
    let mut one_time = paid_checkout("mallory@example.com");
    one_time["mode"] = "payment".into();
    for checkout in [unpaid.clone(), one_time] {
        stripe.tell(&app, "checkout.session.completed", &checkout).await.expect(200);
    }
    assert_eq!(app.count("select count(*) from control.stripe_invites").await, 0);

    unpaid["payment_status"] = "paid".into();
    stripe.tell(&app, "checkout.session.async_payment_succeeded", &unpaid).await.expect(200);
    assert_eq!(app.count("select count(*) from control.stripe_invites").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_paid_and_has_an_account_makes_the_workspace_with_the_mailed_code_once() {
    let stripe = Stripe::start().await;
    let app = stripe.start_app(&[]).await;
    let signup = new_signup();
    let email = signup["email"].as_str().unwrap().to_owned();
    let ada = app.anonymous().signed_in(&app.anonymous().post("/auth/signup", signup).await.expect(201));
    stripe.tell(&app, "checkout.session.completed", &paid_checkout(&email)).await.expect(200);
    let subject = "Your payment has arrived: create your workspace";
    let mail = app.mail(&email, subject, 1).await;
    assert!(mail.link().path().ends_with("/new-workspace"), "{}", mail.text);
    let new = json!({ "name": "Difference Works", "invite_code": mail.in_link("code") });

    let made = post_and_wait(&ada, "/workspaces", new.clone()).await.expect(201);

    assert_eq!((&made["plan"], &made["role"]), (&json!("growth"), &json!("owner")));
    assert_eq!(ada.post("/workspaces", new).await.error(410), "gone");
    let wrong = json!({ "name": "Again", "invite_code": "no code" });
    assert_eq!(ada.post("/workspaces", wrong).await.error(404), "record_not_found");
    // The plan follows the subscription from now on.
    let ended = subscribed(&format!("sub_{email}"), "canceled", "price_growth");
    stripe.tell(&app, "customer.subscription.deleted", &ended).await.expect(200);
    let at = ada.in_workspace(made["id"].as_str());
    assert_eq!(plan_of(&app, &at).await, "free");
}

/// A user who pays for their workspace with `sub_1`, as the first thing that this Stripe has made after `cus_0`.
async fn payer(app: &TestApp) -> Client {
    let mut signup = new_signup();
    signup["payment_method_id"] = "pm_card".into();
    let payer = app.anonymous().signed_in(&app.anonymous().post("/auth/signup", signup).await.expect(201));
    assert_eq!(plan_of(app, &payer).await, "starter");
    payer
}

const PLAN_CHANGES: &str = "select count(*) from shard.audit_log where action = 'workspace.plan_changed'";

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_has_the_plan_that_its_subscription_is_for() {
    let stripe = Stripe::start().await;
    let app = stripe.start_app(&[]).await;
    let ada = payer(&app).await;
    let told = async |kind: &str, id: &str, status: &str, price: &str| {
        let kind = format!("customer.subscription.{kind}");
        stripe.tell(&app, &kind, &subscribed(id, status, price)).await.expect(200)
    };

    let answer = told("updated", "sub_1", "active", "price_growth").await;
    assert_eq!((&answer["success"], &answer["data"]), (&json!(true), &json!({"received": true})));
    assert_eq!(plan_of(&app, &ada).await, "growth");
    told("updated", "sub_1", "active", "price_of_another_product").await;
    told("updated", "sub_of_no_workspace", "canceled", "price_growth").await;
    assert_eq!(plan_of(&app, &ada).await, "growth", "what is not known changes nothing");
    told("updated", "sub_1", "past_due", "price_starter").await;
    assert_eq!(plan_of(&app, &ada).await, "starter");
    told("paused", "sub_1", "paused", "price_starter").await;
    assert_eq!(plan_of(&app, &ada).await, "free");
    told("resumed", "sub_1", "active", "price_growth").await;
    told("deleted", "sub_1", "canceled", "price_growth").await;
    assert_eq!(plan_of(&app, &ada).await, "free");
    assert_eq!(app.count(PLAN_CHANGES).await, 6, "the subscription, and each change of the plan");
}

#[tokio::test(flavor = "multi_thread")]
async fn notices_that_come_late_or_again_change_nothing() {
    let stripe = Stripe::start().await;
    let app = stripe.start_app(&[]).await;
    let ada = payer(&app).await;
    let active = subscribed("sub_1", "active", "price_growth");
    let over = subscribed("sub_1", "canceled", "price_growth");
    stripe.tell(&app, "customer.subscription.deleted", &over).await.expect(200);
    let changes = app.count(PLAN_CHANGES).await;

    // The checkout that was paid long ago, and what became of it before it ended.
    let paid = json!({"id": "cs_late", "mode": "subscription", "payment_status": "paid", "customer": "cus_0",
                      "subscription": "sub_1", "metadata": {"plan": "growth"}});
    for (kind, object) in [
        ("customer.subscription.updated", &active),
        ("checkout.session.completed", &paid),
        ("customer.subscription.deleted", &over),
        ("customer.subscription.updated", &active),
    ] {
        stripe.tell_only(&app, kind, object).await.expect(200);
        assert_eq!(plan_of(&app, &ada).await, "free", "{kind}");
    }
    assert_eq!(app.count(PLAN_CHANGES).await, changes, "nothing changed, and nothing is said to have");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_that_is_told_again_does_not_take_a_newer_subscriptions_place() {
    let stripe = Stripe::start().await;
    let app = stripe.start_app(&[]).await;
    let ada = payer(&app).await;
    let checkout = |subscription: &str| {
        json!({"id": format!("cs_{subscription}"), "mode": "subscription", "payment_status": "paid",
               "customer": "cus_0", "subscription": subscription, "metadata": {}})
    };
    let mut newer = subscribed("sub_newer", "active", "price_growth");
    newer["created"] = 1_800_000_000.into();
    stripe.become_so(&newer);
    stripe.tell(&app, "checkout.session.completed", &checkout("sub_newer")).await.expect(200);
    assert_eq!(plan_of(&app, &ada).await, "growth");

    stripe.tell(&app, "checkout.session.completed", &checkout("sub_1")).await.expect(200);
    let over = subscribed("sub_1", "canceled", "price_starter");
    stripe.tell(&app, "customer.subscription.deleted", &over).await.expect(200);

    assert_eq!(plan_of(&app, &ada).await, "growth");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_for_what_is_not_sold_here_is_in_the_audit_once_and_invites_nobody() {
    let stripe = Stripe::start().await;
    let app = stripe.start_app(&[]).await;
    let mut checkout = paid_checkout("ada@example.com");
    checkout["metadata"] = json!({"plan": "enterprise"});
    let subscription = checkout["subscription"].as_str().unwrap().to_owned();
    stripe.become_so(&subscribed(&subscription, "active", "price_of_another_product"));
    for _ in 0..2 {
        stripe.tell(&app, "checkout.session.completed", &checkout).await.expect(200);
    }
    assert_eq!(app.count("select count(*) from control.stripe_invites").await, 0);
    let noted = "select count(*) from shard.audit_log where action = 'payment.unmatched'";
    assert_eq!(app.count(noted).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_stripe_is_away_its_notices_are_refused_so_that_it_sends_them_again() {
    let stripe = Stripe::start().await;
    let app = stripe.start_app(&[]).await;
    let ada = payer(&app).await;
    let growth = subscribed("sub_1", "active", "price_growth");
    stripe.be_away_for(1);
    let refused = stripe.tell(&app, "customer.subscription.updated", &growth).await;
    assert_eq!(refused.error(503), "stripe_unavailable");
    assert_eq!(plan_of(&app, &ada).await, "starter");
    stripe.tell_only(&app, "customer.subscription.updated", &growth).await.expect(200);
    assert_eq!(plan_of(&app, &ada).await, "growth");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_secret_no_notice_is_taken() {
    let app = TestApp::start().await;
    let signature = signed("", jobs::clock::now().timestamp(), "{}");
    assert_eq!(tell(&app.anonymous(), "{}", &signature).await.error(503), "stripe_not_configured");
}
