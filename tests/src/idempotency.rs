//! `Idempotency-Key`: one effect and one answer, however often and from wherever a request comes again.

use futures::future::join_all;
use jobs::{NewJob, kinds::NoOp};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    Client, TestApp,
    client::Reply,
    cluster::wait_until,
    workspace::{jobs::workspace_of, members},
};

/// A recordset to put records into.
async fn recordset(client: &Client) -> String {
    let fields = json!([{ "key": "name", "label": "Name", "field_type": "text" }]);
    let made = client.post("/recordsets", json!({ "name": "Things", "fields": fields })).await.expect(201);
    made["id"].as_str().unwrap().to_owned()
}

/// How many records there are.
async fn records(client: &Client, recordset: &str) -> i64 {
    client.get(&format!("/records?recordset_id={recordset}")).await.expect(200)["total"].as_i64().unwrap()
}

fn is_replayed(reply: &Reply) -> bool {
    reply.headers.get("Idempotency-Replayed").is_some_and(|value| value == "true")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_sent_again_has_one_effect_and_the_same_answer() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let recordset = recordset(&owner).await;
    let body = json!({ "recordset_id": recordset, "data": { "name": "one" } });
    let first = owner.post_with_key("/records", body.clone(), "k-1").await;
    assert!(first.status == 201 && !is_replayed(&first), "{}", first.text);
    let again = owner.post_with_key("/records", body.clone(), "k-1").await;
    assert!(again.status == 201 && is_replayed(&again), "{}", again.text);
    assert_eq!(again.json(), first.json());
    assert_eq!(records(&owner, &recordset).await, 1);

    let other = json!({ "recordset_id": recordset, "data": { "name": "two" } });
    let reused = owner.post_with_key("/records", other.clone(), "k-1").await;
    assert_eq!(reused.error(422), "idempotency_key_reused");
    owner.post_with_key("/records", other, "k-2").await.expect(201);
    let somebody = app.owner().await;
    let theirs = somebody.post_with_key("/records", body, "k-1").await;
    assert_eq!(theirs.error(404), "record_not_found", "a key is its sender's: this is another request");
    assert_eq!(records(&owner, &recordset).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_with_one_key_make_one_effect() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let recordset = recordset(&owner).await;
    let body = json!({ "recordset_id": recordset, "data": { "name": "one" } });
    let send = || owner.post_with_key("/records", body.clone(), "all-at-once");
    let replies = join_all((0..50).map(|_| send())).await;
    let (done, running): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.status == 201);
    for reply in running {
        assert_eq!(reply.error(409), "request_running");
    }
    let answers: Vec<_> = done.iter().map(Reply::json).collect();
    assert!(!answers.is_empty() && answers.iter().all(|answer| answer == &answers[0]), "{answers:?}");
    assert_eq!(done.iter().filter(|reply| !is_replayed(reply)).count(), 1);
    assert_eq!(records(&owner, &recordset).await, 1);
    assert_eq!(send().await.expect(201), answers[0], "and so it stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_repeated_unless_it_may_pass() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let nonsense = json!({ "recordset_id": Uuid::now_v7(), "data": {} });
    let first = owner.post_with_key("/records", nonsense.clone(), "bad").await;
    assert_eq!(first.status, 404);
    let again = owner.post_with_key("/records", nonsense.clone(), "bad").await;
    assert!(is_replayed(&again));
    assert_eq!(again.json(), first.json());

    // A caller who is refused may succeed with the same key later.
    app.without_owners().await;
    let role = async |role: &str| {
        let update = sqlx::query("update control.memberships set role = $1").bind(role);
        update.execute(&app.database.pool).await.unwrap();
    };
    role("viewer").await;
    assert_eq!(owner.post_with_key("/records", nonsense.clone(), "later").await.error(403), "forbidden");
    role("owner").await;
    assert_eq!(owner.post_with_key("/records", nonsense, "later").await.error(404), "record_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_ticket_is_good_for_who_asks() {
    let app = TestApp::start().await;
    let answer = app.anonymous().post("/auth/signup", crate::app::new_signup()).await.expect(201);
    let owner = app.anonymous().signed_in(&answer);
    let recordset = recordset(&owner).await;
    let asked = json!({ "recordset_id": recordset, "format": "csv" });
    let first = owner.post_with_key("/recordsets/export", asked.clone(), "export").await.expect(202);
    // Another session of the same person: the first one ends, and its ticket with it.
    let refresh = json!({ "refresh_token": owner.refresh_token });
    let refreshed = app.anonymous().post("/auth/refresh", refresh).await.expect(200);
    let later = owner.with_token(refreshed["access_token"].as_str());
    let again = later.post_with_key("/recordsets/export", asked.clone(), "export").await;
    assert!(is_replayed(&again));
    let again = again.expect(202);
    assert_eq!(again["job_id"], first["job_id"]);
    assert_eq!(later.follow(&again).await["status"], "COMPLETED");
}

#[tokio::test(flavor = "multi_thread")]
async fn text_of_a_client_that_looks_like_a_ticket_is_not_signed_in_a_repeated_answer() {
    let app = TestApp::start().await;
    let (ada, erin) = (app.owner().await, app.owner().await);
    let recordset = recordset(&ada).await;
    let asked = json!({ "recordset_id": recordset, "format": "csv" });
    let started = ada.post("/recordsets/export", asked).await.expect(202);
    ada.follow(&started).await;
    let ticket = started["stream_url"].as_str().unwrap().split_once("?ticket=").unwrap().1;
    ada.post("/auth/logout", json!({})).await.expect(200);

    let team = json!({ "name": format!("x?ticket={ticket}") });
    let first = erin.post_with_key("/teams", team.clone(), "trick").await;
    let again = erin.post_with_key("/teams", team.clone(), "trick").await;
    assert!(is_replayed(&again));
    assert_eq!(again.text, first.text);
    assert_eq!(again.expect(201)["name"], team["name"]);
    let stream = format!("/jobs/{}/stream?ticket={ticket}", started["job_id"].as_str().unwrap());
    assert_eq!(app.anonymous().get(&stream).await.error(401), "token_invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_answer_has_no_ticket_for_a_job_that_is_not_the_workspaces() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let recordset = recordset(&owner).await;
    let asked = json!({ "recordset_id": recordset, "format": "csv" });
    let first = owner.post_with_key("/recordsets/export", asked.clone(), "export").await.expect(202);
    owner.follow(&first).await;
    let elsewhere =
        "update shard.finished_jobs set workspace_id = gen_random_uuid() where kind = 'records.export'";
    app.run(elsewhere).await;

    let again = owner.post_with_key("/recordsets/export", asked, "export").await;
    assert!(is_replayed(&again));
    let path = first["stream_url"].as_str().unwrap().split_once('?').unwrap().0;
    assert_eq!(again.expect(202)["stream_url"], path);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_lies_sealed_in_the_database() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let recordset = recordset(&owner).await;
    let body = json!({ "recordset_id": recordset, "data": { "name": "a secret of mine" } });
    owner.post_with_key("/records", body, "sealed").await.expect(201);
    let readable =
        app.count("select count(*) from shard.idempotency_keys where answer like '%secret of mine%'").await;
    assert_eq!(readable, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_must_be_one() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let reply = owner.post_with_key("/recordsets", json!({}), &"k".repeat(256)).await;
    assert_eq!(reply.error(422), "record_invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_repeated_to_the_credential_that_had_it_and_to_no_other_of_its_person() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let new = json!({ "name": "My script" });
    let made = owner.post_with_key("/auth/tokens", new.clone(), "secret").await.expect(201);
    let secret = made["token"].as_str().unwrap();

    let (acting, _) = app.acting_as(&owner).await;
    let refused = acting.post_with_key("/auth/tokens", new.clone(), "secret").await;
    assert_eq!(refused.error(403), "forbidden");
    let program = owner.with_token(Some(secret));
    let refused = program.post_with_key("/auth/tokens", new.clone(), "secret").await;
    assert_eq!(refused.error(403), "token_read_only");
    // Also where the other credential may do the same: it is another request.
    let team = json!({ "name": "Engineers" });
    owner.post_with_key("/teams", team.clone(), "team").await.expect(201);
    let other = acting.post_with_key("/teams", team, "team").await;
    assert!(!is_replayed(&other), "{}", other.text);

    let again = owner.post_with_key("/auth/tokens", new, "secret").await;
    assert!(is_replayed(&again));
    assert_eq!(again.expect(201), made);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_not_repeated_to_a_caller_whom_the_route_does_not_admit_any_more() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let admin = app.join(&owner, "admin").await;
    let recordset = recordset(&owner).await;
    let asked = json!({ "recordset_id": recordset, "format": "csv" });
    let started = admin.post_with_key("/recordsets/export", asked.clone(), "export").await.expect(202);
    admin.follow(&started).await;

    for permission in ["records:view", "exports:view"] {
        let change = |granted: bool| json!({ "permission": permission, "granted": granted });
        owner.put("/permissions/roles/admin/permission", change(false)).await.expect(200);
        let again = admin.post_with_key("/recordsets/export", asked.clone(), "export").await;
        assert_eq!(again.error(403), "forbidden", "{permission}");
        owner.put("/permissions/roles/admin/permission", change(true)).await.expect(200);
        let again = admin.post_with_key("/recordsets/export", asked.clone(), "export").await;
        assert!(is_replayed(&again), "{permission}: {}", again.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_s_request_sent_again_has_one_effect_and_the_same_answer() {
    let app = TestApp::start().await;
    let operator = app.operator();
    let pause = json!({ "kind": "engine.no_op", "reason": "a test" });
    let first = operator.post_with_key("/pauses", pause.clone(), "pause").await;
    assert!(first.status == 201 && !is_replayed(&first), "{}", first.text);
    let again = operator.post_with_key("/pauses", pause, "pause").await;
    assert!(again.status == 201 && is_replayed(&again), "{}", again.text);
    assert_eq!(again.json(), first.json());
    let noted = "select count(*) from shard.audit_log where action = 'job_pause.created'";
    assert_eq!(app.count(noted).await, 1);
    let other = operator.post_with_key("/pauses", json!({ "kind": "jobs.prune" }), "pause").await;
    assert_eq!(other.error(422), "idempotency_key_reused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_keeps_nothing_of_the_change_it_ended() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let recordset = recordset(&owner).await;
    let asked = json!({ "recordset_id": recordset, "format": "csv", "fields": ["name", "missing"] });
    let refused = owner.post_with_key("/recordsets/export", asked.clone(), "refused").await;
    assert!((400..500).contains(&refused.status), "{}", refused.text);
    let kept = "select (select count(*) from jobs where kind = 'records.export')
                     + (select count(*) from shard.audit_log where action = 'export.requested')";
    assert_eq!(app.count(kept).await, 0);
    let again = owner.post_with_key("/recordsets/export", asked, "refused").await;
    assert!(is_replayed(&again));
    assert_eq!(again.json(), refused.json());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_key_has_its_effect_each_time_it_is_sent() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let recordset = recordset(&owner).await;
    let record = json!({ "recordset_id": recordset, "data": { "name": "one" } });
    for sent in 1..=2 {
        let request = owner.request(reqwest::Method::POST, "/records").json(&record);
        assert_eq!(request.send().await.unwrap().status(), 201);
        assert_eq!(records(&owner, &recordset).await, sent, "it is committed before it is answered");
    }
    let entries = "select count(*) from shard.audit_log where action = 'record.created'";
    assert_eq!(app.count(entries).await, 2);
}

/// Enqueues jobs for tomorrow.
async fn enqueue(app: &TestApp, owner: &Client, count: usize) {
    let (job, later) = (NoOp::default(), jobs::clock::now() + chrono::TimeDelta::days(1));
    let new = || NewJob::new(&job).workspace(Some(workspace_of(owner))).run_at(later);
    let mut tx = app.database.begin().await.unwrap();
    jobs::enqueue_all(&mut tx, (0..count).map(|_| new()).collect()).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_many_things_is_one_of_a_thousand_with_a_key_and_is_repeated() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    enqueue(&app, &owner, 2_200).await;
    let cancelled = "select count(*) from shard.finished_jobs where state = 'cancelled'";

    let all = json!({ "all": true });
    let first = owner.post_with_key("/jobs/cancel", all.clone(), "first").await;
    assert!(!is_replayed(&first));
    let thousand = json!({ "cancelled": 1_000, "requested": 0, "more": true });
    assert_eq!(first.expect(200), thousand);
    assert_eq!(app.count(cancelled).await, 1_000);
    let again = owner.post_with_key("/jobs/cancel", all.clone(), "first").await;
    assert!(is_replayed(&again));
    assert_eq!(again.expect(200), thousand);
    assert_eq!(app.count(cancelled).await, 1_000, "a repeated request stops no other jobs");

    let second = owner.post_with_key("/recordsets/import/jobs/cancel-all", json!({}), "second").await;
    assert_eq!(second.expect(200), json!({ "cancelled": 0, "requested": 0, "more": false }));
    let rest = owner.post_without_key("/jobs/cancel", all).await.expect(200);
    assert_eq!(rest, json!({ "cancelled": 1_200, "requested": 0, "more": false }), "without a key in steps");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_with_one_key_change_many_things_once() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    enqueue(&app, &owner, 1_500).await;
    let send = || owner.post_with_key("/jobs/cancel", json!({ "all": true }), "all-at-once");
    for reply in join_all((0..8).map(|_| send())).await {
        assert!(reply.status == 200 || reply.error(409) == "request_running");
    }
    let cancelled = app.count("select count(*) from shard.finished_jobs where state = 'cancelled'").await;
    assert_eq!(cancelled, 1_000);
    owner.post("/jobs/cancel", json!({ "all": true })).await.expect(200);
}

/// Number of teams, and of their audit entries.
async fn teams(app: &TestApp, owner: &Client) -> (usize, i64) {
    let teams = owner.items("/teams").await.as_array().unwrap().len();
    (teams, app.count("select count(*) from shard.audit_log where action = 'team.created'").await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_between_a_change_and_its_answer_leaves_neither() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    app.run(
        "create function shard.refuse() returns trigger language plpgsql as
         $$ begin raise exception 'no answers today'; end $$",
    )
    .await;
    let refuse = "create trigger refuse before insert on shard.idempotency_keys
                  for each row execute function shard.refuse()";
    app.run(refuse).await;
    let new = json!({ "name": "Engineers" });
    assert_eq!(owner.post_with_key("/teams", new.clone(), "team").await.error(500), "internal");
    assert_eq!(teams(&app, &owner).await, (0, 0), "what was changed is rolled back");

    app.run("drop trigger refuse on shard.idempotency_keys").await;
    let again = owner.post_with_key("/teams", new, "team").await;
    assert!(again.status == 201 && !is_replayed(&again), "{}", again.text);
    assert_eq!(teams(&app, &owner).await, (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_between_a_change_and_its_answer_finds_one_effect_when_it_comes_back() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    // Answers can be read and not written.
    let mut held = app.database.begin().await.unwrap();
    let lock = "lock table shard.idempotency_keys in share row exclusive mode";
    sqlx::query(lock).execute(held.conn()).await.unwrap();
    let new = json!({ "name": "Engineers" });
    let leaving = tokio::spawn({
        let (owner, new) = (owner.clone(), new.clone());
        async move { owner.post_with_key("/teams", new, "team").await }
    });
    let waits = || async {
        app.count("select count(*) from pg_locks where not granted and relation = 'shard.idempotency_keys'::regclass")
            .await
    };
    wait_until("the change is made and its answer is not kept yet", || async { waits().await == 1 }).await;
    leaving.abort();
    wait_until("its transaction has ended", || async { waits().await == 0 }).await;
    assert_eq!(teams(&app, &owner).await, (0, 0));
    drop(held);

    let again = owner.post_with_key("/teams", new, "team").await;
    assert!(again.status == 201 && !is_replayed(&again), "{}", again.text);
    assert_eq!(teams(&app, &owner).await, (1, 1));
}

/// The keys in the answer to a reassignment of a member's resources.
fn handed(reply: Reply) -> Value {
    reply.expect(200)["api_keys"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_handed_on_are_shown_again_to_the_credential_that_asked_and_to_no_other() {
    let app = TestApp::start().await;
    let signup = crate::app::new_signup();
    let answer = app.anonymous().post("/auth/signup", signup.clone()).await.expect(201);
    app.verify(&signup["email"]).await;
    let ada = app.anonymous().signed_in(&answer);
    let (bob, cleo) = (app.join(&ada, "admin").await, app.join(&ada, "admin").await);
    bob.new_key(&["read"]).await;
    let path = format!("{}/reassign", members::path_of(&bob).await);
    let to = json!({ "to_member_id": members::member_of(&cleo).await["id"], "types": ["api_key"] });

    let keys = handed(ada.post_with_key(&path, to.clone(), "hand on").await);
    assert!(keys[0]["key"].is_string(), "{keys}");
    let again = ada.post_with_key(&path, to.clone(), "hand on").await;
    assert!(is_replayed(&again));
    assert_eq!(handed(again), keys);

    let credentials = json!({ "email": signup["email"], "password": signup["password"] });
    let session = app.anonymous().post("/auth/login", credentials).await.expect(200);
    let elsewhere = ada.with_token(session["access_token"].as_str());
    for other in [elsewhere, cleo] {
        let reply = other.post_with_key(&path, to.clone(), "hand on").await;
        assert!(!is_replayed(&reply), "{}", reply.text);
        assert_eq!(handed(reply), json!([]));
    }
}
