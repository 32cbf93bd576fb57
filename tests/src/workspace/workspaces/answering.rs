//! Being invited: the password that may have to be chosen, and that one comes in once.

use futures::future::join_all;
use serde_json::json;

use super::{accept, invite, look_at, mailed_token, newcomer, own, stranger};
use crate::{Client, TestApp};

const ACCEPT: &str = "/workspaces/invitations/accept";

#[tokio::test(flavor = "multi_thread")]
async fn an_account_without_a_password_sets_one_and_can_then_sign_in() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let email = newcomer(&app).await;
    invite(&ada, &email, "member").await;
    let token = mailed_token(&app, &email, 1).await;
    assert_eq!(look_at(&app, &token).await.expect(200)["requires_password"], true);

    let missing = app.anonymous().post(ACCEPT, json!({ "token": token })).await.expect(422);
    assert_eq!(missing["error"], "parameter_missing");
    assert!(missing["fields"]["password"].is_array(), "{missing}");
    let weak = json!({ "token": token, "password": "short" });
    assert!(app.anonymous().post(ACCEPT, weak).await.expect(422)["fields"]["password"].is_array());
    let password = "a password of one's own";
    let chosen = json!({ "token": token, "password": password });
    let accepted = app.anonymous().post(ACCEPT, chosen.clone()).await.expect(200);

    let login = json!({ "email": email, "password": password });
    let signed_in = app.anonymous().post("/auth/login", login).await.expect(200);
    assert_eq!(signed_in["workspaces"][0]["id"], accepted["workspace_id"]);
    let grace = app.anonymous().signed_in(&signed_in).in_workspace(ada.workspace.as_deref());
    grace.get("/recordsets").await.expect(200);
    assert_eq!(grace.get(&own(&ada)).await.expect(200)["is_current"], true);
    assert_eq!(app.anonymous().post(ACCEPT, chosen).await.error(410), "gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_never_changes_a_password() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let (_, email) = stranger(&app).await;
    invite(&ada, &email, "member").await;
    let token = mailed_token(&app, &email, 1).await;
    assert_eq!(look_at(&app, &token).await.expect(200)["requires_password"], false);
    let other = "another password for this account";
    app.anonymous().post(ACCEPT, json!({ "token": token, "password": other })).await.expect(200);

    let login = json!({ "email": email, "password": other });
    assert_eq!(app.anonymous().post("/auth/login", login).await.error(401), "credentials_invalid");
    let login = json!({ "email": email, "password": "correct horse battery staple" });
    app.anonymous().post("/auth/login", login).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_come_with_one_token_at_once_one_is_let_in() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let (_, email) = stranger(&app).await;
    let invitation = invite(&ada, &email, "member").await;
    let token = mailed_token(&app, &email, 1).await;

    let replies = join_all((0..20).map(|_| accept(&app, &token))).await;
    let (let_in, refused): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.status == 200);
    assert_eq!(let_in.len(), 1);
    for reply in refused {
        assert_eq!(reply.error(410), "gone");
    }
    let id = invitation["id"].as_str().unwrap();
    let schema = jobs::workspace_schema(ada.workspace.as_ref().unwrap().parse().unwrap());
    for one in [
        format!("select count(*) from control.memberships where id = '{id}'"),
        format!("select count(*) from {schema}.members where id = '{id}'"),
        format!("select count(*) from shard.events where type = 'member.created' and subject_id = '{id}'"),
    ] {
        assert_eq!(app.count(&one).await, 1, "{one}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_that_is_accepted_and_withdrawn_at_once_ends_in_one_of_the_two() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    for _ in 0..5 {
        let (bob, email) = stranger(&app).await;
        let invitation = invite(&ada, &email, "member").await;
        let token = mailed_token(&app, &email, 1).await;
        let cancel = json!({ "invitation_id": invitation["id"] });
        let (accepted, cancelled) =
            tokio::join!(accept(&app, &token), ada.post("/workspaces/invitations/cancel", cancel));
        let inside = bob.get(&own(&ada)).await.status;
        match (accepted.status, cancelled.status) {
            (200, 404) => assert_eq!(inside, 200),
            (410, 200) => assert_eq!(inside, 404),
            other => panic!("accepted and withdrawn: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_token_is_refused() {
    let app = TestApp::start().await;
    assert_eq!(look_at(&app, "unknown").await.error(404), "record_not_found");
    assert_eq!(accept(&app, "unknown").await.error(404), "record_not_found");
    let visitor: Client = app.anonymous();
    assert_eq!(visitor.get("/workspaces/invitations/details").await.error(422), "parameter_missing");
    assert_eq!(visitor.post(ACCEPT, json!({})).await.error(422), "parameter_missing");
}
