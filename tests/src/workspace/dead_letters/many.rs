//! Dead letters by filter, and many of them.

use ::jobs::{
    NewJob,
    batch::{self, NewBatch, OnFailure},
    kinds::NoOp,
};
use serde_json::json;

use super::{dead_letter, listed, mend};
use crate::{
    TestApp,
    workspace::jobs::{end_of, workspace_of},
};

/// Makes a dead letter another: a kind, a code, so many hours ago.
async fn disguise(app: &TestApp, job: &str, kind: &str, code: &str, hours: i32) {
    sqlx::query(
        "update finished_jobs
            set kind = $2, error = jsonb_build_object('code', $3::text, 'message', 'so it is'),
                finished_at = now() - make_interval(hours => $4)
          where id = $1::uuid",
    )
    .bind(job)
    .bind(kind)
    .bind(code)
    .bind(hours)
    .execute(&app.database.pool)
    .await
    .unwrap();
}

/// A time some minutes ago, as a query takes it.
fn ago(minutes: i64) -> String {
    (jobs::clock::now() - chrono::TimeDelta::minutes(minutes)).format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_found_retried_and_discarded_by_kind_code_and_time() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let mut ids = Vec::new();
    for (kind, code, hours) in
        [("engine.no_op", "crashed", 1), ("engine.no_op", "attempts_exhausted", 2), ("a.b", "crashed", 3)]
    {
        let job = dead_letter(&app, &owner).await;
        disguise(&app, &job, kind, code, hours).await;
        ids.push(job);
    }

    assert_eq!(listed(&owner, "").await, ids, "the latest comes first");
    assert_eq!(listed(&owner, "?page=2&page_size=2").await, ids[2..]);
    assert_eq!(listed(&owner, "?kind=engine.no_op").await, ids[..2]);
    assert_eq!(listed(&owner, "?error_code=crashed&kind=engine.no_op").await, ids[..1]);
    assert_eq!(listed(&owner, &format!("?since={}&error_code=crashed", ago(90))).await, ids[..1]);
    assert_eq!(listed(&owner, &format!("?until={}&since={}", ago(90), ago(150))).await, ids[1..2]);
    assert_eq!(owner.get("/dead-letters?since=yesterday").await.error(422), "record_invalid");

    for path in ["/dead-letters/retry", "/dead-letters/discard"] {
        let refused = owner.post(path, json!({})).await.expect(422);
        let reason = json!({"all": ["must be true where nothing else says which ones"]});
        assert_eq!((&refused["error"], &refused["fields"]), (&json!("record_invalid"), &reason));
        assert_eq!(owner.post(path, json!({"kind": []})).await.error(422), "record_invalid");
    }
    let retried =
        owner.post("/dead-letters/retry", json!({"error_code": "attempts_exhausted"})).await.expect(200);
    assert_eq!(retried, json!({"retried": 1, "duplicates": 0, "more": false}));
    end_of(&owner, &ids[1]).await;
    let discarded = owner.post("/dead-letters/discard", json!({"kind": "a.b"})).await.expect(200);
    assert_eq!(discarded, json!({"discarded": 1, "more": false}));
    assert_eq!(listed(&owner, "").await, [ids[1].clone(), ids[0].clone()], "what failed again is the latest");
    let discarded = owner.post("/dead-letters/discard", json!({"until": ago(24 * 60)})).await.expect(200);
    assert_eq!(discarded, json!({"discarded": 0, "more": false}));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_dead_letters_than_one_transaction_takes_are_retried_and_discarded_each_once() {
    let app = TestApp::start().await;
    let (owner, eve) = (app.owner().await, app.owner().await);
    let (model, other) = (dead_letter(&app, &owner).await, dead_letter(&app, &eve).await);
    // The copies succeed when they are retried.
    sqlx::query(
        "insert into finished_jobs (id, workspace_id, kind, version, pool, payload, origin, priority, state,
                attempt, max_attempts, crashes, epoch, error, created_at, finished_at)
         select gen_random_uuid(), workspace_id, kind, version, pool, '{}', origin, priority, state,
                attempt, max_attempts, crashes, epoch, error, created_at, finished_at
           from finished_jobs, generate_series(1, 1200)
          where id = $1::uuid",
    )
    .bind(&model)
    .execute(&app.database.pool)
    .await
    .unwrap();

    let of_kind = json!({"kind": "engine.no_op"});
    let retried = owner.post_without_key("/dead-letters/retry", of_kind).await.expect(200);

    assert_eq!(retried, json!({"retried": 1201, "duplicates": 0, "more": false}));
    while app.count("select count(*) from jobs").await > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let completed = "select count(*) from finished_jobs where kind = 'engine.no_op' and state = 'completed'";
    assert_eq!(app.count(completed).await, 1200);
    assert_eq!(listed(&owner, "").await, [model]);

    sqlx::query("update finished_jobs set state = 'failed' where kind = 'engine.no_op'")
        .execute(&app.database.pool)
        .await
        .unwrap();
    let discarded = owner.post_without_key("/dead-letters/discard", json!({"all": true})).await.expect(200);
    assert_eq!(discarded, json!({"discarded": 1201, "more": false}));
    assert!(listed(&owner, "").await.is_empty());
    assert_eq!(listed(&eve, "").await, [other], "the neighbour's are the neighbour's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_failed_is_opened_again_and_counts_its_children_right() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let new = NewBatch::new("Tests").workspace(Some(workspace_of(&owner))).on_failure(OnFailure::Fail);
    let mut tx = app.database.begin().await.unwrap();
    let parent = batch::open(&mut tx, new).await.unwrap();
    let (good, bad) = (NoOp::default(), NoOp { fails: true, ..NoOp::default() });
    let children =
        [&good, &bad, &bad].map(|job| NewJob::new(job).workspace(Some(workspace_of(&owner)))).into();
    batch::add(&mut tx, parent, children).await.unwrap();
    batch::seal(&mut tx, parent).await.unwrap();
    tx.commit().await.unwrap();
    let parent = parent.to_string();
    assert_eq!(end_of(&owner, &parent).await["status"], "FAILED");
    let dead = listed(&owner, "").await;
    assert_eq!((dead.len(), &dead[0]), (3, &parent));
    mend(&app, &dead[1]).await;
    mend(&app, &dead[2]).await;

    let retried = owner.post("/dead-letters/retry", json!({"all": true})).await.expect(200);

    assert_eq!(retried, json!({"retried": 3, "duplicates": 0, "more": false}));
    let end = end_of(&owner, &parent).await;
    assert_eq!(end["status"], "COMPLETED", "{end}");
    assert_eq!(end["result"], json!({"total": 3, "completed": 3, "failed": 0, "cancelled": 0}));
}
