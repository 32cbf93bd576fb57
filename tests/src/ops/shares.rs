//! Shares.

use serde_json::json;
use uuid::Uuid;

use crate::TestApp;

#[tokio::test(flavor = "multi_thread")]
async fn a_share_is_set_changed_and_given_up() {
    let app = TestApp::start().await;
    let operator = app.operator();
    let path = format!("/shares/{}", Uuid::now_v7());
    operator.put(&path, json!({"weight": 2})).await.expect(200);
    let share = operator.put(&path, json!({"weight": 10})).await.expect(200);
    assert_eq!(share["weight"], 10);
    assert_eq!(operator.get("/shares").await.expect(200), json!({"items": [share]}));
    for nonsense in [0, -1, 1001] {
        assert_eq!(operator.put(&path, json!({"weight": nonsense})).await.error(422), "record_invalid");
    }
    operator.delete(&path).await.expect(204);
    assert_eq!(operator.delete(&path).await.error(404), "record_not_found");
    assert_eq!(operator.get("/shares").await.expect(200), json!({"items": []}));
}
