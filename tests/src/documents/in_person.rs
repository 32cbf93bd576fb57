//! What staff may not do who act as a person: whatever outlasts that, or goes on in the person's name.

use serde_json::json;

use super::{FOR_PEOPLE, PUBLIC, document, guards::call, operations};
use crate::TestApp;

/// The operations whose effect is a credential, who gets in, what they may do, what runs later by itself, or what the
/// person's account says.
const OUTLASTS: [&str; 63] = [
    "add_team_member",
    "cancel_invitation",
    "change_password",
    "confirm_email_change",
    "count_api_keys",
    "create_api_key",
    "create_invitation_link",
    "create_key",
    "create_member",
    "create_member_password_reset_link",
    "create_personal_token",
    "create_scheduled_job",
    "create_team",
    "create_workspace",
    "delete_api_key",
    "delete_member",
    "delete_scheduled_job",
    "delete_team",
    "end_other_sessions",
    "end_session",
    "erase_member",
    "execute_scheduled_job",
    "get_api_key",
    "get_governance",
    "get_member_deletion_info",
    "invite_member",
    "list_api_keys",
    "list_audit_logs",
    "list_keys",
    "list_member_items",
    "list_role_permissions",
    "mail_member_password_reset",
    "provision_workspace",
    "reassign_member_items",
    "remove_team_member",
    "remove_workspace_member",
    "resend_invitation",
    "reset_my_tours",
    "reset_role_permissions",
    "revoke_api_key",
    "revoke_key",
    "revoke_personal_token",
    "rotate_api_key",
    "rotate_key",
    "seed_permissions",
    "set_member_avatar",
    "set_my_tour",
    "set_own_avatar",
    "set_role_permission",
    "set_role_permissions",
    "set_user_avatar",
    "simulate_policy",
    "switch_workspace",
    "toggle_api_key",
    "update_api_key",
    "update_current_user",
    "update_governance",
    "update_key",
    "update_member",
    "update_scheduled_job",
    "update_team",
    "update_team_member",
    "update_user",
];

#[tokio::test(flavor = "multi_thread")]
async fn staff_who_act_as_a_person_do_nothing_that_outlasts_it_and_all_else() {
    let app = TestApp::start().await;
    let (acting, _) = app.acting_as(&app.owner().await).await;
    let mut refused = Vec::new();
    for operation in FOR_PEOPLE.into_iter().flat_map(|surface| operations(&document(surface))) {
        // Signing out ends the walk.
        if PUBLIC.contains(&&*operation.id) || operation.id == "logout" {
            continue;
        }
        let here = format!("{} {}", operation.method, operation.path);
        let reply = call(&acting, &operation).await;
        let is_told = reply.text.contains("staff who act as the person");
        let is_refused = operation.body["x-in-person"] == true;
        assert_eq!(is_told, is_refused, "{here}: {} {}", reply.status, reply.text);
        if is_refused {
            let code = (reply.status, reply.code());
            assert_eq!(code, (403, Some("forbidden".to_owned())), "{here}: {}", reply.text);
            refused.push(operation.id);
        } else {
            assert!(!matches!(reply.status, 401 | 403), "{here}: {} {}", reply.status, reply.text);
        }
    }
    refused.sort();
    assert_eq!(refused, OUTLASTS, "what outlasts it is listed in the test, and nothing else");
}

#[tokio::test(flavor = "multi_thread")]
async fn staff_who_act_as_a_person_leave_the_account_as_it_is() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (acting, _) = app.acting_as(&owner).await;
    let before = owner.get("/auth/me").await.expect(200);
    let own = format!("/auth/{}", before["id"].as_str().unwrap());
    for changes in [json!({ "name": "Eve" }), json!({ "title": "Mole" }), json!({ "avatar_url": null })] {
        for path in ["/auth/me", &own] {
            assert_eq!(acting.patch(path, changes.clone()).await.error(403), "forbidden", "{path} {changes}");
        }
    }
    for path in ["/auth/me/avatar", &format!("{own}/avatar")] {
        assert_eq!(acting.upload(path, "face.png", "no picture").await.error(403), "forbidden", "{path}");
    }
    // Nor do they change the person's current workspace.
    let other = json!({ "workspace_id": acting.workspace });
    assert_eq!(acting.post("/workspaces/switch", other).await.error(403), "forbidden");
    assert_eq!(owner.get("/auth/me").await.expect(200), before);
}
