//! How long finished jobs stay in the history.

use jobs::{
    JobId, JobKind, NewJob,
    kinds::{NoOp, PruneJobs},
};

use uuid::{NoContext, Timestamp, Uuid};

use crate::{TestApp, cluster::wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn finished_jobs_leave_the_history_with_their_logs_when_their_time_is_over() {
    let app = TestApp::start().await;
    let young = finished(&app).await;
    let (old, failed) = (finished_before(&app, 8).await, finished_before(&app, 8).await);
    run(&app, "update finished_jobs set state = 'failed' where id = $1", failed).await;
    for job in [old, young, failed] {
        let lines = "insert into job_logs (job_id, attempt, level, message)
                     select $1, 1, 'info', 'line ' || n from generate_series(1, 1200) n";
        run(&app, lines, job).await;
        run(&app, "insert into job_checkpoints (job_id, fence) values ($1, 1)", job).await;
    }

    prune(&app).await;

    assert_eq!(remains(&app, old).await, (0, 0, 0));
    assert_eq!(remains(&app, young).await, (1, 1200, 1), "it has six days left");
    assert_eq!(remains(&app, failed).await, (1, 1200, 1), "failures are kept for longer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_stays_in_the_history_as_long_as_its_parent() {
    let app = TestApp::start().await;
    let (parent, child) = (finished_before(&app, 20).await, finished_before(&app, 20).await);
    run(&app, "update finished_jobs set finished_at = now() - interval '6 days' where id = $1", parent).await;
    sqlx::query("update finished_jobs set batch_id = $2 where id = $1")
        .bind(child.0)
        .bind(parent.0)
        .execute(&app.database.pool)
        .await
        .unwrap();

    prune(&app).await;
    assert_eq!(remains(&app, child).await.0, 1, "its parent ended lately");

    run(&app, "update finished_jobs set finished_at = now() - interval '8 days' where id = $1", parent).await;
    prune(&app).await;
    assert_eq!(remains(&app, parent).await.0, 0);
    prune(&app).await;
    assert_eq!(remains(&app, child).await.0, 0, "it goes after its parent");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_may_keep_jobs_for_longer_or_shorter_by_kind_and_state() {
    let app = TestApp::start().await;
    let (completed, failed) = (finished_before(&app, 2).await, finished_before(&app, 2).await);
    run(&app, "update finished_jobs set state = 'failed' where id = $1", failed).await;
    sqlx::query(
        "insert into job_retention (kind, state, keep)
         values (null, null, '1 day'), (null, 'failed', '100 days'), ($1, null, '3 days'),
                ($1, 'failed', '1 hour')",
    )
    .bind(NoOp::NAME)
    .execute(&app.database.pool)
    .await
    .unwrap();

    prune(&app).await;

    assert_eq!(remains(&app, completed).await.0, 1, "its kind is kept for three days");
    assert_eq!(remains(&app, failed).await.0, 0, "failures of its kind are kept for an hour");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_of_jobs_that_are_gone_is_pruned_too() {
    let app = TestApp::start().await;
    let (gone, live) = (JobId::new(), JobId::new());
    let later = jobs::clock::now() + chrono::TimeDelta::hours(1);
    let job = NoOp::default();
    app.database.enqueue(NewJob::new(&job).id(live).run_at(later)).await.unwrap();
    for job in [gone, live] {
        run(
            &app,
            "insert into job_logs (job_id, attempt, level, message) values ($1, 1, 'info', 'late')",
            job,
        )
        .await;
        run(&app, "insert into job_checkpoints (job_id, fence) values ($1, 1)", job).await;
        let key = "insert into job_keys (tenant, kind, key, job_id, until, expires_at)
                   values (gen_random_uuid(), 'k', 'k', $1, 'period', now() - interval '1 s')";
        run(&app, key, job).await;
    }
    let limit = "insert into job_limits (id, scope, kind, max_starts, per)
                 values ($1, 'tenant', 'no such kind', 1, '1 s')";
    run(&app, limit, gone).await;
    let starts = "insert into job_starts (limit_id, subject, opened_at, started)
                  values ($1, gen_random_uuid(), now() - interval '2 s', 1)";
    run(&app, starts, gone).await;

    prune(&app).await;

    assert_eq!(remains(&app, gone).await, (0, 0, 0));
    assert_eq!(remains(&app, live).await, (0, 1, 1), "it waits still");
    assert_eq!(app.count("select count(*) from job_keys").await, 0);
    assert_eq!(app.count("select count(*) from job_starts").await, 0);
    jobs::testing::cancel(&app.database, jobs::Owner::Installation, live).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_is_kept_as_long_as_its_workspace_says() {
    let app = TestApp::start().await;
    let (careful, other) = (app.owner().await, app.owner().await);
    careful.patch("/v1/governance", serde_json::json!({"audit_retention_days": 30})).await.expect(200);
    app.run("delete from audit_log").await;
    let (careful, other) = (careful.workspace.unwrap(), other.workspace.unwrap());
    let nobodys = uuid::Uuid::nil();
    app.run(&format!(
        "insert into audit_log (workspace_id, at, action, resource_type, actor_type)
         select w::uuid, now() - days * interval '1 day', 'test', days::text, 'user'
           from (values ('{careful}'), ('{other}'), ('{nobodys}'), (null)) as of (w),
                unnest(array[366, 364, 31, 29]) as days, generate_series(1, 600)
          order by days desc"
    ))
    .await;

    prune(&app).await;

    let kept = |whose: &str| {
        format!("select count(*) from audit_log where action = 'test' and workspace_id {whose}")
    };
    assert_eq!(app.count(&kept(&format!("= '{careful}'"))).await, 600);
    assert_eq!(app.count(&kept(&format!("= '{other}'"))).await, 1800);
    assert_eq!(app.count(&kept(&format!("= '{nobodys}'"))).await, 1800);
    assert_eq!(app.count(&kept("is null")).await, 1800);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_and_refresh_tokens_that_nobody_may_use_again_are_forgotten() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    owner.post("/auth/tokens", serde_json::json!({"name": "x"})).await.expect(201);
    let tokens = app.count("select count(*) from refresh_tokens").await;
    app.run("update idempotency_keys set created_at = now() - interval '25 hours'").await;
    app.run(
        "insert into refresh_tokens (hash, session_id, expires_at)
         select decode(lpad(to_hex(n), 8, '0'), 'hex'), s.id, now() - interval '25 hours'
           from sessions s, generate_series(1, 1200) n",
    )
    .await;

    prune(&app).await;

    assert_eq!(app.count("select count(*) from idempotency_keys").await, 0);
    assert_eq!(app.count("select count(*) from refresh_tokens").await, tokens, "what is good stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_of_old_sign_ups_payments_and_invitations_go() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let invitation = serde_json::json!({ "email": "grace@example.com" });
    ada.post("/members", invitation).await.expect(201);
    let given_up = "insert into signups (id, email, email_key, full_name, company_name, user_id, workspace_id, job_id,
                                         door, makes_user, created_at)
                    values ($1, 'eve@example.com', 'eve@example.com', 'Eve', 'Eves', $1, $1, $1, 'signup', true,
                            now() - interval '8 days')";
    run(&app, given_up, JobId::new()).await;
    let paid = "insert into stripe_invites (id, code_hash, access_code_hash, email, email_key, plan, stripe_customer_id,
                                            checkout_session_id, expires_at)
                values ($1, 'x', 'x', 'eve@example.com', 'eve@example.com', 'growth', 'cus_1', 'cs_1',
                        now() - interval '91 days')";
    run(&app, paid, JobId::new()).await;

    prune(&app).await;
    let rows = async |table: &str| app.count(&format!("select count(*) from control.{table}")).await;
    assert_eq!(
        (rows("signups").await, rows("invitations").await),
        (1, 1),
        "what is young, or may be used, stays"
    );
    assert_eq!(rows("stripe_invites").await, 0);

    for earlier in [
        "update signups set created_at = now() - interval '8 days' where $1::uuid is not null",
        "update invitations set expires_at = now() - interval '91 days' where $1::uuid is not null",
    ] {
        run(&app, earlier, JobId::new()).await;
    }
    prune(&app).await;
    assert_eq!((rows("signups").await, rows("invitations").await), (0, 0));
    ada.get("/auth/me").await.expect(200);
}

/// A job that has completed.
async fn finished(app: &TestApp) -> JobId {
    completed(app, &NoOp::default()).await
}

async fn prune(app: &TestApp) {
    completed(app, &PruneJobs {}).await;
}

async fn completed<K: JobKind>(app: &TestApp, job: &K) -> JobId {
    let id = app.database.enqueue(NewJob::new(job)).await.unwrap().id();
    let done = format!("select count(*) from finished_jobs where id = '{id}' and state = 'completed'");
    wait_until("the job is done", || async { app.count(&done).await == 1 }).await;
    id
}

/// A job that was made and completed so many days ago.
async fn finished_before(app: &TestApp, days: i32) -> JobId {
    let job = finished(app).await;
    let earlier = jobs::clock::now() - chrono::TimeDelta::days(days.into());
    let seconds = u64::try_from(earlier.timestamp()).unwrap();
    let id = JobId(Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, 0)));
    sqlx::query("update finished_jobs set id = $2, created_at = $3, finished_at = $3 where id = $1")
        .bind(job.0)
        .bind(id.0)
        .bind(earlier)
        .execute(&app.database.pool)
        .await
        .unwrap();
    id
}

async fn run(app: &TestApp, statement: &str, job: JobId) {
    sqlx::query(sqlx::AssertSqlSafe(statement.to_owned()))
        .bind(job.0)
        .execute(&app.database.pool)
        .await
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
}

/// What there is of a job: its row, its log lines, its checkpoint.
async fn remains(app: &TestApp, job: JobId) -> (i64, i64, i64) {
    let count = |table: &str, column: &str| format!("select count(*) from {table} where {column} = '{job}'");
    (
        app.count(&count("finished_jobs", "id")).await,
        app.count(&count("job_logs", "job_id")).await,
        app.count(&count("job_checkpoints", "job_id")).await,
    )
}
