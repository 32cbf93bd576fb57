//! Trying out row-level policies.

use serde_json::{Value, json};

use crate::TestApp;

const PATH: &str = "/v1/policies/simulate";

fn own_or_public(enabled: bool, role: &Value) -> Value {
    json!({
        "policy": {
            "name": "Own or public", "action": "select", "role": role, "enabled": enabled,
            "condition_json": {"or": [
                {"eq": [{"column": "owner_id"}, {"auth": "user_id"}]},
                {"in": [{"column": "visibility"}, ["public"]]},
            ]},
        },
        "auth_context": {"user_id": "u1", "role": "member"},
        "sample_data": [
            {"owner_id": "u1", "visibility": "private"},
            {"owner_id": "u2", "visibility": "private"},
            {"owner_id": "u2", "visibility": "public"},
            {},
        ],
    })
}

fn decisions(result: &Value) -> Vec<bool> {
    let rows = result["data"]["results"].as_array().unwrap();
    rows.iter().map(|row| row["allowed"].as_bool().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_row_is_allowed_or_denied_with_its_reason() {
    let app = TestApp::start().await;
    let owner = app.owner().await;

    let result = owner.post(PATH, own_or_public(true, &Value::Null)).await.expect(200);

    assert_eq!(decisions(&result), [true, false, true, false]);
    let data = &result["data"];
    assert_eq!((&data["policy"], &data["action"]), (&json!("Own or public"), &json!("select")));
    assert_eq!((&data["allowed"], &data["denied"]), (&json!(2), &json!(2)));
    assert_eq!(
        data["results"][1],
        json!({"row": 1, "allowed": false,
               "reason": "column owner_id (\"u2\") eq auth user_id (\"u1\"): false; \
                         column visibility (\"private\") in a list of 1: false"})
    );
    let absent = data["results"][3]["reason"].as_str().unwrap();
    assert!(absent.ends_with("neither true nor false"), "{absent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_is_off_or_for_another_role_allows_nothing() {
    let app = TestApp::start().await;
    let owner = app.owner().await;

    for (enabled, role) in [(false, Value::Null), (true, json!("admin"))] {
        let result = owner.post(PATH, own_or_public(enabled, &role)).await.expect(200);
        assert_eq!(decisions(&result), [false; 4], "{enabled} {role}");
    }
    let result = owner.post(PATH, own_or_public(true, &json!("member"))).await.expect(200);
    assert_eq!(result["data"]["allowed"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_policy_is_named_by_its_path() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let mut simulation = own_or_public(true, &Value::Null);
    simulation["policy"]["condition_json"] = json!({"and": [{"sql": "drop table users"}, {"eq": [1]}]});

    let refused = owner.post(PATH, simulation.clone()).await.expect(422);

    let fields: Vec<_> = refused["error"]["fields"].as_object().unwrap().keys().collect();
    assert_eq!(fields, ["policy.condition_json.and.0.sql", "policy.condition_json.and.1.eq"]);
    simulation["policy"]["condition_json"] = json!(true);
    simulation["sample_data"] = json!(vec![json!({}); 101]);
    let refused = owner.post(PATH, simulation.clone()).await.expect(422);
    assert_eq!(refused["error"]["fields"], json!({"sample_data": ["must have at most 100 rows"]}));
    simulation["sample_data"] = json!([1]);
    assert_eq!(owner.post(PATH, simulation).await.error(422), "record_invalid");
    assert_eq!(owner.post(PATH, json!({})).await.error(422), "parameter_missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_are_simulated_with_the_permission_to_view_governance() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let simulation = || own_or_public(true, &Value::Null);

    let (_, auth) = owner.new_key(&["auth"]).await;
    auth.post(PATH, simulation()).await.expect(200);
    let (_, reader) = owner.new_key(&["read"]).await;
    let member = app.join(&owner, "member").await;
    for who in [&reader, &member] {
        assert_eq!(who.post(PATH, simulation()).await.error(403), "forbidden");
    }
}
