//! What a recordset and its fields may be.

use futures::future::join_all;
use serde_json::json;

use crate::TestApp;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_recordset_is_said_all_at_once_by_field() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let wrong = json!({"name": " ", "slug": "Import!", "description": "x".repeat(10_001),
                       "fields": [{"key": "a", "label": "A", "field_type": "integer", "options": ["1"]},
                                  {"key": "a", "label": "A", "field_type": "text"},
                                  {"label": "Tags", "field_type": "multi_choice", "unique": true,
                                   "options": ["x", "x", " "]}]});
    insta::assert_json_snapshot!(owner.post("/recordsets", wrong).await.expect(422), @r#"
    {
      "detail": "description: must have at most 10,000 characters; fields.a: only choice and multi_choice fields have options, another field has the same key; fields.tags: an option is blank, has white space around it, or contains U+0000, an option is listed twice, values of this type can't be kept unique; name: must not be empty; slug: must be 1 to 80 lower-case letters, digits and single hyphens, and not a reserved word or an id",
      "error": "record_invalid",
      "fields": {
        "description": [
          "must have at most 10,000 characters"
        ],
        "fields.a": [
          "only choice and multi_choice fields have options",
          "another field has the same key"
        ],
        "fields.tags": [
          "an option is blank, has white space around it, or contains U+0000",
          "an option is listed twice",
          "values of this type can't be kept unique"
        ],
        "name": [
          "must not be empty"
        ],
        "slug": [
          "must be 1 to 80 lower-case letters, digits and single hyphens, and not a reserved word or an id"
        ]
      }
    }
    "#);

    let malformed =
        json!({"settings": [], "fields": [{"label": 1, "field_type": "colour"}, {"field_type": "text"}]});
    insta::assert_json_snapshot!(owner.post("/recordsets", malformed).await.expect(422), @r#"
    {
      "detail": "required and missing: fields.1.label, name",
      "error": "parameter_missing",
      "fields": {
        "fields.1.label": [
          "is required"
        ],
        "name": [
          "is required"
        ]
      }
    }
    "#);
    let kinds = json!({"name": "x", "settings": [], "fields": [{"label": 1, "field_type": "colour"}]});
    insta::assert_json_snapshot!(owner.post("/recordsets", kinds).await.expect(422), @r#"
    {
      "detail": "fields.0.field_type: must be one of \"text\", \"long_text\", \"integer\", \"decimal\", \"boolean\", \"date\", \"datetime\", \"email\", \"url\", \"phone\", \"choice\", \"multi_choice\", \"json\", \"geo_point\", \"geometry\"; fields.0.label: must be a string; settings: must be an object",
      "error": "record_invalid",
      "fields": {
        "fields.0.field_type": [
          "must be one of \"text\", \"long_text\", \"integer\", \"decimal\", \"boolean\", \"date\", \"datetime\", \"email\", \"url\", \"phone\", \"choice\", \"multi_choice\", \"json\", \"geo_point\", \"geometry\""
        ],
        "fields.0.label": [
          "must be a string"
        ],
        "settings": [
          "must be an object"
        ]
      }
    }
    "#);

    for slug in ["import", "export", "trash", "a--b", "-a", "A", "", "0190b5a4-7e2f-7c3a-9b1d-2f4e6a8c0d1e"] {
        let answer = owner.post("/recordsets", json!({"name": "x", "slug": slug})).await.expect(422);
        assert_eq!(answer["fields"].as_object().unwrap().keys().collect::<Vec<_>>(), ["slug"], "{slug}");
    }
    let key = json!({"name": "x", "fields": [{"key": "No Key", "label": "x", "field_type": "text"}]});
    assert_eq!(owner.post("/recordsets", key).await.error(422), "record_invalid");
    assert_eq!(owner.get("/recordsets").await.expect(200)["total"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_keeps_its_type_and_becomes_unique_only_while_there_are_no_records() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let leads = owner
        .post("/recordsets", json!({"name": "Leads", "fields": [{"label": "Code", "field_type": "text"}]}))
        .await
        .expect(201);
    let with = |field_type: &str, unique: bool| json!({"fields": [{"key": "code", "label": "Code", "field_type": field_type, "unique": unique}]});

    insta::assert_json_snapshot!(owner.patch("/recordsets/leads", with("integer", false)).await.expect(422), @r#"
    {
      "detail": "fields.code: the type of a field can't be changed; add another field instead",
      "error": "record_invalid",
      "fields": {
        "fields.code": [
          "the type of a field can't be changed; add another field instead"
        ]
      }
    }
    "#);
    owner.patch("/recordsets/leads", with("text", true)).await.expect(200);
    owner.patch("/recordsets/leads", with("text", false)).await.expect(200);
    let record = json!({"recordset_id": leads["id"], "data": {"code": "a"}});
    for _ in 0..2 {
        owner.post("/records", record.clone()).await.expect(201);
    }
    insta::assert_json_snapshot!(owner.patch("/recordsets/leads", with("text", true)).await.expect(422), @r#"
    {
      "detail": "fields.code: a field can't become unique while the recordset has records",
      "error": "record_invalid",
      "fields": {
        "fields.code": [
          "a field can't become unique while the recordset has records"
        ]
      }
    }
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_added_at_once_get_keys_of_their_own() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    owner.post("/recordsets", json!({"name": "Leads"})).await.expect(201);

    let field = json!({"fields": [{"label": "Note", "field_type": "text"}]});
    for reply in join_all((0..5).map(|_| owner.patch("/recordsets/leads", field.clone()))).await {
        reply.expect(200);
    }

    let leads = owner.get("/recordsets/leads").await.expect(200);
    let keys: Vec<_> = leads["fields"].as_array().unwrap().iter().map(|field| &field["key"]).collect();
    assert_eq!(keys, ["note", "note_2", "note_3", "note_4", "note_5"]);
}
