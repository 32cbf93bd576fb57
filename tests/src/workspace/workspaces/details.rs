//! The workspaces of a user, their names, and the current one.

use serde_json::json;

use super::own;
use crate::{TestApp, masked};

#[tokio::test(flavor = "multi_thread")]
async fn a_person_sees_their_workspaces_each_with_their_role() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let bob = app.join(&ada, "viewer").await;

    let bobs = bob.items("/workspaces").await;
    let roles: Vec<_> = bobs.as_array().unwrap().iter().map(|workspace| &workspace["role"]).collect();
    assert_eq!(roles, ["viewer", "owner"]);
    let shared = bob.get(&own(&bob)).await.expect(200);
    assert_eq!(bobs[0], shared);
    insta::assert_json_snapshot!(masked(&ada.get(&own(&ada)).await.expect(200)), @r#"
    {
      "branding": {
        "brand_name": null,
        "color": null,
        "logo_url": null,
        "support_email": null
      },
      "created_at": "[time]",
      "description": null,
      "id": "[id]",
      "is_current": true,
      "joined_at": "[time]",
      "name": "Analytical Engines",
      "plan": "free",
      "role": "owner",
      "slug": "analytical-engines",
      "updated_at": "[time]"
    }
    "#);
    assert_eq!(shared["id"].as_str(), ada.workspace.as_deref());

    let eve = app.owner().await;
    assert_eq!(eve.get(&own(&ada)).await.error(404), "record_not_found");
    assert_eq!(eve.items("/workspaces").await.as_array().unwrap().len(), 1);
    assert_eq!(eve.get("/workspaces/no-id").await.error(404), "record_not_found");
    // The path decides which, whatever the header is.
    let stray = eve.in_workspace(ada.workspace.as_deref());
    assert_eq!(stray.get(&own(&ada)).await.error(404), "record_not_found");
    assert_eq!(ada.in_workspace(None).get(&own(&ada)).await.expect(200)["role"], "owner");
    assert_eq!(ada.in_workspace(eve.workspace.as_deref()).get(&own(&ada)).await.expect(200)["role"], "owner");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_is_renamed_and_branded_and_what_is_absent_stays() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let path = own(&ada);
    let branding = json!({ "brand_name": "Engines", "logo_url": "https://example.com/logo.svg",
                           "color": "#AA00ff", "support_email": "help@example.com" });
    let change = json!({ "name": "Engines, Ltd.", "slug": "engines-2", "description": "Mills",
                         "branding": branding });
    let changed = ada.patch(&path, change).await.expect(200);
    assert_eq!(changed["name"], "Engines, Ltd.");
    assert_eq!(changed["slug"], "engines-2");
    assert_eq!(changed["branding"]["color"], "#aa00ff");

    let change = json!({ "description": null, "branding": { "logo_url": null } });
    let cleared = ada.patch(&path, change).await.expect(200);
    assert_eq!(cleared["description"], json!(null));
    let left = json!({ "brand_name": "Engines", "logo_url": null, "color": "#aa00ff",
                       "support_email": "help@example.com" });
    assert_eq!(cleared["branding"], left);
    assert_eq!(cleared["name"], "Engines, Ltd.");
    assert_eq!(ada.get(&path).await.expect(200), cleared);

    let workspace = ada.workspace.as_deref().unwrap();
    for table in ["shard.events where type", "shard.audit_log where action"] {
        let told =
            format!("select count(*) from {table} = 'workspace.updated' and workspace_id = '{workspace}'");
        assert_eq!(app.count(&told).await, 2, "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_change_of_a_workspace_says_all_that_is_wrong_and_changes_nothing() {
    let app = TestApp::start().await;
    let (ada, eve) = (app.owner().await, app.owner().await);
    let before = ada.get(&own(&ada)).await.expect(200);
    let change = json!({ "name": "", "slug": "No Slug", "branding": { "logo_url": "http://example.com/x",
                         "color": "red", "support_email": "no address" } });
    let refused = ada.patch(&own(&ada), change).await.expect(422);
    let fields: Vec<_> = refused["fields"].as_object().unwrap().keys().collect();
    assert_eq!(fields, ["branding.color", "branding.logo_url", "branding.support_email", "name", "slug"]);
    let taken = eve.get(&own(&eve)).await.expect(200)["slug"].clone();
    let refused = ada.patch(&own(&ada), json!({ "name": "Other", "slug": taken })).await;
    assert_eq!(refused.error(409), "slug_taken");
    assert_eq!(ada.get(&own(&ada)).await.expect(200), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_is_changed_by_its_admins_and_owners_only() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let (admin, member) = (app.join(&ada, "admin").await, app.join(&ada, "member").await);
    let change = json!({ "description": "Mills" });
    assert_eq!(member.patch(&own(&ada), change.clone()).await.error(403), "forbidden");
    assert_eq!(app.owner().await.patch(&own(&ada), change.clone()).await.error(404), "record_not_found");
    admin.patch(&own(&ada), change).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn switching_is_remembered_and_leads_only_to_ones_own_workspaces() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let bob = app.join(&ada, "member").await;
    let workspace = json!({ "workspace_id": ada.workspace });

    let switched = bob.post("/workspaces/switch", workspace.clone()).await.expect(200);
    assert_eq!((&switched["role"], &switched["is_current"]), (&json!("member"), &json!(true)));
    let bobs = bob.items("/workspaces").await;
    let current: Vec<_> =
        bobs.as_array().unwrap().iter().filter(|workspace| workspace["is_current"] == true).collect();
    assert_eq!(current.len(), 1);
    assert_eq!(current[0]["id"].as_str(), ada.workspace.as_deref());

    let eve = app.owner().await;
    assert_eq!(eve.post("/workspaces/switch", workspace).await.error(404), "record_not_found");
    assert_eq!(bob.post("/workspaces/switch", json!({})).await.error(422), "parameter_missing");
}
