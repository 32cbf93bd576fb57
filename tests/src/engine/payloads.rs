//! Payloads of other releases, and secrets in them.

use std::sync::Arc;

use domain::job_kinds::SendMail;
use jobs::{
    Answer, JobContext, JobError, JobId, JobKind, NewJob, Outcome, PayloadError, PayloadKeys, Pool, Registry,
    RetryPolicy,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Engine;

/// A greeting as an old release knew it.
#[derive(Serialize, Deserialize)]
struct OldGreeting {
    name: String,
}

impl JobKind for OldGreeting {
    const NAME: &'static str = "tests.hello";
    const POOL: Pool = Pool::MAINTENANCE;
}

/// The same as the release before this one knew it.
#[derive(Serialize, Deserialize)]
struct LastGreeting {
    names: Vec<String>,
}

impl JobKind for LastGreeting {
    const NAME: &'static str = "tests.greet";
    const VERSION: i16 = 2;
    const POOL: Pool = Pool::MAINTENANCE;
}

/// The same as it is now: renamed once, changed twice, and version 1 is forgotten.
#[derive(Debug, Serialize, Deserialize)]
struct Greeting {
    people: Vec<String>,
}

impl JobKind for Greeting {
    const NAME: &'static str = "tests.greet";
    const FORMER_NAMES: &'static [&'static str] = &["tests.hello"];
    const VERSION: i16 = 3;
    const POOL: Pool = Pool::MAINTENANCE;

    fn upgrade(version: i16, mut payload: Value) -> Result<Value, PayloadError> {
        match version {
            2 => Ok(json!({ "people": payload["names"].take() })),
            _ => Err(PayloadError::UnsupportedVersion { found: version, current: Self::VERSION }),
        }
    }
}

/// The same as the release after this one will know it.
#[derive(Serialize, Deserialize)]
struct NextGreeting {
    everyone: bool,
}

impl JobKind for NextGreeting {
    const NAME: &'static str = "tests.greet";
    const VERSION: i16 = 4;
    const POOL: Pool = Pool::MAINTENANCE;
}

/// A job with a password, whose length the handler reports.
#[derive(Serialize, Deserialize)]
struct Login {
    account: Account,
}

#[derive(Serialize, Deserialize)]
struct Account {
    name: String,
    password: String,
}

impl JobKind for Login {
    const NAME: &'static str = "tests.login";
    const POOL: Pool = Pool::MAINTENANCE;
    const RETRY: RetryPolicy = RetryPolicy { attempts: 2, ..RetryPolicy::DEFAULT };
    const SECRETS: &'static [&'static str] = &["account.password"];
}

async fn greet(_: Arc<()>, job: Greeting, _: JobContext) -> Answer {
    Ok(Outcome::Done(json!(job.people)))
}

async fn greet_all(_: Arc<()>, job: NextGreeting, _: JobContext) -> Answer {
    Ok(Outcome::Done(json!(job.everyone)))
}

async fn log_in(_: Arc<()>, job: Login, _: JobContext) -> Answer {
    if job.account.password.is_empty() {
        return Err(JobError::fatal("no_password", "there is no password"));
    }
    Ok(Outcome::Done(json!({ "name": job.account.name, "length": job.account.password.len() })))
}

fn registry() -> Registry {
    Registry::new().on(&Arc::new(()), greet).on(&Arc::new(()), log_in)
}

fn keys(list: &[(&str, &str)]) -> PayloadKeys {
    let list: Vec<_> = list.iter().map(|(id, digits)| format!("{id}:{}", digits.repeat(32))).collect();
    list.join(",").parse().unwrap()
}

async fn enqueue<K: JobKind>(engine: &Engine, job: K) -> JobId {
    engine.database.enqueue(NewJob::new(&job)).await.unwrap().id()
}

