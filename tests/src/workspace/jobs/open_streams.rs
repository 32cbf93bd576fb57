//! What a credential has opened ends with it: streams, long polls and tickets.

use jobs::kinds::NoOp;
use serde_json::{Value, json};

use super::{sleeper, workspace_of};
use crate::{Client, EventReader, TestApp};

/// A job that runs until it is cancelled.
async fn long_job(app: &TestApp, owner: &Client) -> String {
    sleeper(app, owner, NoOp { sleep_ms: 600_000, ..NoOp::default() }).await
}

/// All that can be open on a job: its stream, its log's and the workspace's, by header and by ticket.
async fn open_all(app: &TestApp, who: &Client, job: &str) -> Vec<EventReader> {
    let shown = who.get(&format!("/jobs/{job}")).await.expect(200);
    let ticket = shown["stream_url"].as_str().unwrap().split_once('?').unwrap().1;
    let all = who.get("/jobs/stream-url").await.expect(200)["stream_url"].as_str().unwrap().to_owned();
    let (stream, log) = (format!("/jobs/{job}/stream"), format!("/jobs/{job}/logs/stream"));
    let mut open = Vec::new();
    for path in [&*stream, &log, "/jobs/stream"] {
        open.push(who.events(path, None).await);
    }
    for url in [format!("{stream}?{ticket}"), format!("{log}?{ticket}"), all] {
        open.push(app.anonymous().events(&url, None).await);
    }
    open
}

/// Everything that was open is closed for that reason.
async fn all_closed(open: Vec<EventReader>, reason: &str) {
    for closed in futures::future::join_all(open.into_iter().map(EventReader::closed_for)).await {
        assert_eq!(closed, reason);
    }
}

