//! Making a workspace of one's own.

use domain::{Actor, UserId};
use domain_accounts::signups::{self, NewOwnedWorkspace};
use futures::future::join_all;
use serde_json::json;

use super::post_and_wait;
use crate::{TestApp, masked};

#[tokio::test(flavor = "multi_thread")]
async fn a_person_makes_another_workspace_which_is_empty_and_theirs() {
    let app = TestApp::start().await;
    let ada = app.owner().await;

    let made = post_and_wait(&ada, "/workspaces", json!({"name": " Difference Engines "})).await.expect(201);

    let said = ["name", "slug", "role", "plan", "is_current"].map(|name| &made[name]);
    assert_eq!(json!(said), json!(["Difference Engines", "difference-engines", "owner", "free", false]));
    assert_eq!(made, ada.get(&format!("/workspaces/{}", made["id"].as_str().unwrap())).await.expect(200));
    let there = ada.in_workspace(made["id"].as_str());
    assert_eq!(there.get("/recordsets").await.expect(200)["total"], 0);
    let me = ada.get(&format!("/auth/me?workspace_id={}", made["id"].as_str().unwrap())).await.expect(200);
    assert_eq!(me["workspaces"].as_array().unwrap().len(), 2);
    assert_eq!((&me["member"]["name"], &me["member"]["email"]), (&json!("Ada Lovelace"), &me["email"]));
    let mails = "select count(*) from shard.all_jobs where kind = 'mail.send'";
    assert_eq!(app.count(mails).await, 1, "only the sign-up was welcomed by mail");

    let example =
        post_and_wait(&ada, "/workspaces?skip_seed=false", json!({"name": "Third"})).await.expect(201);
    let there = ada.in_workspace(example["id"].as_str());
    let recordsets = there.get("/recordsets").await.expect(200);
    assert_eq!((&recordsets["total"], &recordsets["items"][0]["record_count"]), (&json!(1), &json!(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_needs_a_name_and_a_person() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    assert_eq!(post_and_wait(&ada, "/workspaces", json!({})).await.error(422), "parameter_missing");
    let refused = post_and_wait(&ada, "/workspaces", json!({"name": "x".repeat(201)})).await.expect(422);
    assert_eq!(refused["fields"], json!({"name": ["must have at most 200 characters"]}));
    let visitor = app.anonymous().post("/workspaces", json!({"name": "Mine"})).await;
    assert_eq!(visitor.error(401), "token_missing");
    assert_eq!(app.count("select count(*) from control.workspaces").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_person_has_as_many_workspaces_as_the_installation_allows_however_fast_they_ask() {
    let app = TestApp::start_with(&[("MAX_OWNED_WORKSPACES", "3")]).await;
    let ada = app.owner().await;

    let all = (0..4).map(|n| post_and_wait(&ada, "/workspaces", json!({"name": format!("Number {n}")})));
    let replies = join_all(all).await;

    let mut statuses: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 201, 402, 402]);
    assert_eq!(
        post_and_wait(&ada, "/workspaces", json!({"name": "More"})).await.error(402),
        "limit_exceeded"
    );
    assert_eq!(ada.get("/auth/me").await.expect(200)["workspaces"].as_array().unwrap().len(), 3);
    post_and_wait(&app.owner().await, "/workspaces", json!({"name": "Hers"})).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_of_a_new_workspace_names_it_and_has_no_tokens() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let id = ada.get("/auth/me").await.expect(200)["id"].as_str().unwrap().parse().unwrap();
    let new = NewOwnedWorkspace {
        owner: UserId(id),
        name: "Second",
        skip_seed: true,
        at_most: 50,
        invite_code: None,
    };
    let mut tx = app.database.begin().await.unwrap();
    let started = signups::create_workspace(&mut tx, new, &Actor::default()).await.unwrap();
    tx.commit().await.unwrap();

    let path = format!("/auth/signup/jobs/{}", started.token);
    let end = app.anonymous().events(&format!("{path}/stream"), None).await.to_the_end().await;

    insta::assert_json_snapshot!(masked(&end["result"]), @r#"
    {
      "message": "Your workspace is ready.",
      "workspace_id": "[id]",
      "workspace_name": "Second"
    }
    "#);
    assert_eq!(app.anonymous().get(&path).await.expect(200)["result"], end["result"]);
    assert_eq!(app.count("select count(*) from control.sessions").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_a_key_makes_one_workspace_however_often_it_is_sent() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let body = json!({"name": "Second"});

    let started = ada.post_with_key("/workspaces", body.clone(), "mine").await.expect(202);
    let end = ada.follow(&started).await;
    assert_eq!((&end["status"], &end["result"]["workspace_name"]), (&json!("COMPLETED"), &json!("Second")));
    assert_eq!(ada.post_with_key("/workspaces", body, "mine").await.expect(202), started);

    assert_eq!(ada.get("/auth/me").await.expect(200)["workspaces"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_workspace_whose_making_is_stopped_is_told_so() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    app.pause_provisioning().await;
    let making = post_and_wait(&ada, "/workspaces", json!({ "name": "Second" }));
    let (answer, ()) = tokio::join!(making, app.stop_provisioning());
    assert_eq!(answer.error(409), "provisioning_failed");
}
