//! Records: the rows of recordsets.

mod changes;
mod lists;
mod numbers;
mod unique;

use serde_json::{Value, json};

use super::recordsets::{become_role, everything};
use crate::{Client, TestApp, masked};

/// Creates a recordset of these fields; answers with its id.
async fn recordset(owner: &Client, name: &str, fields: Value) -> Value {
    owner.post("/recordsets", json!({"name": name, "fields": fields})).await.expect(201)["id"].clone()
}

/// Creates a record.
async fn record(owner: &Client, recordset: &Value, data: Value) -> Value {
    owner.post("/records", json!({"recordset_id": recordset, "data": data})).await.expect(201)
}

/// The path of a record.
fn path(record: &Value) -> String {
    format!("/records/{}", record["id"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_holds_a_value_of_every_type_in_its_stored_form() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let recordset = everything(&owner).await["id"].clone();
    let data = json!({
        "text": "Grüße, 世界 🚜 'quoted'; drop table records; --",
        "long_text": "two\nlines",
        "integer": 9_223_372_036_854_775_807_i64,
        "decimal": "1234567890123456789012.345670",
        "boolean": true,
        "date": "2026-02-28",
        "datetime": "2026-02-28T23:30:00.123456+02:00",
        "email": "ada@example.com",
        "url": "https://example.com/a?b=c#d",
        "phone": "+44 20 7946 0000",
        "choice": "won",
        "multi_choice": ["Won", "lead"],
        "json": {"a": [1, null, {"b": "c"}]},
        "geo_point": {"lat": 52.5, "lng": 13.4},
        "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [4, 0], [4, 4], [0, 0]]]},
    });

    let created = record(&owner, &recordset, data).await;

    insta::assert_json_snapshot!(masked(&created), @r#"
    {
      "created_at": "[time]",
      "created_by": "[id]",
      "data": {
        "boolean": true,
        "choice": "Won",
        "date": "2026-02-28",
        "datetime": "2026-02-28T21:30:00.123456Z",
        "decimal": "1234567890123456789012.345670",
        "email": "ada@example.com",
        "geo_point": {
          "coordinates": [
            13.4,
            52.5
          ],
          "type": "Point"
        },
        "geometry": {
          "coordinates": [
            [
              [
                0,
                0
              ],
              [
                4,
                0
              ],
              [
                4,
                4
              ],
              [
                0,
                0
              ]
            ]
          ],
          "type": "Polygon"
        },
        "integer": 9223372036854775807,
        "json": {
          "a": [
            1,
            null,
            {
              "b": "c"
            }
          ]
        },
        "long_text": "two\nlines",
        "multi_choice": [
          "Won",
          "Lead"
        ],
        "phone": "+44 20 7946 0000",
        "text": "Grüße, 世界 🚜 'quoted'; drop table records; --",
        "url": "https://example.com/a?b=c#d"
      },
      "id": "[id]",
      "recordset_id": "[id]",
      "updated_at": "[time]",
      "updated_by": "[id]",
      "version": 1
    }
    "#);
    assert_eq!(owner.get(&path(&created)).await.expect(200), created);
    let page = owner.get(&format!("/records?recordset_id={}", recordset.as_str().unwrap())).await.expect(200);
    assert_eq!(page, json!({"items": [created], "total": 1, "page": 1, "page_size": 50, "pages": 1}));
    assert_eq!(owner.get("/recordsets/everything").await.expect(200)["record_count"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn decimals_stay_exact_strings_whatever_they_come_as() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let prices = recordset(&owner, "Prices", json!([{"label": "Price", "field_type": "decimal"}])).await;
    for (sent, stored) in [
        (json!("0.10"), "0.10"),
        (json!("1234.50"), "1234.50"),
        (json!("-79228162514264337593543950335"), "-79228162514264337593543950335"),
        (json!("0.0000000000000000000000000001"), "0.0000000000000000000000000001"),
        (json!(0.1), "0.1"),
        (json!(12), "12"),
        (json!(" 7 "), "7"),
        (json!("-0"), "0"),
    ] {
        let created = record(&owner, &prices, json!({ "price": sent })).await;
        assert_eq!(created["data"], json!({ "price": stored }));
        assert_eq!(owner.get(&path(&created)).await.expect(200)["data"], json!({ "price": stored }));
    }
    let too_exact = json!({"recordset_id": prices, "data": {"price": "79228162514264337593543950336"}});
    assert_eq!(owner.post("/records", too_exact).await.error(422), "record_invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn blank_values_are_left_out_and_missing_required_ones_refused() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let fields = json!([{"label": "Name", "field_type": "text", "required": true}, {"label": "Note", "field_type": "text"}]);
    let people = recordset(&owner, "People", fields).await;

    assert_eq!(
        record(&owner, &people, json!({"name": "Ada", "note": " "})).await["data"],
        json!({"name": "Ada"})
    );
    assert_eq!(
        record(&owner, &people, json!({"name": "Ada", "note": null})).await["data"],
        json!({"name": "Ada"})
    );
    for blank in [json!({}), json!({"name": null}), json!({"name": "  "})] {
        let refused =
            owner.post("/records", json!({"recordset_id": people, "data": blank})).await.expect(422);
        assert_eq!(
            refused,
            json!({"error": "record_invalid", "detail": "name: Name is required",
                   "fields": {"name": ["Name is required"]}})
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_record_is_said_all_at_once_by_field() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let recordset = everything(&owner).await["id"].clone();
    let wrong = json!({
        "text": 7, "long_text": ["x"], "integer": 1.5, "decimal": "1,5", "boolean": "perhaps", "date": "2026-02-30",
        "datetime": "tomorrow", "email": "ada@", "url": "example", "phone": "12", "choice": "Lost",
        "multi_choice": ["Lead", "Lost"], "geo_point": {"lat": 91, "lng": 0}, "geometry": {"type": "Blob"},
        "colour": "red",
    });
    let refused = owner.post("/records", json!({"recordset_id": recordset, "data": wrong})).await.expect(422);
    insta::assert_json_snapshot!(refused["fields"], @r#"
    {
      "boolean": [
        "“perhaps” is neither a yes nor a no"
      ],
      "choice": [
        "“Lost” is not one of the field's options"
      ],
      "colour": [
        "is not a field of this recordset"
      ],
      "date": [
        "“2026-02-30” is not a date; write YYYY-MM-DD"
      ],
      "datetime": [
        "“tomorrow” is not a date and time; write YYYY-MM-DDTHH:MM:SSZ"
      ],
      "email": [
        "“ada@” is not an e-mail address"
      ],
      "geo_point": [
        "longitudes lie between -180 and 180, latitudes between -90 and 90"
      ],
      "geometry": [
        "coordinates is not an array"
      ],
      "integer": [
        "“1.5” is not a whole number"
      ],
      "long_text": [
        "a long_text field takes no value that is an array"
      ],
      "multi_choice": [
        "“Lost” is not one of the field's options"
      ],
      "phone": [
        "“12” is not a phone number of 5 to 15 digits"
      ],
      "text": [
        "a text field takes no value that is a number"
      ],
      "url": [
        "“example” is not an absolute http, https, ftp or mailto URL"
      ]
    }
    "#);
    assert_eq!(refused["error"], "record_invalid");
    assert_eq!(owner.get("/records").await.expect(200)["total"], 0);

    for limits in [
        json!({"text": "x".repeat(10_001)}),
        json!({"integer": "9223372036854775808"}),
        json!({"integer": 1e300}),
        json!({"decimal": 1e300}),
        json!({"date": "10000-01-01"}),
        json!({"url": "javascript:alert(1)"}),
        json!({"geo_point": {"type": "Point", "coordinates": [181, 0]}}),
        json!({"geometry": {"type": "Point", "coordinates": ["a", "b"]}}),
        json!({"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}}),
        json!({"geometry": {"type": "LineString", "coordinates": []}}),
        json!({"geometry": {"type": "LineString", "coordinates": [[0, 0]]}}),
    ] {
        let body = json!({"recordset_id": recordset, "data": limits});
        assert_eq!(owner.post("/records", body).await.error(422), "record_invalid", "{limits}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_needs_a_recordset_and_an_object() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let leads = recordset(&owner, "Leads", json!([])).await;
    let post = async |body: Value| owner.post("/records", body).await;

    insta::assert_json_snapshot!(post(json!({})).await.expect(422), @r#"
    {
      "detail": "required and missing: data, recordset_id",
      "error": "parameter_missing",
      "fields": {
        "data": [
          "is required"
        ],
        "recordset_id": [
          "is required"
        ]
      }
    }
    "#);
    insta::assert_json_snapshot!(post(json!({"recordset_id": "leads", "data": []})).await.expect(422), @r#"
    {
      "detail": "data: must be an object; recordset_id: must be a uuid",
      "error": "record_invalid",
      "fields": {
        "data": [
          "must be an object"
        ],
        "recordset_id": [
          "must be a uuid"
        ]
      }
    }
    "#);
    let nowhere = json!({"recordset_id": uuid::Uuid::now_v7(), "data": {}});
    assert_eq!(post(nowhere).await.error(404), "record_not_found");
    owner.delete("/recordsets/leads").await.expect(204);
    assert_eq!(post(json!({"recordset_id": leads, "data": {}})).await.error(404), "record_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_record_is_gone_for_everyone_and_kept_behind_the_scenes() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let leads = recordset(&owner, "Leads", json!([{"label": "Name", "field_type": "text"}])).await;
    let (ada, eve) = (
        record(&owner, &leads, json!({"name": "Ada"})).await,
        record(&owner, &leads, json!({"name": "Eve"})).await,
    );

    assert_eq!(owner.delete(&path(&ada)).await.expect(204), Value::Null);

    assert_eq!(owner.get(&path(&ada)).await.error(404), "record_not_found");
    assert_eq!(owner.delete(&path(&ada)).await.error(404), "record_not_found");
    assert_eq!(owner.patch(&path(&ada), json!({"data": {}})).await.error(404), "record_not_found");
    for list in ["/records", "/records?search=a&sort_by=updated_at"] {
        let page = owner.get(list).await.expect(200);
        let left: Vec<_> = page["items"].as_array().unwrap().iter().map(|item| item["id"].clone()).collect();
        assert!(!left.contains(&ada["id"]), "{page}");
    }
    assert_eq!(owner.get("/records").await.expect(200)["items"], json!([eve]));
    assert_eq!(owner.get("/recordsets/leads").await.expect(200)["record_count"], 1);
    let schema = format!("ws_{}", owner.workspace.as_ref().unwrap().replace('-', ""));
    assert_eq!(app.count(&format!("select count(*) from {schema}.record_versions")).await, 1);

    // With the recordset in the trash its records are not there either.
    owner.delete("/recordsets/leads").await.expect(204);
    assert_eq!(owner.get(&path(&eve)).await.error(404), "record_not_found");
    assert_eq!(owner.get("/records").await.expect(200)["total"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_another_workspace_does_not_exist() {
    let app = TestApp::start().await;
    let (ada, eve) = (app.owner().await, app.owner().await);
    let leads = recordset(&ada, "Leads", json!([{"label": "Name", "field_type": "text"}])).await;
    let hers = record(&ada, &leads, json!({"name": "Ada"})).await;

    eve.finds_nothing_at(&path(&hers), json!({"data": {"name": "Eve"}})).await;
    let into_hers = json!({"recordset_id": leads, "data": {"name": "Eve"}});
    assert_eq!(eve.post("/records", into_hers).await.error(404), "record_not_found");
    let list = format!("/records?recordset_id={}", leads.as_str().unwrap());
    assert_eq!(eve.get(&list).await.error(404), "record_not_found");
    assert_eq!(eve.get("/records").await.expect(200)["total"], 0);
    assert_eq!(ada.get(&path(&hers)).await.expect(200), hers);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_reads_records_and_writes_none() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let leads = recordset(&owner, "Leads", json!([{"label": "Name", "field_type": "text"}])).await;
    let ada = record(&owner, &leads, json!({"name": "Ada"})).await;
    become_role(&app, "viewer").await;

    assert_eq!(owner.get(&path(&ada)).await.expect(200), ada);
    assert_eq!(owner.get("/records").await.expect(200)["total"], 1);
    for (refused, permission) in [
        (owner.post("/records", json!({"recordset_id": leads, "data": {}})).await, "records:create"),
        (owner.patch(&path(&ada), json!({"data": {"name": "Eve"}})).await, "records:edit"),
        (owner.delete(&path(&ada)).await, "records:delete"),
    ] {
        assert_eq!(
            refused.expect(403),
            json!({"error": "forbidden", "detail": format!("the permission {permission} is required")})
        );
    }
    assert_eq!(owner.get(&path(&ada)).await.expect(200), ada);
}
