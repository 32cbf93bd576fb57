//! Module settings.

use serde_json::json;

use crate::{TestApp, masked};

#[tokio::test(flavor = "multi_thread")]
async fn a_module_is_set_up_changed_and_switched() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    assert_eq!(ada.get("/modules").await.expect(200), json!([]));
    let crm = json!({ "module": "crm", "settings": { "currency": "EUR", "stages": [1, 2] } });
    let made = ada.post("/modules", crm).await.expect(201);
    insta::assert_json_snapshot!(masked(&made), @r#"
    {
      "created_at": "[time]",
      "id": "[id]",
      "is_enabled": true,
      "module": "crm",
      "settings": {
        "currency": "EUR",
        "stages": [
          1,
          2
        ]
      },
      "updated_at": "[time]"
    }
    "#);
    assert_eq!(ada.get("/modules/crm").await.expect(200), made);
    let off = ada.post("/modules", json!({ "module": "chat", "is_enabled": false })).await.expect(201);
    assert_eq!((&off["is_enabled"], &off["settings"]), (&json!(false), &json!({})));
    assert_eq!(ada.get("/modules").await.expect(200), json!([off, made]));

    let changed = ada.patch("/modules/crm", json!({ "settings": { "currency": "CHF" } })).await.expect(200);
    assert_eq!((&changed["is_enabled"], &changed["settings"]), (&json!(true), &json!({ "currency": "CHF" })));
    let changed = ada.patch("/modules/crm", json!({ "is_enabled": false })).await.expect(200);
    assert_eq!(changed["settings"], json!({ "currency": "CHF" }));
    for is_enabled in [true, false] {
        let toggled = ada.post("/modules/crm/toggle", json!({})).await.expect(200);
        assert_eq!(toggled["is_enabled"], is_enabled);
        assert_eq!(ada.get("/modules/crm").await.expect(200), toggled);
    }
    let told = "select count(*) from shard.audit_log where action like 'module.%'";
    assert_eq!(app.count(told).await, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_is_set_up_once_under_a_name_that_is_one_and_with_settings_that_fit() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let longest = "m".repeat(63);
    ada.post("/modules", json!({ "module": longest })).await.expect(201);
    assert_eq!(ada.post("/modules", json!({ "module": longest })).await.error(409), "module_taken");
    assert_eq!(ada.post("/modules", json!({})).await.error(422), "parameter_missing");
    for name in ["", "CRM", "1st", "_x", "a-b", "a b", "ä", &"m".repeat(64)] {
        let refused = ada.post("/modules", json!({ "module": name })).await.expect(422);
        assert!(refused["fields"]["module"].is_array(), "{name}: {refused}");
    }
    let of = |letters: usize| json!({ "text": "x".repeat(letters) });
    let fits = 64 * 1024 - r#"{"text":""}"#.len();
    ada.post("/modules", json!({ "module": "chat", "settings": of(fits) })).await.expect(201);
    for refused in [
        ada.post("/modules", json!({ "module": "crm", "settings": of(fits + 1) })).await,
        ada.patch("/modules/chat", json!({ "settings": of(fits + 1) })).await,
        ada.patch("/modules/chat", json!({ "settings": [] })).await,
    ] {
        assert!(refused.expect(422)["fields"]["settings"].is_array());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn modules_are_seen_by_all_and_set_up_by_admins() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let (admin, member) = (app.join(&ada, "admin").await, app.join(&ada, "member").await);
    let viewer = app.join(&ada, "viewer").await;
    let made = admin.post("/modules", json!({ "module": "crm" })).await.expect(201);
    assert_eq!(viewer.get("/modules/crm").await.expect(200), made);
    for other in [member, viewer] {
        assert_eq!(other.post("/modules", json!({ "module": "chat" })).await.error(403), "forbidden");
        assert_eq!(other.patch("/modules/crm", json!({ "is_enabled": false })).await.error(403), "forbidden");
        assert_eq!(other.post("/modules/crm/toggle", json!({})).await.error(403), "forbidden");
    }
    assert_eq!(ada.get("/modules").await.expect(200), json!([made]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_of_another_workspace_does_not_exist() {
    let app = TestApp::start().await;
    let (ada, eve) = (app.owner().await, app.owner().await);
    let made = ada.post("/modules", json!({ "module": "crm" })).await.expect(201);
    assert_eq!(eve.get("/modules").await.expect(200), json!([]));
    for refused in [
        eve.get("/modules/crm").await,
        eve.patch("/modules/crm", json!({ "is_enabled": false })).await,
        eve.post("/modules/crm/toggle", json!({})).await,
    ] {
        assert_eq!(refused.error(404), "record_not_found");
    }
    eve.post("/modules", json!({ "module": "crm" })).await.expect(201);
    assert_eq!(ada.get("/modules/crm").await.expect(200), made);
    let trespass = eve.in_workspace(ada.workspace.as_deref());
    assert_eq!(trespass.get("/modules").await.error(404), "record_not_found");
}
