//! Recordsets: tables of typed records.

mod definitions;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::{Client, TestApp, masked};

/// Puts everyone who is in a workspace into another role.
pub async fn become_role(app: &TestApp, role: &str) {
    app.without_owners().await;
    sqlx::query("update control.memberships set role = $1")
        .bind(role)
        .execute(&app.database.pool)
        .await
        .unwrap();
}

/// A field of each type, its key that of the type.
fn a_field_of_each_type() -> Value {
    let plain =
        ["text", "long_text", "integer", "decimal", "boolean", "date", "datetime", "email", "url", "phone"];
    let wide = ["json", "geo_point", "geometry"];
    let mut fields: Vec<Value> =
        plain.iter().chain(&wide).map(|kind| json!({"label": kind, "field_type": kind})).collect();
    for kind in ["choice", "multi_choice"] {
        fields.push(json!({"label": kind, "field_type": kind, "options": ["Lead", "Won"]}));
    }
    fields.into()
}

/// A recordset with a field of each type, named `Everything`.
pub async fn everything(owner: &Client) -> Value {
    let new = json!({"name": "Everything", "fields": a_field_of_each_type()});
    owner.post("/recordsets", new).await.expect(201)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recordset_is_created_shown_changed_and_deleted() {
    let app = TestApp::start().await;
    let owner = app.owner().await;

    let created = owner
        .post(
            "/recordsets",
            json!({"name": " Sales Leads ", "description": "Who may buy", "settings": {"icon": "star"},
                   "fields": [{"label": "Company Name", "field_type": "text", "required": true},
                              {"label": "Company Name", "field_type": "text"},
                              {"key": "stage", "label": "Stage", "field_type": "choice", "options": ["Lead", "Won"]}]}),
        )
        .await
        .expect(201);
    insta::assert_json_snapshot!(masked(&created), @r#"
    {
      "created_at": "[time]",
      "created_by": "[id]",
      "description": "Who may buy",
      "fields": [
        {
          "field_type": "text",
          "key": "company_name",
          "label": "Company Name",
          "options": [],
          "required": true,
          "unique": false
        },
        {
          "field_type": "text",
          "key": "company_name_2",
          "label": "Company Name",
          "options": [],
          "required": false,
          "unique": false
        },
        {
          "field_type": "choice",
          "key": "stage",
          "label": "Stage",
          "options": [
            "Lead",
            "Won"
          ],
          "required": false,
          "unique": false
        }
      ],
      "id": "[id]",
      "is_active": true,
      "name": "Sales Leads",
      "record_count": 0,
      "settings": {
        "icon": "star"
      },
      "slug": "sales-leads",
      "updated_at": "[time]"
    }
    "#);

    let id = created["id"].as_str().unwrap();
    for name in ["sales-leads", id] {
        assert_eq!(owner.get(&format!("/recordsets/{name}")).await.expect(200), created);
    }
    let mut listed = created.clone();
    listed.as_object_mut().unwrap().remove("fields");
    assert_eq!(
        owner.get("/recordsets").await.expect(200),
        json!({"items": [listed], "total": 1, "page": 1, "page_size": 50, "pages": 1})
    );

    let changed = owner
        .patch(
            "/recordsets/sales-leads",
            json!({"name": "Leads", "description": null, "is_active": false,
                   "fields": [{"key": "stage", "label": "Phase", "field_type": "choice", "options": ["Won"]},
                              {"label": "Revenue", "field_type": "decimal"}]}),
        )
        .await
        .expect(200);
    insta::assert_json_snapshot!(masked(&changed), @r#"
    {
      "created_at": "[time]",
      "created_by": "[id]",
      "description": null,
      "fields": [
        {
          "field_type": "text",
          "key": "company_name",
          "label": "Company Name",
          "options": [],
          "required": true,
          "unique": false
        },
        {
          "field_type": "text",
          "key": "company_name_2",
          "label": "Company Name",
          "options": [],
          "required": false,
          "unique": false
        },
        {
          "field_type": "choice",
          "key": "stage",
          "label": "Phase",
          "options": [
            "Won"
          ],
          "required": false,
          "unique": false
        },
        {
          "field_type": "decimal",
          "key": "revenue",
          "label": "Revenue",
          "options": [],
          "required": false,
          "unique": false
        }
      ],
      "id": "[id]",
      "is_active": false,
      "name": "Leads",
      "record_count": 0,
      "settings": {
        "icon": "star"
      },
      "slug": "sales-leads",
      "updated_at": "[time]"
    }
    "#);
    assert_eq!(owner.get("/recordsets/sales-leads").await.expect(200), changed);
    assert_eq!(
        owner.patch("/recordsets/sales-leads", json!({})).await.expect(200)["fields"],
        changed["fields"]
    );

    assert_eq!(owner.delete("/recordsets/sales-leads").await.expect(204), Value::Null);
    for name in ["sales-leads", id] {
        assert_eq!(owner.get(&format!("/recordsets/{name}")).await.error(404), "record_not_found");
        assert_eq!(owner.delete(&format!("/recordsets/{name}")).await.error(404), "record_not_found");
        let patch = owner.patch(&format!("/recordsets/{name}"), json!({"name": "x"})).await;
        assert_eq!(patch.error(404), "record_not_found");
    }
    assert_eq!(owner.get("/recordsets").await.expect(200)["total"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_a_recordset_is_an_event() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    owner.post("/recordsets", json!({"name": "Leads"})).await.expect(201);
    owner.patch("/recordsets/leads", json!({"name": "More leads"})).await.expect(200);
    owner.delete("/recordsets/leads").await.expect(204);

    let types: Vec<String> =
        sqlx::query_scalar("select type from shard.events where subject = 'recordset' order by id")
            .fetch_all(&app.database.pool)
            .await
            .unwrap();
    assert_eq!(types, ["recordset.created", "recordset.updated", "recordset.deleted"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn recordsets_of_one_name_get_slugs_of_their_own_also_at_once() {
    let app = TestApp::start().await;
    let owner = app.owner().await;

    let created = join_all((0..5).map(|_| owner.post("/recordsets", json!({"name": "Leads"})))).await;

    let mut slugs: Vec<String> =
        created.into_iter().map(|reply| reply.expect(201)["slug"].as_str().unwrap().to_owned()).collect();
    slugs.sort();
    assert_eq!(slugs, ["leads", "leads-2", "leads-3", "leads-4", "leads-5"]);
    // One that is asked for is given or refused, also while its owner lies in the trash.
    owner.delete("/recordsets/leads").await.expect(204);
    let asked = owner.post("/recordsets", json!({"name": "x", "slug": "leads"})).await.expect(409);
    assert_eq!(asked, json!({"error": "slug_taken", "detail": "this slug is already taken"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn recordsets_are_listed_by_name_searched_and_paged() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    for (name, description) in
        [("beta", None), ("Alpha", Some("50% off_season")), ("Gamma", None), ("delta", Some("ALPHA's heir"))]
    {
        owner.post("/recordsets", json!({"name": name, "description": description})).await.expect(201);
    }
    owner.patch("/recordsets/gamma", json!({"is_active": false})).await.expect(200);
    let names = async |query: &str| -> (Vec<String>, i64) {
        let page = owner.get(&format!("/recordsets{query}")).await.expect(200);
        let names = page["items"].as_array().unwrap().iter();
        (
            names.map(|item| item["name"].as_str().unwrap().to_owned()).collect(),
            page["total"].as_i64().unwrap(),
        )
    };
    let list =
        |names: &[&str], total: i64| (names.iter().map(ToString::to_string).collect::<Vec<_>>(), total);

    assert_eq!(names("").await, list(&["Alpha", "beta", "delta", "Gamma"], 4));
    assert_eq!(names("?page=2&page_size=3").await, list(&["Gamma"], 4));
    assert_eq!(names("?page=9&page_size=3").await, list(&[], 4));
    assert_eq!(names("?search=alpha").await, list(&["Alpha", "delta"], 2));
    // Signs that mean something to SQL mean themselves.
    assert_eq!(names("?search=0%25").await, list(&["Alpha"], 1));
    assert_eq!(names("?search=_").await, list(&["Alpha"], 1));
    assert_eq!(names("?search='%20or%20true").await, list(&[], 0));
    assert_eq!(names("?is_active=false").await, list(&["Gamma"], 1));
    assert_eq!(names("?is_active=true&search=a&page_size=1").await, list(&["Alpha"], 3));

    for wrong in ["?page=0", "?page=-1", "?page=x", "?page_size=0", "?is_active=maybe"] {
        let answer = owner.get(&format!("/recordsets{wrong}")).await.expect(422);
        assert_eq!(answer["error"], "record_invalid", "{wrong}");
        let named = answer["fields"].as_object().unwrap().keys().next().unwrap();
        assert!(wrong[1..].starts_with(named.as_str()), "{wrong} is named as {named}");
    }
    assert_eq!(owner.get("/recordsets?page_size=100000").await.expect(200)["page_size"], 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recordset_of_another_workspace_does_not_exist() {
    let app = TestApp::start().await;
    let (ada, eve) = (app.owner().await, app.owner().await);
    let leads = ada.post("/recordsets", json!({"name": "Leads"})).await.expect(201);
    let by_id = format!("/recordsets/{}", leads["id"].as_str().unwrap());

    for path in ["/recordsets/leads", &by_id] {
        eve.finds_nothing_at(path, json!({"name": "Mine"})).await;
    }
    assert_eq!(eve.get("/recordsets").await.expect(200)["total"], 0);
    assert_eq!(ada.get(&by_id).await.expect(200), leads);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_looks_a_member_works_and_an_admin_deletes() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let leads = owner.post("/recordsets", json!({"name": "Leads"})).await.expect(201);
    let new = || owner.post("/recordsets", json!({"name": "More"}));
    let change = || owner.patch("/recordsets/leads", json!({"description": "changed"}));

    become_role(&app, "viewer").await;
    assert_eq!(owner.get("/recordsets/leads").await.expect(200), leads);
    owner.get("/recordsets").await.expect(200);
    assert_eq!(
        new().await.expect(403),
        json!({"error": "forbidden", "detail": "the permission recordsets:create is required"})
    );
    assert_eq!(change().await.error(403), "forbidden");
    assert_eq!(owner.delete("/recordsets/leads").await.error(403), "forbidden");
    assert_eq!(owner.get("/recordsets/leads").await.expect(200), leads);

    become_role(&app, "member").await;
    new().await.expect(201);
    change().await.expect(200);
    assert_eq!(owner.delete("/recordsets/leads").await.error(403), "forbidden");

    become_role(&app, "admin").await;
    owner.delete("/recordsets/leads").await.expect(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_of_a_change_names_what_changed_and_holds_no_large_values() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (_, made) = owner.create("/recordsets", json!({ "name": "Things" })).await;
    let path = format!("/recordsets/{}", made["id"].as_str().unwrap());
    let large = json!({ "settings": { "note": "n".repeat(500_000) }, "name": "Others" });
    owner.patch(&path, large).await.expect(200);
    owner.patch(&path, json!({ "settings": { "color": "red" } })).await.expect(200);

    let tables = [("shard.events", "type"), ("shard.audit_log", "action")];
    for (table, name) in tables {
        let kept: Vec<Value> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
            "select data from {table} where {name} = 'recordset.updated' order by id"
        )))
        .fetch_all(&app.database.pool)
        .await
        .unwrap();
        assert_eq!(kept.len(), 2, "{table}");
        assert!(kept.iter().all(|data| data.to_string().len() < 10_000), "{table}");
        assert_eq!((&kept[0]["name"], &kept[0]["changed"]), (&json!("Others"), &json!(["name", "settings"])));
        assert_eq!((&kept[0]["omitted"], &kept[0]["settings"]), (&json!(["settings"]), &Value::Null));
        assert_eq!(kept[1]["settings"], json!({ "color": "red" }));
    }
}
