//! Who is behind a token, and which books it opens.

use serde_json::{Value, json};

use crate::{TestApp, masked};

#[tokio::test(flavor = "multi_thread")]
async fn a_personal_tokens_owner_is_its_person() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let token = owner.post("/auth/tokens", json!({"name": "Script"})).await.expect(201);
    let program = owner.program(token["token"].as_str().unwrap());

    let me = program.get("/v1/me").await.expect(200);

    assert_eq!(
        masked(&me),
        json!({"id": "[id]", "name": "Ada Lovelace", "email": "[email]",
               "credential": {"type": "personal_token", "name": "Script", "prefix": token["prefix"],
                              "scopes": ["read"]}})
    );
    assert!(me["id"].as_str().unwrap().starts_with("usr_"));
    let session = owner.get("/v1/me").await.expect(200);
    assert_eq!((&session["id"], &session["credential"]), (&me["id"], &json!({"type": "session"})));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_itself_and_opens_its_own_book() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (_, program) = owner.new_key(&["read"]).await;

    let me = program.get("/v1/me").await.expect(200);
    let books = program.get("/v1/books").await.expect(200);

    assert!(me["id"].as_str().unwrap().starts_with("key_"));
    assert_eq!((&me["name"], &me["email"]), (&json!("A program"), &Value::Null));
    assert_eq!(me["credential"]["book_id"], books["data"][0]["id"]);
    assert_eq!(books["data"][0]["role"], "owner", "as the person is who answers for it");
    assert_eq!(
        books["pagination"],
        json!({"current_page": 1, "total_pages": 1, "total_count": 1, "per_page": 25})
    );
    assert_eq!(books.as_object().unwrap().len(), 2, "no envelope");
}

#[tokio::test(flavor = "multi_thread")]
async fn books_are_those_of_the_person_by_pages_or_the_one_of_the_token() {
    let app = TestApp::start().await;
    let host = app.owner().await;
    let guest = app.join(&host, "viewer").await;
    let all = guest.post("/auth/tokens", json!({"name": "x"})).await.expect(201);
    let one =
        guest.post("/auth/tokens", json!({"name": "x", "workspace_id": host.workspace})).await.expect(201);
    let of = |token: &Value| guest.program(token["token"].as_str().unwrap());

    let page = of(&all).get("/v1/books?page=2&per_page=1").await.expect(200);
    assert_eq!(page["data"].as_array().unwrap().len(), 1);
    assert_eq!(
        page["pagination"],
        json!({"current_page": 2, "total_pages": 2, "total_count": 2, "per_page": 1})
    );
    let beyond = of(&all).get("/v1/books?page=9&per_page=1000").await.expect(200);
    assert_eq!(
        (&beyond["data"], &beyond["pagination"]),
        (&json!([]), &json!({"current_page": 9, "total_pages": 1, "total_count": 2, "per_page": 100}))
    );
    let only = of(&one).get("/v1/books").await.expect(200);
    assert_eq!((&only["pagination"]["total_count"], &only["data"][0]["role"]), (&json!(1), &json!("viewer")));
    assert_eq!(of(&all).get("/v1/books?per_page=0").await.error(422), "record_invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_is_told_nothing() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (_, writer) = owner.new_key(&["write"]).await;

    for path in ["/v1/me", "/v1/books"] {
        let refused = writer.get(path).await.expect(403);
        assert_eq!(refused, json!({"error": "forbidden", "detail": "the scope read is required"}), "{path}");
        let missing = app.anonymous().get(path).await.expect(401);
        assert_eq!((&missing["error"], missing["detail"].is_string()), (&json!("token_missing"), true));
        assert_eq!(app.anonymous().post(path, json!({})).await.expect(405)["error"], "method_not_allowed");
    }
}
