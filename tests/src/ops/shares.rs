//! Shares.

use serde_json::json;
use uuid::Uuid;

use crate::TestApp;

#[tokio::test(flavor = "multi_thread")]
async fn a_share_is_set_changed_and_given_up() {
    let app = TestApp::start().await;
    let operator = app.operator();
    let ada = app.owner().await;
    let path = format!("/shares/{}", ada.workspace.as_deref().unwrap());
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

#[tokio::test(flavor = "multi_thread")]
async fn only_a_workspace_that_there_is_or_the_installation_is_a_tenant() {
    let app = TestApp::start().await;
    let (operator, unknown) = (app.operator(), Uuid::now_v7());
    let by_tenant = async |tenant: Uuid| {
        let limit = json!({"scope": "workspace", "workspace_id": tenant, "max_running": 1});
        [
            operator.post("/pauses", json!({"workspace_id": tenant})).await,
            operator.put("/limits", limit).await,
            operator.put(&format!("/shares/{tenant}"), json!({"weight": 2})).await,
        ]
    };

    let [pause, limit, share] = by_tenant(unknown).await;

    for refused in [pause, limit] {
        let refused = refused.expect(422);
        assert_eq!(refused["fields"]["workspace_id"], json!(["is not the id of a workspace"]), "{refused}");
    }
    assert_eq!(share.error(404), "record_not_found");
    for collection in ["/pauses", "/limits", "/shares"] {
        assert_eq!(operator.get(collection).await.expect(200), json!({"items": []}), "{collection}");
    }
    let [pause, limit, share] = by_tenant(Uuid::nil()).await;
    assert_eq!((pause.status, limit.status, share.status), (201, 200, 200));
}