async fn cancel(owner: &Client, job: &str) {
    owner.post(&format!("/jobs/{job}/cancel"), json!({})).await.expect(200);
    super::end_of(owner, job).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_ends_the_streams_and_long_polls_of_the_session() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let ada = app.join(&owner, "admin").await;
    let job = long_job(&app, &owner).await;
    let open = open_all(&app, &ada, &job).await;
    let shown = ada.get(&format!("/jobs/{job}")).await.expect(200);
    let ticket = shown["stream_url"].as_str().unwrap().to_owned();
    let mut others = owner.events(&format!("/jobs/{job}/stream"), None).await;
    let poll = tokio::spawn({
        let ada = ada.clone();
        let path = format!("/jobs/{job}?since={}&wait=30", i64::MAX);
        async move { ada.get(&path).await }
    });

    ada.post("/auth/logout", json!({})).await.expect(200);

    all_closed(open, "credential_revoked").await;
    assert_eq!(poll.await.unwrap().error(401), "token_invalid");
    assert_eq!(app.anonymous().get(&ticket).await.error(401), "token_invalid");
    cancel(&owner, &job).await;
    let mut end = Value::Null;
    while let Some(event) = others.next().await {
        end = event;
    }
    assert_eq!(end["status"], "CANCELLED", "the streams of others go on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_who_is_out_sees_nothing_more_by_any_stream_or_ticket() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let bob = app.join(&owner, "member").await;
    let job = long_job(&app, &owner).await;
    let open = open_all(&app, &bob, &job).await;
    let shown = bob.get(&format!("/jobs/{job}")).await.expect(200);
    let ticket = shown["stream_url"].as_str().unwrap();
    let log = ticket.replace("/stream?", "/logs/stream?");
    let all = bob.get("/jobs/stream-url").await.expect(200)["stream_url"].clone();

    let email = bob.get("/auth/me").await.expect(200)["email"].as_str().unwrap().to_owned();
    app.run(&format!(
        "update memberships set is_active = false
          where workspace_id = '{}' and user_id = (select id from users where email = '{email}')",
        workspace_of(&owner)
    ))
    .await;

    all_closed(open, "membership_ended").await;
    for url in [ticket, &log, all.as_str().unwrap()] {
        assert_eq!(app.anonymous().get(url).await.error(404), "record_not_found", "{url}");
    }
    cancel(&owner, &job).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_is_taken_away_ends_what_it_has_opened() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let bob = app.join(&owner, "viewer").await;
    let job = long_job(&app, &owner).await;
    let open = open_all(&app, &bob, &job).await;

    let denied = json!({ "permissions": { "jobs:view": false } });
    owner.put("/permissions/roles/viewer", denied).await.expect(200);

    all_closed(open, "permission_removed").await;
    cancel(&owner, &job).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_ends_the_streams_that_it_has_opened() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (key, program) = owner.new_key(&["read"]).await;
    let job = long_job(&app, &owner).await;
    let open = open_all(&app, &program, &job).await;
    let shown = program.get(&format!("/v1/jobs/{job}")).await.expect(200);
    let ticket = shown["data"]["stream_url"].as_str().unwrap();
    assert_eq!(app.anonymous().events(ticket, None).await.status, 200);

    let path = format!("/api-keys/{}/revoke", key["id"].as_str().unwrap());
    owner.post(&path, json!({})).await.expect(200);

    all_closed(open, "credential_revoked").await;
    assert_eq!(app.anonymous().get(ticket).await.error(401), "token_invalid");
    cancel(&owner, &job).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_allowlist_ends_streams_from_elsewhere_and_refuses_their_tickets() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let job = long_job(&app, &owner).await;
    let open = open_all(&app, &owner, &job).await;
    let ticket = owner.get(&format!("/jobs/{job}")).await.expect(200)["stream_url"].clone();

    app.let_in_from(&owner, "{10.0.0.0/8}").await;

    all_closed(open, "address_not_allowed").await;
    assert_eq!(app.anonymous().get(ticket.as_str().unwrap()).await.error(403), "forbidden");
    app.let_in_from(&owner, "{}").await;
    cancel(&owner, &job).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_staff_have_opened_in_a_person_s_place_ends_with_that() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let job = long_job(&app, &owner).await;
    for end in [
        "update sessions set created_at = now() - interval '1 h' where impersonator_id = $staff",
        "update users set is_staff = false where id = $staff",
    ] {
        let (acting, staff) = app.acting_as(&owner).await;
        let open = open_all(&app, &acting, &job).await;
        let ticket = acting.get(&format!("/jobs/{job}")).await.expect(200)["stream_url"].clone();

        app.run(&end.replace("$staff", &format!("'{staff}'"))).await;

        all_closed(open, "credential_revoked").await;
        assert_eq!(app.anonymous().get(ticket.as_str().unwrap()).await.error(401), "token_invalid", "{end}");
    }
    cancel(&owner, &job).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_a_sign_in_end_when_it_is_older_than_the_workspace_allows() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let ada = app.join(&owner, "admin").await;
    let job = long_job(&app, &owner).await;
    owner.patch("/v1/governance", json!({ "session_duration_secs": 300 })).await.expect(200);
    let open = open_all(&app, &ada, &job).await;
    let ticket = ada.get(&format!("/jobs/{job}")).await.expect(200)["stream_url"].clone();

    let email = ada.get("/auth/me").await.expect(200)["email"].as_str().unwrap().to_owned();
    app.run(&format!(
        "update sessions set created_at = now() - interval '301 s'
          where user_id = (select id from users where email = '{email}')"
    ))
    .await;

    all_closed(open, "sign_in_required").await;
    assert_eq!(app.anonymous().get(ticket.as_str().unwrap()).await.error(401), "sign_in_required");
    cancel(&owner, &job).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_that_shows_a_job_has_a_stream_url_for_whoever_asks() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let bob = app.join(&owner, "admin").await;
    let recordset = owner.post("/recordsets", json!({ "name": "People" })).await.expect(201);
    let export = json!({ "recordset_id": recordset["id"], "format": "csv" });
    let started = owner.post("/recordsets/export", export).await.expect(202);
    owner.follow(&started).await;
    let job = started["job_id"].as_str().unwrap().to_owned();
    let failing = sleeper(&app, &owner, NoOp { failures: 9, ..NoOp::default() }).await;
    bob.post(&format!("/jobs/{failing}/cancel"), json!({})).await.expect(200);
    super::end_of(&owner, &failing).await;

    // Not the ticket of its caller: that one ends with their session.
    owner.post("/auth/logout", json!({})).await.expect(200);
    let first = |list: Value| list["items"][0].clone();
    let shown = [
        first(bob.get("/jobs?kind=records.export").await.expect(200)),
        bob.get(&format!("/jobs/{job}")).await.expect(200),
        first(bob.get("/recordsets/import/jobs").await.expect(200)),
        bob.get(&format!("/recordsets/import/jobs/{job}")).await.expect(200),
        bob.get(&format!("/recordsets/import/status/{job}")).await.expect(200),
        bob.get(&format!("/v1/jobs/{job}")).await.expect(200)["data"].clone(),
    ];
    for shown in shown {
        assert_eq!(app.anonymous().follow(&shown).await["status"], "COMPLETED", "{shown}");
    }
    let retried = bob.post(&format!("/jobs/{failing}/retry"), json!({})).await.expect(200);
    let mut events = app.anonymous().events(retried["stream_url"].as_str().unwrap(), None).await;
    let path = format!("/jobs/{failing}/cancel");
    let cancelled = bob.post(&path, json!({})).await.expect(200);
    while events.next().await.is_some() {}
    assert_eq!(app.anonymous().follow(&cancelled).await["status"], "CANCELLED");
}
