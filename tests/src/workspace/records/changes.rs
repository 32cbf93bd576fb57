//! Changes of records: versions, conflicts, and several at once.

use futures::future::join_all;
use serde_json::{Value, json};

use super::{path, record, recordset};
use crate::{Client, TestApp, masked};

async fn leads(owner: &Client) -> Value {
    let fields = json!([{"label": "Name", "field_type": "text", "required": true},
                        {"label": "Revenue", "field_type": "decimal"},
                        {"label": "A", "field_type": "integer"}, {"label": "B", "field_type": "integer"},
                        {"label": "C", "field_type": "integer"}, {"label": "D", "field_type": "integer"}]);
    recordset(owner, "Leads", fields).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_replaces_what_it_names_clears_with_null_and_keeps_the_version_before() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let leads = leads(&owner).await;
    let created = record(&owner, &leads, json!({"name": "Ada", "revenue": "1.50", "a": 1})).await;

    let changed =
        owner.patch(&path(&created), json!({"data": {"revenue": "2", "a": null}})).await.expect(200);

    insta::assert_json_snapshot!(masked(&changed), @r#"
    {
      "created_at": "[time]",
      "created_by": "[id]",
      "data": {
        "name": "Ada",
        "revenue": "2"
      },
      "id": "[id]",
      "recordset_id": "[id]",
      "updated_at": "[time]",
      "updated_by": "[id]",
      "version": 2
    }
    "#);
    assert_eq!(owner.get(&path(&created)).await.expect(200), changed);
    assert_eq!(changed["created_at"], created["created_at"]);
    assert_ne!(changed["updated_at"], created["updated_at"]);
    let schema = format!("ws_{}", owner.workspace.as_ref().unwrap().replace('-', ""));
    let version =
        format!("select jsonb_build_object('version', version, 'data', data) from {schema}.record_versions");
    let kept: Vec<Value> =
        sqlx::query_scalar(sqlx::AssertSqlSafe(version)).fetch_all(&app.database.pool).await.unwrap();
    assert_eq!(kept, [json!({"version": 1, "data": created["data"]})]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_changes_nothing_makes_no_version() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let leads = leads(&owner).await;
    let created = record(&owner, &leads, json!({"name": "Ada", "revenue": "1.50"})).await;
    for same in [json!({}), json!({"name": "Ada"}), json!({"a": null, "revenue": "1.50"})] {
        assert_eq!(owner.patch(&path(&created), json!({ "data": same })).await.expect(200), created);
    }
    let events = "select count(*) from shard.events where subject = 'record'";
    assert_eq!(app.count(events).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_change_is_refused_by_field_and_changes_nothing() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let leads = leads(&owner).await;
    let created = record(&owner, &leads, json!({"name": "Ada", "a": 1})).await;

    let wrong = json!({"data": {"name": null, "revenue": "much", "a": 2, "colour": "red", "__proto__": 1}});
    insta::assert_json_snapshot!(owner.patch(&path(&created), wrong).await.expect(422), @r#"
    {
      "detail": "__proto__: is not a field of this recordset; colour: is not a field of this recordset; name: Name is required; revenue: “much” is not a decimal number",
      "error": "record_invalid",
      "fields": {
        "__proto__": [
          "is not a field of this recordset"
        ],
        "colour": [
          "is not a field of this recordset"
        ],
        "name": [
          "Name is required"
        ],
        "revenue": [
          "“much” is not a decimal number"
        ]
      }
    }
    "#);
    assert_eq!(
        owner.patch(&path(&created), json!({})).await.expect(422),
        json!({"error": "parameter_missing", "detail": "required and missing: data", "fields": {"data": ["is required"]}})
    );
    assert_eq!(owner.get(&path(&created)).await.expect(200), created);
    for id in ["x", "0190b5a4-7e2f-7c3a-9b1d-2f4e6a8c0d1e"] {
        let answer = owner.patch(&format!("/records/{id}"), json!({"data": {}})).await;
        assert_eq!(answer.error(404), "record_not_found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_made_for_another_version_is_a_conflict() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let leads = leads(&owner).await;
    let created = record(&owner, &leads, json!({"name": "Ada"})).await;
    let change = |name: &str, version: i64| json!({"data": {"name": name}, "expected_version": version});

    let second = owner.patch(&path(&created), change("Eve", 1)).await.expect(200);
    assert_eq!(second["version"], 2);
    for outdated in [1, 3, 0, -1] {
        assert_eq!(
            owner.patch(&path(&created), change("Bob", outdated)).await.expect(409),
            json!({"error": "version_conflict", "detail": "the record was changed meanwhile: its version is 2"})
        );
    }
    assert_eq!(owner.patch(&path(&created), change("Bob", 1 << 40)).await.error(422), "record_invalid");
    assert_eq!(owner.get(&path(&created)).await.expect(200), second);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_at_once_of_different_fields_all_stay() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let leads = leads(&owner).await;
    let created = record(&owner, &leads, json!({"name": "Ada"})).await;
    let (path, owner) = (&path(&created), &owner);

    let keys = ["a", "b", "c", "d"];
    let replies =
        join_all(keys.map(|key| async move { owner.patch(path, json!({"data": {(key): 1}})).await })).await;

    let mut versions: Vec<_> =
        replies.into_iter().map(|reply| reply.expect(200)["version"].as_i64().unwrap()).collect();
    versions.sort_unstable();
    assert_eq!(versions, [2, 3, 4, 5]);
    let now = owner.get(path).await.expect(200);
    assert_eq!(now["data"], json!({"name": "Ada", "a": 1, "b": 1, "c": 1, "d": 1}));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_changes_at_once_for_one_version_exactly_one_is_made() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let leads = leads(&owner).await;
    let created = record(&owner, &leads, json!({"name": "Ada"})).await;
    let (path, owner) = (&path(&created), &owner);

    let replies =
        join_all((0..6).map(|n| async move {
            owner.patch(path, json!({"data": {"a": n}, "expected_version": 1})).await
        }))
        .await;

    let mut statuses: Vec<_> = replies.iter().map(|reply| reply.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409, 409, 409, 409]);
    let made = replies.into_iter().find(|reply| reply.status == 200).unwrap().json();
    assert_eq!(owner.get(path).await.expect(200), made);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_deleted_and_changed_at_once_ends_deleted() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let leads = leads(&owner).await;
    let created = record(&owner, &leads, json!({"name": "Ada"})).await;
    let path = path(&created);

    let (changed, deleted, again) = tokio::join!(
        owner.patch(&path, json!({"data": {"a": 1}})),
        owner.delete(&path),
        owner.delete(&path),
    );

    assert!([200, 404].contains(&changed.status), "{}", changed.text);
    let mut deletions = [deleted.status, again.status];
    deletions.sort_unstable();
    assert_eq!(deletions, [204, 404]);
    assert_eq!(owner.get(&path).await.error(404), "record_not_found");
    assert_eq!(owner.get("/recordsets/leads").await.expect(200)["record_count"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_record_may_be_changed_after_its_fields_became_stricter() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let leads = leads(&owner).await;
    let created = record(&owner, &leads, json!({"name": "Ada"})).await;
    let stricter = json!({"fields": [{"key": "revenue", "label": "Revenue", "field_type": "decimal", "required": true}]});
    owner.patch("/recordsets/leads", stricter).await.expect(200);

    let changed = owner.patch(&path(&created), json!({"data": {"a": 1}})).await.expect(200);
    assert_eq!(changed["data"], json!({"name": "Ada", "a": 1}));
    let new =
        owner.post("/records", json!({"recordset_id": leads, "data": {"name": "Eve"}})).await.expect(422);
    assert_eq!(new["fields"], json!({"revenue": ["Revenue is required"]}));
}
