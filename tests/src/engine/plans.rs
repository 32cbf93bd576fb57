//! Plans of the statements that every request needs: made once for a connection, not at each request.

use domain::{
    SessionId, UserId,
    callers::{self, Brought},
    secret,
};
use sqlx::PgPool;

use crate::database::TestDatabase;

/// Lookups by one connection. PostgreSQL plans the first five executions of a statement for their arguments, and then
/// compares.
const LOOKUPS: usize = 20;
/// What it always plans for the arguments at hand.
const FIRST_PLANS: i64 = 5;

#[tokio::test(flavor = "multi_thread")]
async fn the_lookup_of_a_credential_is_planned_once() {
    let clone = TestDatabase::create().await;
    let pool = sqlx::postgres::PgPoolOptions::new().max_connections(1).connect(&clone.url).await.unwrap();
    // As of a slow disk, on which a general plan seems to cost much more than one for the arguments at hand.
    let settings = "set search_path = control, shard, shard_api, ext; set random_page_cost = 40";
    sqlx::raw_sql(settings).execute(&pool).await.unwrap();
    let credentials = credentials(&pool).await;
    for brought in &credentials {
        for _ in 0..LOOKUPS {
            assert!(callers::find(&pool, brought, None, None).await.unwrap().is_some());
        }
    }
    let planned: Vec<(String, i64, i64)> = sqlx::query_as(
        "select statement, generic_plans, custom_plans from pg_prepared_statements
          where statement like 'select q.n %'",
    )
    .fetch_all(&pool)
    .await
    .unwrap();

    assert_eq!(planned.len(), 3, "{planned:#?}");
    for (statement, kept, anew) in planned {
        assert!(anew <= FIRST_PLANS && kept > 0, "planned anew {anew} times of {LOOKUPS}: {statement}");
    }
    pool.close().await;
    clone.remove().await;
}

/// One credential of each kind, in an installation of some thousand people that the planner has statistics of.
async fn credentials(pool: &PgPool) -> [Brought; 3] {
    let (user, session) = (UserId::new(), SessionId::new());
    let (key, token) = (format!("mrk_{}", secret::generate()), format!("mrp_{}", secret::generate()));
    let people = format!(
        "insert into users (id, email, email_key, name)
              select i, i || '@example.com', i || '@example.com', 'Person'
                from (select '{user}'::uuid as i union all select gen_random_uuid() from generate_series(1, 3000)) as new;
         insert into sessions (id, user_id) select gen_random_uuid(), id from users;
         insert into sessions (id, user_id) values ('{session}', '{user}');
         insert into workspaces (id, name, slug, state) select id, 'Workspace', id::text, 'ready' from users;
         insert into memberships (id, workspace_id, user_id, role) select gen_random_uuid(), id, id, 'owner' from users"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(people)).execute(pool).await.unwrap();
    for (table, of, secret) in
        [("api_keys", "workspace_id, created_by", &key), ("personal_tokens", "user_id, workspace_id", &token)]
    {
        let new = format!(
            "insert into {table} (id, {of}, name, prefix, hash, scopes)
                  select gen_random_uuid(), id, id, 'test', 'test',
                         case id when $1 then $2 else uuid_send(gen_random_uuid()) end, '{{*}}'
                    from users"
        );
        let hash = secret::hash(secret);
        sqlx::query(sqlx::AssertSqlSafe(new)).bind(user).bind(hash).execute(pool).await.unwrap();
    }
    sqlx::raw_sql("analyze").execute(pool).await.unwrap();
    let session = Brought::Session(user, session);
    [session, Brought::Secret(key), Brought::Secret(token)]
}
