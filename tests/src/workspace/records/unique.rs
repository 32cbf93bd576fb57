//! Unique fields: no two records have the same value, also with concurrent requests.

use futures::future::join_all;
use serde_json::{Value, json};

use super::{path, record, recordset};
use crate::{Client, TestApp};

async fn codes(owner: &Client) -> Value {
    let fields = json!([{"label": "Code", "field_type": "text", "unique": true},
                        {"label": "Rate", "field_type": "decimal", "unique": true}]);
    recordset(owner, "Codes", fields).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_another_record_has_is_refused_by_field() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let codes = codes(&owner).await;
    record(&owner, &codes, json!({"code": "a", "rate": "1.50"})).await;
    let other = record(&owner, &codes, json!({"code": "b"})).await;

    // 1.5 is 1.50, whatever it looks like.
    let twice =
        owner.post("/records", json!({"recordset_id": codes, "data": {"code": "a", "rate": 1.5}})).await;
    assert_eq!(
        twice.expect(422),
        json!({"error": "record_invalid", "detail": "code: already taken; rate: already taken",
               "fields": {"code": ["already taken"], "rate": ["already taken"]}})
    );
    let change = owner.patch(&path(&other), json!({"data": {"code": "a"}})).await.expect(422);
    assert_eq!(change["fields"], json!({"code": ["already taken"]}));
    assert_eq!(owner.get(&path(&other)).await.expect(200), other);
    // Blank values are not unique.
    record(&owner, &codes, json!({})).await;
    record(&owner, &codes, json!({"code": ""})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_is_free_again_when_its_record_changes_or_is_deleted() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let codes = codes(&owner).await;
    let first = record(&owner, &codes, json!({"code": "a"})).await;

    owner.patch(&path(&first), json!({"data": {"code": "b"}})).await.expect(200);
    let second = record(&owner, &codes, json!({"code": "a"})).await;
    owner.delete(&path(&second)).await.expect(204);
    owner.patch(&path(&first), json!({"data": {"code": "a"}})).await.expect(200);
    owner.patch(&path(&first), json!({"data": {"code": null}})).await.expect(200);
    record(&owner, &codes, json!({"code": "a"})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_keeps_its_value_when_only_the_spelling_changes() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let codes = codes(&owner).await;
    let first = record(&owner, &codes, json!({"rate": "1.50"})).await;

    let changed = owner.patch(&path(&first), json!({"data": {"rate": "1.5"}})).await.expect(200);

    assert_eq!(changed["data"], json!({"rate": "1.5"}));
    let twice = owner.post("/records", json!({"recordset_id": codes, "data": {"rate": "1.500"}})).await;
    assert_eq!(twice.error(422), "record_invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_records_at_once_with_one_value_exactly_one_is_created() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let codes = codes(&owner).await;

    let body = json!({"recordset_id": codes, "data": {"code": "a", "rate": 1}});
    let replies = join_all((0..6).map(|_| owner.post("/records", body.clone()))).await;

    let mut statuses: Vec<_> = replies.iter().map(|reply| reply.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 422, 422, 422, 422, 422]);
    assert_eq!(owner.get("/records").await.expect(200)["total"], 1);
    assert_eq!(owner.get("/recordsets/codes").await.expect(200)["record_count"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_swap_their_values_at_once_are_refused_and_don_t_fail() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let codes = codes(&owner).await;
    let (one, other) = (
        record(&owner, &codes, json!({"code": "a"})).await,
        record(&owner, &codes, json!({"code": "b"})).await,
    );
    let (one, other) = (&path(&one), &path(&other));

    for _ in 0..100 {
        let (first, second) = tokio::join!(
            owner.patch(one, json!({"data": {"code": "b"}})),
            owner.patch(other, json!({"data": {"code": "a"}})),
        );
        for reply in [first, second] {
            assert_eq!(reply.expect(422)["fields"], json!({"code": ["already taken"]}));
        }
    }
}
