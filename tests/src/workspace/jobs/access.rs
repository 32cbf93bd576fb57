//! Who may see jobs and touch them: roles, and the tickets of streams.

use api_kit::{Credential, Opens, Signer, Ticket};
use domain::SessionId;
use jobs::{JobId, kinds::NoOp};
use serde_json::json;

use super::sleeper;
use crate::{Client, EventReader, TestApp, workspace::recordsets::become_role};

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_watches_jobs_and_touches_none() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let job = sleeper(&app, &owner, NoOp::default()).await;
    become_role(&app, "viewer").await;

    let end = owner.events(&format!("/jobs/{job}/stream"), None).await.to_the_end().await;
    assert_eq!(owner.get(&format!("/jobs/{job}")).await.expect(200)["seq"], end["seq"]);
    owner.get(&format!("/jobs/{job}/logs")).await.expect(200);
    for refused in [
        owner.post(&format!("/jobs/{job}/cancel"), json!({})).await,
        owner.post(&format!("/jobs/{job}/retry"), json!({})).await,
        owner.delete(&format!("/jobs/{job}")).await,
    ] {
        assert_eq!(refused.error(403), "forbidden");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_listed_by_workspace_kind_and_status() {
    let app = TestApp::start().await;
    let (owner, eve) = (app.owner().await, app.owner().await);
    let mut ids = Vec::new();
    for failures in [0, 0, 9] {
        let job = sleeper(&app, &owner, NoOp { failures, ..NoOp::default() }).await;
        if failures > 0 {
            owner.post(&format!("/jobs/{job}/cancel"), json!({})).await.expect(200);
        }
        owner.events(&format!("/jobs/{job}/stream"), None).await.to_the_end().await;
        ids.insert(0, job);
    }
    let list = async |who: &Client, query: &str| -> (Vec<String>, i64) {
        let page = who.get(&format!("/jobs{query}")).await.expect(200);
        let ids = page["items"].as_array().unwrap().iter();
        (ids.map(|job| job["job_id"].as_str().unwrap().to_owned()).collect(), page["total"].as_i64().unwrap())
    };

    assert_eq!(list(&owner, "?kind=engine.no_op").await, (ids.clone(), 3));
    assert_eq!(list(&owner, "?kind=engine.no_op&page=2&page_size=2").await, (ids[2..].to_vec(), 3));
    assert_eq!(list(&owner, "?status=CANCELLED").await, (ids[..1].to_vec(), 1));
    assert_eq!(list(&owner, "?status=COMPLETED&kind=engine.no_op").await, (ids[1..].to_vec(), 2));
    assert_eq!(list(&owner, "?kind=records.import").await, (vec![], 0));
    assert_eq!(list(&eve, "?kind=engine.no_op").await, (vec![], 0));
    assert_eq!(owner.get("/jobs?status=lost").await.error(422), "record_invalid");
}

/// A ticket as the answer that starts a job has it, for the only session so far.
async fn ticket(app: &TestApp, job: &str) -> String {
    let session =
        sqlx::query_scalar("select id from control.sessions").fetch_one(&app.database.pool).await.unwrap();
    let ticket = Ticket {
        opens: Opens::Job(JobId(job.parse().unwrap())),
        credential: Credential::Session(SessionId(session)),
        permission: "jobs:view".into(),
        expires: None,
    };
    Signer::new("a secret for tests, and for nothing else").ticket(&ticket)
}

async fn watch(app: &TestApp, job: &str, ticket: &str) -> EventReader {
    app.anonymous().events(&format!("/jobs/{job}/stream?ticket={ticket}"), None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_opens_the_stream_of_its_job_and_nothing_else() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (job, other) =
        (sleeper(&app, &owner, NoOp::default()).await, sleeper(&app, &owner, NoOp::default()).await);
    let ticket = ticket(&app, &job).await;

    assert_eq!(watch(&app, &job, &ticket).await.to_the_end().await["status"], "COMPLETED");
    assert_eq!(watch(&app, &other, &ticket).await.status, 401);
    for path in [format!("/jobs/{job}"), format!("/jobs/{job}/logs"), "/jobs".to_owned()] {
        let reply = app.anonymous().get(&format!("{path}?ticket={ticket}")).await;
        assert_eq!(reply.error(422), "parameter_unknown", "nothing else takes a ticket");
    }
    let bad = [&ticket[..ticket.len() - 2], "", "x.y", &ticket.replace('.', "")];
    for bad in bad {
        assert_eq!(watch(&app, &job, bad).await.status, 401, "{bad}");
    }
    owner.events(&format!("/jobs/{other}/stream"), None).await.to_the_end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_ends_an_hour_after_its_job_and_with_its_session() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let job = sleeper(&app, &owner, NoOp::default()).await;
    let ticket = ticket(&app, &job).await;
    watch(&app, &job, &ticket).await.to_the_end().await;
    let ended = async |ago: &str| {
        let back = "update shard.finished_jobs set finished_at = now() - $1::text::interval";
        sqlx::query(back).bind(ago).execute(&app.database.pool).await.unwrap();
    };

    ended("59 minutes").await;
    assert_eq!(watch(&app, &job, &ticket).await.status, 200);
    ended("61 minutes").await;
    assert_eq!(watch(&app, &job, &ticket).await.status, 401);
    ended("1 minute").await;
    assert_eq!(watch(&app, &job, &ticket).await.status, 200);
    owner.post("/auth/logout", json!({})).await.expect(200);
    assert_eq!(watch(&app, &job, &ticket).await.status, 401);
}
