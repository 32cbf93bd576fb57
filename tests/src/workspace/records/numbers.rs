//! Numbers, which PostgreSQL keeps exactly and no layer may round.

use serde_json::json;

use super::{record, recordset};
use crate::TestApp;

#[tokio::test(flavor = "multi_thread")]
async fn numbers_come_back_as_they_were_sent() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let fields = json!([{"key": "any", "label": "Any", "field_type": "json"}]);
    let numbers = recordset(&owner, "Numbers", fields).await;
    let any = json!([0.003, 12.343, 271.563, 1e23, 5e-324, f64::MAX, -f64::MAX, u64::MAX, i64::MIN]);

    let created = record(&owner, &numbers, json!({"any": any})).await;
    assert_eq!(created["data"]["any"], any);
    let path = format!("/records/{}", created["id"].as_str().unwrap());
    assert_eq!(owner.get(&path).await.expect(200)["data"]["any"], any);
}
