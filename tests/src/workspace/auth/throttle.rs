//! Throttled sign-in: after so many failures every attempt is refused for a while.

use futures::{StreamExt, future::join_all, stream};
use reqwest::Method;
use serde_json::{Value, json};

use super::{PASSWORD, Person, audited, sign_in};
use crate::{Reply, TestApp, client::send};

const UNKNOWN: &str = "unknown@example.com";

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
        assert_eq!(locked.error(429), "sign_in_locked");
        seen.push((429, text));
        answers.push(seen);
    }
    assert_eq!(answers[0], answers[1]);
    assert!(answers[0][..5].iter().all(|(status, _)| *status == 401), "{answers:?}");
    assert_eq!(audited(&app, Some(ada.id)).await.last().unwrap(), "sign_in.locked");
    // What is stored names no account.
    let named = format!("select count(*) from control.login_failures f where f::text like '%{UNKNOWN}%'");
    assert_eq!(app.count(&named).await, 0);
}

/// Millrace behind a proxy, so that requests can come from different networks.
async fn behind_a_proxy() -> TestApp {
    TestApp::start_with(&[("TRUSTED_PROXIES", "127.0.0.0/8")]).await
}

async fn sign_in_from(app: &TestApp, ip: &str, login: Value) -> Reply {
    send(app.anonymous().request(Method::POST, "/auth/login").header("X-Forwarded-For", ip).json(&login))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_from_elsewhere_do_not_lock_the_owner_out() {
    let app = behind_a_proxy().await;
    let ada = Person::new(&app).await;
    let login = |password: &str| json!({"email": ada.email, "password": password});
    for _ in 0..5 {
        sign_in_from(&app, "203.0.113.1", login("a guess")).await.expect(401);
    }
    assert_eq!(sign_in_from(&app, "203.0.113.1", login(PASSWORD)).await.error(429), "sign_in_locked");
    sign_in_from(&app, "203.0.113.2", login(PASSWORD)).await.expect(200);
    // The owner's success doesn't reset the guesser's failures.
    assert_eq!(sign_in_from(&app, "203.0.113.1", login(PASSWORD)).await.error(429), "sign_in_locked");
    // An IPv6 client has as many addresses as it likes, in one network.
    for host in 1..=5 {
        sign_in_from(&app, &format!("2001:db8:1:2::{host}"), login("a guess")).await.expect(401);
    }
    let another = sign_in_from(&app, "2001:db8:1:2:3:4:5:6", login(PASSWORD)).await;
    assert_eq!(another.error(429), "sign_in_locked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_has_signed_in_before_is_not_locked_by_guesses_from_many_networks() {
    let app = behind_a_proxy().await;
    let (ada, eve) = (Person::new(&app).await, Person::new(&app).await);
    let home = "198.51.100.1";
    let login = |password: &str, device: &Value| {
        let mut login = json!({"email": ada.email, "password": password});
        if !device.is_null() {
            login["device_token"] = device.clone();
        }
        login
    };
    let device_of = async |login| sign_in_from(&app, home, login).await.expect(200)["device_token"].clone();
    let known = device_of(login(PASSWORD, &Value::Null)).await;
    let others = device_of(json!({"email": eve.email, "password": PASSWORD})).await;

    let guesses = (0..100).map(|n| {
        let (app, guess) = (&app, login("a guess", &Value::Null));
        async move { sign_in_from(app, &format!("203.0.{}.{}", n / 5, n % 5), guess).await.status }
    });
    // As many at once as are hashed at once: more would be refused with `Retry-After`.
    let statuses: Vec<u16> = stream::iter(guesses).buffer_unordered(2).collect().await;
    assert!(statuses.iter().all(|status| *status == 401), "{statuses:?}");

    for device in [&Value::Null, &others, &json!("nonsense")] {
        let locked = sign_in_from(&app, home, login(PASSWORD, device)).await;
        assert_eq!(locked.error(429), "sign_in_locked", "{device}");
    }
    let again = device_of(login(PASSWORD, &known)).await;
    // Its own failures lock it, and nothing else.
    for _ in 0..5 {
        sign_in_from(&app, home, login("a guess", &again)).await.expect(401);
    }
    assert_eq!(sign_in_from(&app, home, login(PASSWORD, &known)).await.error(429), "sign_in_locked");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_an_address_reaches_an_account_uncounted() {
    let app = TestApp::start().await;
    let mut signup = crate::app::new_signup();
    signup["email"] = json!("militibici@example.com");
    app.anonymous().post("/auth/signup", signup).await.expect(201);
    // Letters that only fold to the same are another address.
    assert_eq!(sign_in(&app, "mİlİtİbİcİ@example.com", PASSWORD).await.error(401), "credentials_invalid");
    let spellings = [
        "militibici@example.com",
        " MILITIBICI@EXAMPLE.COM ",
        "ｍilitibici@example.com",
        "Militibici@ｅxample.com",
    ];
    for spelling in spellings {
        sign_in(&app, spelling, "a guess").await.expect(401);
    }
    sign_in(&app, spellings[1], "a guess").await.expect(401);
    for spelling in spellings {
        assert_eq!(sign_in(&app, spelling, PASSWORD).await.error(429), "sign_in_locked", "{spelling}");
    }
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
            sign_in(&app, &format!("user{account}@example.com"), "a guess").await.expect(401);
        }
    }
    sign_in(&app, &ada.email, PASSWORD).await.expect(200);
    // The fiftieth failure from one address locks it, also for who signs in rightly.
    for _ in 0..5 {
        sign_in(&app, UNKNOWN, "a guess").await.expect(401);
    }
    assert_eq!(sign_in(&app, &ada.email, PASSWORD).await.error(429), "sign_in_locked");
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
    assert_eq!(ada.client.post("/auth/me/password", wrong).await.error(429), "sign_in_locked");
    assert_eq!(sign_in(&app, &ada.email, PASSWORD).await.error(429), "sign_in_locked");
}
