//! Tours.

use reqwest::Method;
use serde_json::json;

use crate::{TestApp, client::send};

const TOURS: &str = "/members/me/tours";

#[tokio::test(flavor = "multi_thread")]
async fn tours_are_completed_skipped_and_forgotten_by_each_for_themselves() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let bob = app.join(&ada, "viewer").await;
    assert_eq!(bob.get(TOURS).await.expect(200), json!({}));

    bob.post(TOURS, json!({ "tour_id": "welcome", "status": "skipped" })).await.expect(200);
    bob.post(TOURS, json!({ "tour_id": "maps", "status": "completed" })).await.expect(200);
    let both = json!({ "maps": true, "welcome": false });
    assert_eq!(bob.get(TOURS).await.expect(200), both);
    assert_eq!(bob.get("/members/me").await.expect(200)["onboarding"]["tours"], both);
    assert_eq!(ada.get(TOURS).await.expect(200), json!({}));
    let again = bob.post(TOURS, json!({ "tour_id": "welcome", "status": "completed" })).await;
    assert_eq!(again.expect(200), json!({ "maps": true, "welcome": true }));

    let one = bob.request(Method::DELETE, TOURS).json(&json!({ "tour_id": "maps" }));
    assert_eq!(send(one).await.expect(200), json!({ "welcome": true }));
    let all = bob.request(Method::DELETE, TOURS).json(&json!({ "tour_id": null }));
    assert_eq!(send(all).await.expect(200), json!({}));
    bob.post(TOURS, json!({ "tour_id": "maps", "status": "completed" })).await.expect(200);
    assert_eq!(bob.delete(TOURS).await.expect(200), json!({}), "no body means all");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tour_without_a_good_id_or_end_is_refused() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    assert_eq!(ada.post(TOURS, json!({})).await.error(422), "parameter_missing");
    for wrong in [
        json!({ "tour_id": "a b", "status": "completed" }),
        json!({ "tour_id": "", "status": "completed" }),
        json!({ "tour_id": "maps", "status": "begun" }),
    ] {
        assert_eq!(ada.post(TOURS, wrong.clone()).await.error(422), "record_invalid", "{wrong}");
    }
    let wrong = ada.request(Method::DELETE, TOURS).json(&json!({ "tour_id": ["maps"] }));
    assert_eq!(send(wrong).await.error(422), "record_invalid");
    let elsewhere = app.owner().await.in_workspace(ada.workspace.as_deref());
    assert_eq!(elsewhere.get(TOURS).await.error(404), "record_not_found");
}
