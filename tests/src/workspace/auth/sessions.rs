//! Where one is signed in, and ending that elsewhere.

use serde_json::{Value, json};

use super::{Person, audited};
use crate::{TestApp, masked};

#[tokio::test(flavor = "multi_thread")]
async fn ones_sessions_are_listed_and_ended_one_by_one_or_all_others_at_once() {
    let app = TestApp::start().await;
    let (ada, eve) = (Person::new(&app).await, Person::new(&app).await);
    let (second, third) = (ada.sign_in(&app).await, ada.sign_in(&app).await);

    let list = third.get("/auth/sessions").await.expect(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 3);
    insta::assert_json_snapshot!(masked(&list["items"][0]), @r#"
    {
      "created_at": "[time]",
      "current": true,
      "device": "Unknown device",
      "id": "[id]",
      "impersonated": false,
      "ip": "127.0.0.1",
      "last_used_at": "[time]",
      "user_agent": null
    }
    "#);
    let current = |list: &Value| {
        let items = list["items"].as_array().unwrap();
        items
            .iter()
            .filter(|session| session["current"] == true)
            .map(|it| it["id"].clone())
            .collect::<Vec<_>>()
    };
    let of_second = current(&second.get("/auth/sessions").await.expect(200))[0].clone();
    let path = format!("/auth/sessions/{}", of_second.as_str().unwrap());

    assert_eq!(eve.client.delete(&path).await.error(404), "record_not_found");
    third.delete(&path).await.expect(204);
    assert_eq!(second.get("/auth/me").await.error(401), "token_invalid");
    assert_eq!(third.delete(&path).await.error(404), "record_not_found");
    let refresh = json!({"refresh_token": second.refresh_token});
    assert_eq!(app.anonymous().post("/auth/refresh", refresh).await.error(401), "token_invalid");

    assert_eq!(third.delete("/auth/sessions").await.expect(200), json!({"ended": 1}));
    assert_eq!(ada.client.get("/auth/me").await.error(401), "token_invalid");
    eve.client.get("/auth/me").await.expect(200);
    let left = third.get("/auth/sessions").await.expect(200);
    assert_eq!(left["items"].as_array().unwrap().len(), 1);
    let audit = audited(&app, None).await;
    for action in ["session.opened", "session.ended", "session.others_ended"] {
        assert!(audit.contains(&action.to_owned()), "{action} in {audit:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_can_be_refreshed_no_more_is_not_listed() {
    let app = TestApp::start().await;
    let ada = Person::new(&app).await;
    let elsewhere = ada.sign_in(&app).await;
    sqlx::query("update control.refresh_tokens set expires_at = now()")
        .execute(&app.database.pool)
        .await
        .unwrap();
    let list = elsewhere.get("/auth/sessions").await.expect(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 1, "only the one that asks: {list}");
}
