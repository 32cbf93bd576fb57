//! DLQ: dead letters as the Platform API shows them.

use serde_json::json;

use crate::{TestApp, masked, workspace::dead_letter};

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_listed_retried_and_discarded_by_their_type_id() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    dead_letter(&app, &owner).await;
    dead_letter(&app, &owner).await;

    let list = owner.get("/v1/dlq?limit=1").await.expect(200);
    let mut shown = list["data"].clone();
    let stream = shown["messages"][0].as_object_mut().unwrap().remove("stream_url").unwrap();
    let first_id = list["data"]["messages"][0]["id"].as_str().unwrap();
    assert!(stream.as_str().unwrap().starts_with(&format!("/v1/jobs/{first_id}/stream?ticket=")), "{stream}");
    insta::assert_json_snapshot!(masked(&shown), @r#"
    {
      "messages": [
        {
          "attempts": 1,
          "created_at": "[time]",
          "error_code": "asked_to_fail",
          "error_message": "failure requested",
          "failed_at": "[time]",
          "id": "[id]",
          "kind": "engine.no_op",
          "payload": {
            "fails": true,
            "failures": 0,
            "ignore_cancel": false,
            "lines": 0,
            "report_ms": 0,
            "sleep_ms": 0
          }
        }
      ],
      "total": 2
    }
    "#);
    let first = list["data"]["messages"][0]["id"].as_str().unwrap();
    assert!(first.starts_with("job_"), "{first}");
    let rest = owner.get("/v1/dlq?limit=1&offset=1").await.expect(200);
    let second = rest["data"]["messages"][0]["id"].as_str().unwrap();
    assert_ne!(first, second);
    assert_eq!(owner.get("/v1/dlq?limit=0").await.error(422), "record_invalid");

    let retried = owner.post(&format!("/v1/dlq/{first}/retry"), json!({})).await.expect(200);
    assert_eq!((&retried["success"], &retried["data"]["retried"]), (&json!(true), &json!(true)));
    assert!(retried["data"]["stream_url"].as_str().unwrap().starts_with("/v1/jobs/job_"), "{retried}");
    owner.events(&format!("/v1/jobs/{first}/stream"), None).await.to_the_end().await;
    let discarded = owner.delete(&format!("/v1/dlq/{second}")).await.expect(200);
    assert_eq!(discarded["data"], json!({"discarded": true}));

    for reply in [
        owner.delete(&format!("/v1/dlq/{second}")).await,
        owner.post(&format!("/v1/dlq/{second}/retry"), json!({})).await,
        owner.delete("/v1/dlq/msg_x").await,
    ] {
        assert_eq!(reply.error(404), "record_not_found");
    }
    let left = owner.get("/v1/dlq").await.expect(200);
    assert_eq!((&left["data"]["total"], &left["data"]["messages"][0]["id"]), (&json!(1), &json!(first)));
}
