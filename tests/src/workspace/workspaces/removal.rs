//! Taking people out: what goes with them, what stays, and who may.

use serde_json::{Value, json};

use super::{
    accept, invite, look_at, mailed_token, newcomer, own, roster_of, self_in_roster, stranger, unregistered,
};
use crate::{Client, TestApp, masked};

/// The path of a member in their current workspace.
async fn place(client: &Client) -> String {
    let entry = self_in_roster(client).await;
    format!("{}/members/{}", own(client), entry["member_id"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_who_is_in_another_workspace_loses_their_place_and_keeps_their_account() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let bob = app.join(&ada, "member").await;
    bob.post("/workspaces/switch", json!({ "workspace_id": ada.workspace })).await.expect(200);
    let at = place(&bob).await;

    let removed = ada.delete(&at).await.expect(200);
    insta::assert_json_snapshot!(masked(&removed), @r#"
    {
      "email": "[email]",
      "member_id": "[id]",
      "outcome": "member_removed",
      "user_deleted": false,
      "user_id": "[id]"
    }
    "#);
    assert_eq!(bob.get("/recordsets").await.error(404), "record_not_found");
    let left = bob.items("/workspaces").await;
    assert_eq!(left.as_array().unwrap().len(), 1);
    assert_eq!(left[0]["is_current"], false);
    assert_eq!(roster_of(&ada).await.len(), 1);
    assert_eq!(ada.delete(&at).await.error(404), "record_not_found");
    let told = "select count(*) from shard.audit_log where action = 'member.removed'";
    assert_eq!(app.count(told).await, 1);
    // A person who joins again is a new member.
    let email = removed["email"].as_str().unwrap();
    let again = invite(&ada, email, "viewer").await;
    accept(&app, &mailed_token(&app, email, 1).await).await.expect(200);
    assert_ne!(again["id"], removed["member_id"]);
    bob.get("/recordsets").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_their_only_workspace_a_person_and_their_sessions_go_and_what_they_did_stays() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let email = unregistered();
    invite(&ada, &email, "member").await;
    let token = mailed_token(&app, &email, 1).await;
    let password = json!({ "token": token, "password": "a password of one's own" });
    let accepted = app.anonymous().post("/workspaces/invitations/accept", password).await.expect(200);
    let login = json!({ "email": email, "password": "a password of one's own" });
    let signed_in = app.anonymous().post("/auth/login", login.clone()).await.expect(200);
    let grace = app.anonymous().signed_in(&signed_in).in_workspace(ada.workspace.as_deref());
    let (leads, _) = grace.create("/recordsets", json!({ "name": "Leads" })).await;
    let user = accepted["user_id"].as_str().unwrap();

    let removed = ada.delete(&place(&grace).await).await.expect(200);
    assert_eq!((&removed["outcome"], &removed["user_deleted"]), (&json!("member_removed"), &json!(true)));
    assert_eq!(grace.get("/auth/me").await.error(401), "token_invalid");
    assert_eq!(app.anonymous().post("/auth/login", login).await.error(401), "credentials_invalid");
    for table in ["users where id", "sessions where user_id", "memberships where user_id"] {
        assert_eq!(
            app.count(&format!("select count(*) from control.{table} = '{user}'")).await,
            0,
            "{table}"
        );
    }
    let told = format!("select count(*) from shard.events where actor->>'user_id' = '{user}'");
    assert!(app.count(&told).await > 0);
    let created_by = ada.get(&leads).await.expect(200);
    assert_eq!(created_by["created_by"], user);
    let deleted = "select count(*) from shard.audit_log where action = 'user.deleted'";
    assert_eq!(app.count(deleted).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_made_their_account_themselves_keeps_it() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let email = newcomer(&app).await;
    invite(&ada, &email, "member").await;
    let token = mailed_token(&app, &email, 1).await;
    let password = json!({ "token": token, "password": "a password of one's own" });
    let accepted = app.anonymous().post("/workspaces/invitations/accept", password).await.expect(200);
    let at = format!("{}/members/{}", own(&ada), accepted["member_id"].as_str().unwrap());
    assert_eq!(ada.delete(&at).await.expect(200)["user_deleted"], false);
    let login = json!({ "email": email, "password": "a password of one's own" });
    app.anonymous().post("/auth/login", login).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_who_is_invited_elsewhere_or_is_staff_keeps_their_account() {
    let app = TestApp::start().await;
    let (ada, eve) = (app.owner().await, app.owner().await);
    for why in ["invited", "staff"] {
        let email = unregistered();
        invite(&ada, &email, "member").await;
        let token = mailed_token(&app, &email, 1).await;
        let password = json!({ "token": token, "password": "a password of one's own" });
        let accepted = app.anonymous().post("/workspaces/invitations/accept", password).await.expect(200);
        if why == "staff" {
            let staff = "update control.users set is_staff = true where email = $1";
            sqlx::query(staff).bind(&email).execute(&app.database.pool).await.unwrap();
        } else {
            invite(&eve, &email, "member").await;
        }
        let at = format!("{}/members/{}", own(&ada), accepted["member_id"].as_str().unwrap());
        assert_eq!(ada.delete(&at).await.expect(200)["user_deleted"], false, "{why}");
        let login = json!({ "email": email, "password": "a password of one's own" });
        app.anonymous().post("/auth/login", login).await.expect(200);
        if why == "invited" {
            accept(&app, &mailed_token(&app, &email, 2).await).await.expect(200);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_that_can_not_be_accepted_keeps_no_account() {
    let app = TestApp::start().await;
    let (ada, eve) = (app.owner().await, app.owner().await);
    for why in ["expired", "unbacked"] {
        let email = unregistered();
        invite(&ada, &email, "member").await;
        let token = mailed_token(&app, &email, 1).await;
        let password = json!({ "token": token, "password": "a password of one's own" });
        let accepted = app.anonymous().post("/workspaces/invitations/accept", password).await.expect(200);
        if why == "expired" {
            let invitation = invite(&eve, &email, "member").await;
            let id = invitation["id"].as_str().unwrap();
            app.run(&format!("update control.invitations set expires_at = now() where id = '{id}'")).await;
        } else {
            let bob = app.join(&eve, "admin").await;
            invite(&bob, &email, "member").await;
            eve.delete(&place(&bob).await).await.expect(200);
        }
        let at = format!("{}/members/{}", own(&ada), accepted["member_id"].as_str().unwrap());
        assert_eq!(ada.delete(&at).await.expect(200)["user_deleted"], true, "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_that_is_taken_out_leads_nowhere() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let (_, email) = stranger(&app).await;
    let invitation = invite(&ada, &email, "member").await;
    let token = mailed_token(&app, &email, 1).await;
    let at = format!("{}/members/{}", own(&ada), invitation["id"].as_str().unwrap());

    let removed = ada.delete(&at).await.expect(200);
    assert_eq!(
        (&removed["outcome"], &removed["user_deleted"]),
        (&json!("invitation_cancelled"), &json!(false))
    );
    assert_eq!(look_at(&app, &token).await.error(404), "record_not_found");
    assert_eq!(accept(&app, &token).await.error(404), "record_not_found");
    assert_eq!(ada.delete(&at).await.error(404), "record_not_found");
    assert_eq!(app.count("select count(*) from control.invitations").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_taken_out_by_admins_and_nobody_by_someone_of_a_lower_role() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let (admin, member) = (app.join(&ada, "admin").await, app.join(&ada, "member").await);
    let (other_admin, eve) = (app.join(&ada, "admin").await, app.owner().await);
    let (of_ada, of_member) = (place(&ada).await, place(&member).await);
    assert_eq!(member.delete(&of_member).await.error(403), "forbidden");
    assert_eq!(eve.delete(&of_member).await.error(404), "record_not_found");
    let elsewhere = of_member.replace(ada.workspace.as_deref().unwrap(), eve.workspace.as_deref().unwrap());
    assert_eq!(eve.delete(&elsewhere).await.error(404), "record_not_found");
    assert_eq!(admin.delete(&of_ada).await.error(403), "forbidden");
    assert_eq!(admin.delete(&format!("{}/members/no-id", own(&ada))).await.error(404), "record_not_found");
    admin.delete(&of_member).await.expect(200);
    admin.delete(&place(&other_admin).await).await.expect(200);
    // One may leave.
    admin.delete(&place(&admin).await).await.expect(200);
    assert_eq!(roster_of(&ada).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_owner_stays() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    assert_eq!(ada.delete(&place(&ada).await).await.error(409), "last_owner");
    let bob = app.join(&ada, "owner").await;
    // Two owners who take each other out at once: one of them stays.
    let (of_ada, of_bob) = (place(&ada).await, place(&bob).await);
    let (by_bob, by_ada) = tokio::join!(bob.delete(&of_ada), ada.delete(&of_bob));
    let mut ends = [by_bob, by_ada].map(|reply| reply.status);
    ends.sort_unstable();
    // The second request was admitted before the removal, or refused.
    assert!(ends[0] == 200 && [404, 409].contains(&ends[1]), "{ends:?}");
    let owners = format!(
        "select count(*) from control.memberships where workspace_id = '{}'",
        ada.workspace.as_deref().unwrap()
    );
    assert_eq!(app.count(&owners).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_joins_elsewhere_while_they_are_taken_out_is_never_lost() {
    let app = TestApp::start().await;
    let (ada, eve) = (app.owner().await, app.owner().await);
    for _ in 0..5 {
        let email = unregistered();
        invite(&ada, &email, "member").await;
        let token = mailed_token(&app, &email, 1).await;
        let password = json!({ "token": token, "password": "a password of one's own" });
        let accepted = app.anonymous().post("/workspaces/invitations/accept", password).await.expect(200);
        invite(&eve, &email, "member").await;
        let token = mailed_token(&app, &email, 2).await;
        let at = format!("{}/members/{}", own(&ada), accepted["member_id"].as_str().unwrap());

        let (removed, joined) = tokio::join!(ada.delete(&at), accept(&app, &token));
        assert_eq!(removed.expect(200)["user_deleted"], false);
        joined.expect(200);
        let login = json!({ "email": email, "password": "a password of one's own" });
        let signed_in: Value = app.anonymous().post("/auth/login", login).await.expect(200);
        assert_eq!(signed_in["workspaces"][0]["id"].as_str(), eve.workspace.as_deref());
    }
}
