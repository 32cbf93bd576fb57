//! Lookups of many requests at once.

use domain::{
    SessionId, UserId,
    callers::{Asked, Brought, Lookups},
    secret,
};
use futures::{FutureExt, future::join_all};
use sqlx::postgres::PgPoolOptions;

use super::plans::credentials;
use crate::database::TestDatabase;

/// Requests with each credential.
const EACH: usize = 10;
/// Statements of two that come first, and of each kind of credential of those that wait meanwhile.
const STATEMENTS: i64 = 2 + 3;

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_come_meanwhile_share_a_statement_that_sees_what_has_happened_before_it() {
    let clone = TestDatabase::create().await;
    let pool = PgPoolOptions::new().max_connections(1).connect(&clone.url).await.unwrap();
    sqlx::raw_sql("set search_path = control, shard, shard_api, ext").execute(&pool).await.unwrap();
    let [session, key, token] = credentials(&pool).await;
    let Brought::Session(user, id) = session else { unreachable!() };
    let ended = SessionId::new();
    let new = "insert into sessions (id, user_id) values ($1, $2)";
    sqlx::query(new).bind(ended.0).bind(user.0).execute(&pool).await.unwrap();
    // One of each kind that is good, then those that are not.
    let good = [&key, &token, &session].map(Clone::clone);
    let bad = [
        Brought::Session(user, ended),
        Brought::Session(UserId::new(), id),
        Brought::Secret(format!("mrk_{}", secret::generate())),
    ];

    let other = PgPoolOptions::new().max_connections(2).connect(&clone.url).await.unwrap();
    let mut held = other.begin().await.unwrap();
    sqlx::raw_sql("lock table control.users in access exclusive mode").execute(&mut *held).await.unwrap();
    let lookups = Lookups::new(pool.clone());
    let all: Vec<_> = (0..EACH).flat_map(|_| good.iter().chain(&bad)).collect();
    let mut asked: Vec<_> = all
        .iter()
        .map(|&brought| {
            let asked = Asked { brought: brought.clone(), workspace: None, from: None };
            Box::pin(lookups.find(asked))
        })
        .collect();
    assert!(asked.iter_mut().all(|request| request.as_mut().now_or_never().is_none()));
    sqlx::query("update control.sessions set revoked_at = now() where id = $1")
        .bind(ended.0)
        .execute(&other)
        .await
        .unwrap();
    held.rollback().await.unwrap();

    for (brought, found) in all.iter().zip(join_all(asked).await) {
        let found = found.unwrap();
        assert_eq!(found.is_some(), good.contains(brought), "{brought:?}");
        let person = found.and_then(|found| found.principal.user());
        assert!(person.is_none_or(|person| person == user), "the answer of another request");
    }
    let statements: i64 = sqlx::query_scalar(
        "select sum(generic_plans + custom_plans)::bigint from pg_prepared_statements
          where statement like 'select q.n %'",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert!(statements <= STATEMENTS, "{statements} statements for {} requests", all.len());
    pool.close().await;
    other.close().await;
    clone.remove().await;
}
