//! The answers about people: members, teams, the health of their workspace.

use serde_json::json;

use super::Contract;
use crate::{Client, TestApp};

/// Calls every operation of these sections.
pub(super) async fn hold(contract: &mut Contract, app: &TestApp, owner: &Client) {
    let bob = app.join(owner, "member").await;
    let me = contract.hold("get_my_member", &bob.get("/members/me").await);
    let my_id = owner.get("/members/me").await.expect(200)["id"].clone();
    let path = format!("/members/{}", me["id"].as_str().unwrap());
    contract.hold("list_all_members", &owner.get("/members/all").await);
    let picture = crate::workspace::auth::avatar::png(8, 8);
    contract.hold("set_member_avatar", &bob.upload(&format!("{path}/avatar"), "b.png", picture).await);
    let tour = json!({"tour_id": "maps", "status": "completed"});
    contract.hold("set_my_tour", &bob.post("/members/me/tours", tour).await);
    contract.hold("get_my_tours", &bob.get("/members/me/tours").await);
    contract.hold("reset_my_tours", &bob.delete("/members/me/tours").await);

    let (team, _) = owner.create("/teams", json!({"name": "Sales"})).await;
    owner.post(&format!("{team}/members"), json!({"member_id": me["id"]})).await.expect(201);
    contract.hold("list_member_items", &owner.get(&format!("{path}/items")).await);
    let to_me = json!({"to_member_id": my_id});
    contract.hold("reassign_member_items", &owner.post(&format!("{path}/reassign"), to_me).await);

    contract.hold("get_workspace_health", &owner.get("/workspace-health").await);
    let migration = owner.post("/workspace-health/migrations", json!({})).await;
    owner.follow(&contract.hold("start_workspace_migration", &migration)).await;

    contract.hold("get_member_deletion_info", &owner.get(&format!("{path}/deletion-info")).await);
    // A member whose account is made for the invitation, and so may be deleted here.
    let email = "mary.who.is.invited@example.com";
    contract.hold("create_member", &owner.post("/members", json!({"email": email})).await);
    let token = app.mail(email, "You are invited to Analytical Engines", 1).await.in_link("token");
    let accept = json!({"token": token, "password": "correct horse battery staple"});
    let accepted = app.anonymous().post("/workspaces/invitations/accept", accept).await.expect(200);
    let permanent = format!("/members/{}/permanent", accepted["member_id"].as_str().unwrap());
    contract.hold("erase_member", &owner.delete(&permanent).await);
}
