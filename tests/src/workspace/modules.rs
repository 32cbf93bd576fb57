//! Module settings.

use serde_json::json;

use crate::TestApp;

#[tokio::test(flavor = "multi_thread")]
async fn a_module_is_enabled_by_default_and_a_change_leaves_the_others() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let crm = json!({ "module": "crm", "settings": { "currency": "EUR", "stages": [1, 2] } });
    let made = ada.post("/modules", crm).await.expect(201);
    assert_eq!(made["is_enabled"], true);
    let off = ada.post("/modules", json!({ "module": "chat", "is_enabled": false })).await.expect(201);
    assert_eq!((&off["is_enabled"], &off["settings"]), (&json!(false), &json!({})));
    assert_eq!(ada.get("/modules").await.expect(200), json!([off, made]), "by name");

    let changed = ada.patch("/modules/crm", json!({ "settings": { "currency": "CHF" } })).await.expect(200);
    assert_eq!((&changed["is_enabled"], &changed["settings"]), (&json!(true), &json!({ "currency": "CHF" })));
    for is_enabled in [false, true] {
        let toggled = ada.post("/modules/crm/toggle", json!({})).await.expect(200);
        assert_eq!(
            (&toggled["is_enabled"], &toggled["settings"]),
            (&json!(is_enabled), &changed["settings"])
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_has_up_to_63_characters_and_settings_have_up_to_64_kib() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    ada.post("/modules", json!({ "module": "m".repeat(63) })).await.expect(201);
    let of = |length: usize| json!({ "text": "x".repeat(length) });
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
