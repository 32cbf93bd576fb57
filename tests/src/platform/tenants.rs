//! A tenant's plan and storage.

mod storage;

use serde_json::json;

use crate::TestApp;

#[tokio::test(flavor = "multi_thread")]
async fn usage_shows_the_plan_its_limits_and_the_bytes_of_files() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (_, program) = owner.new_key(&["read"]).await;
    app.run("update rate_limits set requests = 30 where plan = 'free' and bucket = 'day'").await;

    let usage = program.get("/v1/usage").await.expect(200)["data"].clone();

    assert!(usage["tenant_id"].as_str().unwrap().starts_with("tn_"));
    assert_eq!((&usage["plan_tier"], &usage["used_storage_bytes"]), (&json!("free"), &json!(0)));
    assert_eq!(usage["plan_limits"]["requests_per_day"], 30);
    let limits = &usage["plan_limits"];
    assert_eq!((&limits["api_keys"], &limits["storage_bytes"]), (&json!(20), &json!(1_u64 << 30)));
    assert_eq!(
        (&limits["max_upload_bytes"], &limits["schedule_interval_seconds"]),
        (&json!(256 << 20), &json!(900))
    );

    let csv = "name\nAda\n";
    owner.upload("/recordsets/import/upload", "data.csv", csv).await.expect(201);
    app.run("update workspaces set plan = 'enterprise'").await;
    let usage = program.get("/v1/usage").await.expect(200)["data"].clone();
    assert_eq!(
        (&usage["plan_tier"], &usage["used_storage_bytes"]),
        (&json!("enterprise"), &json!(csv.len()))
    );
    for unlimited in ["requests_per_day", "api_keys", "storage_bytes", "scheduled_jobs"] {
        assert!(usage["plan_limits"][unlimited].is_null(), "{unlimited}");
    }
    assert_eq!(usage["plan_limits"]["max_upload_bytes"], 1_u64 << 30, "as the installation has it");
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_do_not_see_the_plan() {
    let app = TestApp::start().await;
    let owner = app.owner().await;

    assert_eq!(app.join(&owner, "viewer").await.get("/v1/usage").await.error(403), "forbidden");
    app.join(&owner, "member").await.get("/v1/usage").await.expect(200);
    let (_, writer) = owner.new_key(&["write"]).await;
    assert_eq!(writer.get("/v1/usage").await.error(403), "forbidden");
}