fn login(password: &str) -> Login {
    Login { account: Account { name: "ada".into(), password: password.into() } }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_of_an_older_release_is_upgraded_or_dies_with_a_reason() {
    let engine = Engine::start(PayloadKeys::default()).await;
    let forgotten = enqueue(&engine, OldGreeting { name: "Ada".into() }).await;
    let upgraded = enqueue(&engine, LastGreeting { names: vec!["Ada".into()] }).await;
    let present = enqueue(&engine, Greeting { people: vec!["Eve".into()] }).await;
    let garbled = enqueue(&engine, Greeting { people: vec![] }).await;
    sqlx::query(r#"update jobs set payload = '{"people": 7}' where id = $1"#)
        .bind(garbled.0)
        .execute(&engine.database.pool)
        .await
        .unwrap();

    engine.worker(engine.database.clone(), registry());

    assert_eq!(engine.end_of(upgraded).await, ("completed".into(), 1, Some(json!(["Ada"])), None));
    assert_eq!(engine.end_of(present).await, ("completed".into(), 1, Some(json!(["Eve"])), None));
    let (state, attempts, _, error) = engine.end_of(forgotten).await;
    assert_eq!((state.as_str(), attempts), ("failed", 1), "the first attempt says it all");
    let message =
        "the payload is of version 1; this release reads version 3 and upgrades none as old as that";
    assert_eq!(error, Some(json!({"code": "unsupported_version", "message": message, "attempt": 1})));
    let (state, attempts, _, error) = engine.end_of(garbled).await;
    assert_eq!((state.as_str(), attempts), ("failed", 1));
    assert_eq!(error.unwrap()["code"], "unreadable_payload");
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_of_a_newer_release_waits_for_a_newer_worker_and_spends_no_attempt() {
    let engine = Engine::start(PayloadKeys::default()).await;
    let job = enqueue(&engine, NextGreeting { everyone: true }).await;
    let old = engine.worker(engine.database.clone(), registry());
    // The old worker has had it once its epoch has moved by a claim and a return.
    let returned = "select count(*) from jobs where id = $1 and epoch >= 3 and state = 'waiting'";
    while sqlx::query_scalar::<_, i64>(returned).bind(job.0).fetch_one(&engine.database.pool).await.unwrap()
        == 0
    {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    old.cancel();

    engine.worker(engine.database.clone(), Registry::new().on(&Arc::new(()), greet_all));

    assert_eq!(engine.end_of(job).await, ("completed".into(), 1, Some(json!(true)), None));
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_sealed_in_the_ledger_and_open_to_its_handler() {
    let engine = Engine::start(keys(&[("a", "0a")])).await;
    let (good, bad) = (enqueue(&engine, login("hunter2")).await, enqueue(&engine, login("")).await);
    let rows: Vec<Value> =
        sqlx::query_scalar("select payload from jobs").fetch_all(&engine.database.pool).await.unwrap();
    assert_eq!(rows.len(), 2);
    for payload in rows {
        assert_eq!(payload["account"]["name"], "ada");
        let sealed = payload["account"]["password"]["$sealed"].as_str().expect("it is sealed");
        assert!(sealed.starts_with("a.") && !sealed.contains("hunter2"), "{sealed}");
    }

    // The key has been replaced meanwhile; the old one still opens.
    let rotated = engine.database.clone().with_keys(keys(&[("b", "0b"), ("a", "0a")]));
    engine.worker(rotated, registry());

    let result = json!({"name": "ada", "length": 7});
    assert_eq!(engine.end_of(good).await, ("completed".into(), 1, Some(result), None));
    let (state, attempts, _, error) = engine.end_of(bad).await;
    assert_eq!((state.as_str(), attempts), ("failed", 1), "a fatal error is not tried again");
    assert_eq!(error.unwrap()["code"], "no_password");
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_cannot_be_opened_ends_its_job_with_a_reason_and_is_not_repeated() {
    let engine = Engine::start(keys(&[("a", "0a")])).await;
    let (unknown, forged) =
        (enqueue(&engine, login("hunter2")).await, enqueue(&engine, login("hunter3")).await);
    // The secret of one job in another's place.
    sqlx::query("update jobs set payload = (select payload from jobs where id = $2) where id = $1")
        .bind(forged.0)
        .bind(unknown.0)
        .execute(&engine.database.pool)
        .await
        .unwrap();
    sqlx::query(r#"update jobs set payload = replace(payload::text, '"a.', '"z.')::jsonb where id = $1"#)
        .bind(unknown.0)
        .execute(&engine.database.pool)
        .await
        .unwrap();
    engine.worker(engine.database.clone(), registry());

    let (state, attempts, _, error) = engine.end_of(forged).await;
    assert_eq!((state.as_str(), attempts), ("failed", 1));
    let message = "this release can't read the job's payload: a secret in it was altered";
    assert_eq!(error, Some(json!({"code": "unreadable_payload", "message": message, "attempt": 1})));
    let (state, attempts, _, error) = engine.end_of(unknown).await;
    assert_eq!((state.as_str(), attempts), ("failed", 2), "another worker may have the key");
    assert_eq!(error.unwrap()["code"], "encryption_key_missing");
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_a_job_with_secrets_is_refused_and_others_are_not() {
    let engine = Engine::start(PayloadKeys::default()).await;
    let mut tx = engine.database.begin().await.unwrap();
    let mail =
        SendMail { to: "ada@example.com".into(), subject: "Hello".into(), text: "a link".into(), html: None };
    let refused = jobs::enqueue(&mut tx, NewJob::new(&mail)).await.unwrap_err();
    assert!(refused.to_string().contains("JOB_ENCRYPTION_KEY"), "{refused}");
    drop(tx);

    engine.worker(engine.database.clone(), registry());
    let job = enqueue(&engine, Greeting { people: vec![] }).await;
    assert_eq!(engine.end_of(job).await.0, "completed");
    engine.stop().await;
}
