//! Sign-ups where payments are taken: with something to pay with, without, and when paying fails.

use domain::Actor;
use domain_accounts::{
    signups::{self, SignupId},
    workspaces::provisioning::start_billing,
};
use runtime::{stripe::Payments, web_app};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{Stripe, TestApp, app::new_signup};

fn paying_with(method: &str) -> Value {
    let mut signup = new_signup();
    signup["payment_method_id"] = method.into();
    signup
}

/// A workspace's plan, customer and subscription.
async fn billed(app: &TestApp, workspace: &Value) -> (String, Option<String>, Option<String>) {
    sqlx::query_as(
        "select plan, stripe_customer_id, stripe_subscription_id from control.workspaces where id = $1::uuid",
    )
    .bind(workspace.as_str())
    .fetch_one(&app.database.pool)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_up_with_a_payment_method_gets_a_trial_of_three_days() {
    let stripe = Stripe::start().await;
    let app = stripe.start_app(&[]).await;
    let signup = paying_with("pm_card");

    let answer = app.anonymous().post("/auth/signup", signup.clone()).await.expect(201);

    assert!(answer["checkout_url"].is_null(), "{answer}");
    let workspace = answer["workspace_id"].as_str().unwrap();
    let customers = stripe.made("customers");
    assert_eq!(customers.len(), 1);
    assert_eq!(customers[0]["email"], signup["email"]);
    assert_eq!(customers[0]["metadata[workspace_id]"], workspace);
    let subscriptions = stripe.made("subscriptions");
    assert_eq!(subscriptions.len(), 1);
    let asked = |name: &str| subscriptions[0][name].as_str();
    assert_eq!(
        [
            asked("customer"),
            asked("items[0][price]"),
            asked("trial_period_days"),
            asked("default_payment_method")
        ],
        ["cus_0", "price_starter", "3", "pm_card"]
    );
    let billed = billed(&app, &answer["workspace_id"]).await;
    assert_eq!(billed, ("starter".to_owned(), Some("cus_0".to_owned()), Some("sub_1".to_owned())));
    let on_trial = "select count(*) from control.workspaces
                     where trial_ends_at between now() + interval '2 days' and now() + interval '4 days'";
    assert_eq!(app.count(on_trial).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_up_without_a_payment_method_gets_a_checkout_url_either_way() {
    let stripe = Stripe::start().await;
    let app = stripe.start_app(&[]).await;
    let visitor = app.anonymous();

    let answer = visitor.post("/auth/signup", new_signup()).await.expect(201);
    assert_eq!(answer["checkout_url"], "https://checkout.example.com/c/1");
    let checkout = &stripe.made("checkout/sessions")[0];
    let workspace = answer["workspace_id"].as_str().unwrap();
    let page = format!("https://app.example.com/billing?workspace_id={workspace}");
    assert_eq!(checkout["success_url"], format!("{page}&session_id={{CHECKOUT_SESSION_ID}}"));
    assert_eq!(checkout["cancel_url"], page);
    assert_eq!(checkout["subscription_data[trial_period_days]"], "3");
    assert_eq!(
        billed(&app, &answer["workspace_id"]).await,
        ("free".to_owned(), Some("cus_0".to_owned()), None)
    );

    let started = visitor.post("/auth/signup/async", new_signup()).await.expect(202);
    let end = visitor.follow(&started).await;
    assert_eq!(end["result"]["checkout_url"], "https://checkout.example.com/c/3");

    let mut paid = crate::stripe::paid_checkout("payer@example.com");
    paid["customer"] = "cus_0".into();
    stripe.tell(&app, "checkout.session.completed", &paid).await.expect(200);
    let subscription = Some("sub_payer@example.com".to_owned());
    assert_eq!(
        billed(&app, &answer["workspace_id"]).await,
        ("growth".to_owned(), Some("cus_0".to_owned()), subscription)
    );
    assert_eq!(
        app.count("select count(*) from control.stripe_invites").await,
        0,
        "a customer is no stranger"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_that_is_refused_leaves_nothing_behind_and_another_may_be_tried() {
    let stripe = Stripe::start().await;
    let app = stripe.start_app(&[]).await;
    let mut signup = paying_with("pm_declined");

    let refused = app.anonymous().post("/auth/signup", signup.clone()).await.expect(402);
    assert_eq!(refused, json!({"error": "payment_refused", "detail": "Your card was declined."}));

    for table in ["users", "workspaces", "memberships"] {
        assert_eq!(app.count(&format!("select count(*) from control.{table}")).await, 0, "{table}");
    }
    assert_eq!(app.count("select count(*) from pg_namespace where nspname like 'ws\\_%'").await, 0);
    assert_eq!(app.count("select count(*) from control.signups where password_hash is not null").await, 0);
    signup["payment_method_id"] = "pm_unknown".into();
    assert_eq!(app.anonymous().post("/auth/signup", signup.clone()).await.error(402), "payment_refused");
    signup["payment_method_id"] = "pm_card".into();
    app.anonymous().post("/auth/signup", signup).await.expect(201);
    assert_eq!(stripe.made("customers").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_payment_method_is_refused_before_anything_starts() {
    let stripe = Stripe::start().await;
    let app = stripe.start_app(&[]).await;
    let refused = app.anonymous().post("/auth/signup", paying_with("pm card\n")).await.expect(422);
    assert!(refused["fields"]["payment_method_id"].is_array(), "{refused}");
    assert_eq!((stripe.requests(), app.count("select count(*) from control.signups").await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_stripe_is_retried() {
    let stripe = Stripe::start().await;
    let app = stripe.start_app(&[]).await;
    stripe.be_away_for(1);
    app.anonymous().post("/auth/signup", paying_with("pm_card")).await.expect(201);
    assert_eq!((stripe.made("customers").len(), stripe.made("subscriptions").len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_was_killed_before_it_noted_its_customer_makes_no_second_one() {
    let stripe = Stripe::start().await;
    let app = stripe.start_app(&[]).await;
    app.anonymous().post("/auth/signup", paying_with("pm_card")).await.expect(201);
    let asked = stripe.requests();
    let forget = "update control.workspaces
                     set stripe_customer_id = null, stripe_subscription_id = null, plan = 'free'";
    sqlx::query(forget).execute(&app.database.pool).await.unwrap();
    let id: Uuid =
        sqlx::query_scalar("select id from control.signups").fetch_one(&app.database.pool).await.unwrap();
    let signup = signups::find(&app.database.pool, SignupId(id)).await.unwrap().unwrap();
    let payments = Payments::from_settings(&stripe.settings()).unwrap();
    let (url, actor) = (web_app::default_base(), Actor::default());

    start_billing(&app.database, &payments, &signup, &url, &actor).await.unwrap();
    assert_eq!(stripe.requests(), asked + 2, "it asks again");
    start_billing(&app.database, &payments, &signup, &url, &actor).await.unwrap();
    assert_eq!(stripe.requests(), asked + 2, "and not when it has noted the answer");

    assert_eq!((stripe.made("customers").len(), stripe.made("subscriptions").len()), (1, 1));
    let workspace = json!(signup.workspace_id);
    assert_eq!(
        billed(&app, &workspace).await,
        ("starter".to_owned(), Some("cus_0".to_owned()), Some("sub_1".to_owned()))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_stripe_a_plain_sign_up_works_and_one_with_payment_is_refused() {
    let app = TestApp::start().await;
    assert_eq!(
        app.anonymous().post("/auth/signup", paying_with("pm_card")).await.expect(503),
        json!({"error": "stripe_not_configured",
               "detail": "payments are not enabled in this installation: Stripe is not configured"})
    );
    let answer = app.anonymous().post("/auth/signup", new_signup()).await.expect(201);
    assert_eq!(billed(&app, &answer["workspace_id"]).await, ("free".to_owned(), None, None));
}
