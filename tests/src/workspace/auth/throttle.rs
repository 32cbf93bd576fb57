//! Throttled sign-in: after so many failures nobody is answered for a while.

use futures::future::join_all;
use serde_json::json;

use super::{PASSWORD, Person, audited, sign_in};
use crate::TestApp;

const UNKNOWN: &str = "nobody@example.com";

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_account_answers_the_same_as_an_address_that_nobody_has() {
    let app = TestApp::start().await;
    let ada = Person::new(&app).await;
    let mut answers = Vec::new();
    for email in [ada.email.as_str(), UNKNOWN] {
        let mut seen = Vec::new();
        for _ in 0..5 {
            let failed = sign_in(&app, email, "not the battery staple").await;
            seen.push((failed.status, failed.text));
        }
        // Now even the right password isn't looked at.
        let locked = sign_in(&app, &email.to_uppercase(), PASSWORD).await;
        let wait: u64 = locked.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
        let text = locked.text.replace(&format!("{wait} s"), "… s");
        assert_eq!(locked.error(429), "rate_limited");
        seen.push((429, text));
        answers.push(seen);
    }
    assert_eq!(answers[0], answers[1]);
    assert!(answers[0][..5].iter().all(|(status, _)| *status == 401), "{answers:?}");
    assert_eq!(audited(&app, Some(ada.id)).await.last().unwrap(), "sign_in.locked");
    // What is stored names nobody.
    let named = format!("select count(*) from control.login_failures f where f::text like '%{UNKNOWN}%'");
    assert_eq!(app.count(&named).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_any_number_of_guesses_at_once_five_are_answered() {
    let app = TestApp::start().await;
    let ada = Person::new(&app).await;
    let guesses = (0..30).map(|i| {
        let (app, email) = (&app, &ada.email);
        async move { sign_in(app, email, &format!("guess number {i}")).await.status }
    });
    let mut statuses = join_all(guesses).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [vec![401; 5], vec![429; 25]].concat());
    // A sixth failure would have locked for longer.
    let failures = "select failures::bigint from control.login_failures order by failures limit 1";
    assert_eq!(app.count(failures).await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn people_who_sign_in_rightly_at_once_do_not_lock_themselves_out() {
    let app = TestApp::start().await;
    let ada = Person::new(&app).await;
    let tries = (0..12).map(|_| sign_in(&app, &ada.email, PASSWORD));
    assert!(join_all(tries).await.iter().all(|reply| reply.status == 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_forgets_the_failures_before_it() {
    let app = TestApp::start().await;
    let ada = Person::new(&app).await;
    for _ in 0..3 {
        for _ in 0..4 {
            sign_in(&app, &ada.email, "not the battery staple").await.expect(401);
        }
        sign_in(&app, &ada.email, PASSWORD).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_is_over_in_time_and_the_next_one_is_twice_as_long() {
    let app = TestApp::start().await;
    let ada = Person::new(&app).await;
    for _ in 0..5 {
        sign_in(&app, &ada.email, "not the battery staple").await.expect(401);
    }
    let time_passes = "update control.login_failures set locked_until = now() where locked_until is not null";
    sqlx::query(time_passes).execute(&app.database.pool).await.unwrap();
    sign_in(&app, &ada.email, "not the battery staple").await.expect(401);
    let locked = sign_in(&app, &ada.email, PASSWORD).await;
    let wait: u64 = locked.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((61..=120).contains(&wait), "{wait}");

    sqlx::query(time_passes).execute(&app.database.pool).await.unwrap();
    sign_in(&app, &ada.email, PASSWORD).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_locked_account_locks_nobody_elses_and_one_address_many() {
    let app = TestApp::start().await;
    let ada = Person::new(&app).await;
    for account in 0..9 {
        for _ in 0..5 {
            sign_in(&app, &format!("somebody{account}@example.com"), "a guess").await.expect(401);
        }
    }
    sign_in(&app, &ada.email, PASSWORD).await.expect(200);
    // The fiftieth failure from one address locks it, also for who signs in rightly.
    for _ in 0..5 {
        sign_in(&app, UNKNOWN, "a guess").await.expect(401);
    }
    assert_eq!(sign_in(&app, &ada.email, PASSWORD).await.error(429), "rate_limited");
    // Who is in stays in.
    ada.client.get("/auth/me").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_count_wherever_they_are_asked_for() {
    let app = TestApp::start().await;
    let ada = Person::new(&app).await;
    let wrong = json!({"current_password": "a guess", "new_password": "a stitch in time"});
    for _ in 0..5 {
        ada.client.post("/auth/me/password", wrong.clone()).await.expect(422);
    }
    assert_eq!(ada.client.post("/auth/me/password", wrong).await.error(429), "rate_limited");
    assert_eq!(sign_in(&app, &ada.email, PASSWORD).await.error(429), "rate_limited");
}
