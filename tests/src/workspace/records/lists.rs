//! Lists of records: pages, search, order and filters.

use serde_json::{Value, json};

use super::{record, recordset};
use crate::{Client, TestApp};

/// People, their names in the order of their creation: Ada, bob, Cleo, Dan.
struct People<'a> {
    owner: &'a Client,
    recordset: String,
}

impl<'a> People<'a> {
    async fn create(owner: &'a Client) -> Self {
        let fields = json!([{"label": "Name", "field_type": "text"}, {"label": "Age", "field_type": "integer"},
                            {"label": "Rate", "field_type": "decimal"}, {"label": "Born", "field_type": "date"},
                            {"label": "Seen", "field_type": "datetime"}, {"label": "Active", "field_type": "boolean"},
                            {"label": "Stage", "field_type": "choice", "options": ["lead", "won"]},
                            {"label": "Tags", "field_type": "multi_choice"}, {"label": "Place", "field_type": "geo_point"}]);
        let recordset = recordset(owner, "People", fields).await;
        for data in [
            json!({"name": "Ada", "age": 36, "rate": "10.00", "born": "1815-12-10", "active": true, "stage": "won",
                   "tags": ["a", "b"], "seen": "2026-01-01T00:00:00Z", "place": "51.5,-0.1"}),
            json!({"name": "bob", "age": 9, "rate": "9.5", "born": "1990-01-01", "active": false, "stage": "lead",
                   "tags": ["b"], "seen": "2026-01-01T01:00:00+02:00"}),
            json!({"name": "Cleo", "age": 100, "rate": "-1", "born": "0069-01-01", "tags": ["100%"]}),
            json!({"name": "Dan"}),
        ] {
            record(owner, &recordset, data).await;
        }
        Self { owner, recordset: recordset.as_str().unwrap().to_owned() }
    }

    async fn page(&self, query: &[(&str, &str)]) -> crate::Reply {
        let request = self.owner.request(reqwest::Method::GET, "/records");
        crate::client::send(request.query(&[("recordset_id", &*self.recordset)]).query(query)).await
    }

    /// Their names, as a query lists them.
    async fn names(&self, query: &[(&str, &str)]) -> Vec<String> {
        let page = self.page(query).await.expect(200);
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= usize::try_from(page["total"].as_i64().unwrap()).unwrap());
        items.iter().map(|item| item["data"]["name"].as_str().unwrap().to_owned()).collect()
    }

    async fn filtered(&self, filters: Value) -> Vec<String> {
        self.names(&[("sort_order", "asc"), ("column_filters", &filters.to_string())]).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_come_first_page_by_page() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let people = People::create(&owner).await;

    assert_eq!(people.names(&[]).await, ["Dan", "Cleo", "bob", "Ada"]);
    assert_eq!(people.names(&[("page_size", "3")]).await, ["Dan", "Cleo", "bob"]);
    assert_eq!(people.names(&[("page_size", "3"), ("page", "2")]).await, ["Ada"]);
    let beyond = people.page(&[("page_size", "3"), ("page", "4294967295")]).await.expect(200);
    assert_eq!(
        beyond,
        json!({"items": [], "total": 4, "page": 4_294_967_295_u32, "page_size": 3, "pages": 2})
    );
    for wrong in [("page", "0"), ("page_size", "-1"), ("page", "99999999999"), ("sort_order", "up")] {
        let answer = people.page(&[wrong]).await.expect(422);
        assert_eq!(answer["fields"].as_object().unwrap().keys().collect::<Vec<_>>(), [wrong.0], "{answer}");
    }
    // Without a recordset: those of all.
    let more = recordset(&owner, "More", json!([])).await;
    record(&owner, &more, json!({})).await;
    let all = owner.get("/records?page_size=1").await.expect(200);
    assert_eq!((&all["total"], &all["items"][0]["recordset_id"]), (&json!(5), &more));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_orders_by_what_its_values_mean_and_blanks_come_last() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let people = People::create(&owner).await;
    let sorted = async |by: &str, order: &str| people.names(&[("sort_by", by), ("sort_order", order)]).await;

    assert_eq!(sorted("name", "asc").await, ["Ada", "bob", "Cleo", "Dan"]);
    assert_eq!(sorted("age", "asc").await, ["bob", "Ada", "Cleo", "Dan"]);
    assert_eq!(sorted("age", "desc").await, ["Cleo", "Ada", "bob", "Dan"]);
    assert_eq!(sorted("rate", "asc").await, ["Cleo", "bob", "Ada", "Dan"]);
    assert_eq!(sorted("born", "asc").await, ["Cleo", "Ada", "bob", "Dan"]);
    assert_eq!(sorted("seen", "asc").await, ["bob", "Ada", "Cleo", "Dan"]);
    assert_eq!(sorted("active", "desc").await, ["Ada", "bob", "Dan", "Cleo"]);
    assert_eq!(sorted("created_at", "asc").await, ["Ada", "bob", "Cleo", "Dan"]);
    assert_eq!(sorted("updated_at", "desc").await, ["Dan", "Cleo", "bob", "Ada"]);
    for wrong in ["colour", "place", "tags", "", "name desc; drop table records"] {
        let answer = people.page(&[("sort_by", wrong)]).await.expect(422);
        assert_eq!(answer["fields"].as_object().unwrap().keys().collect::<Vec<_>>(), ["sort_by"], "{wrong}");
    }
    assert_eq!(owner.get("/records?sort_by=name").await.error(422), "record_invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_finds_a_part_of_any_value_in_any_case() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let people = People::create(&owner).await;
    let found = async |text: &str| people.names(&[("search", text), ("sort_order", "asc")]).await;

    assert_eq!(found("BOB").await, ["bob"]);
    assert_eq!(found("1815").await, ["Ada"]);
    assert_eq!(found(" lead ").await, ["bob"]);
    // Signs that mean something to SQL mean themselves.
    assert_eq!(found("%").await, ["Cleo"]);
    assert!(found("_").await.is_empty());
    assert!(found("' or true --").await.is_empty());
    assert_eq!(found("  ").await.len(), 4);
    let page = people.page(&[("search", "o"), ("page_size", "1")]).await.expect(200);
    assert_eq!((&page["total"], &page["pages"]), (&json!(3), &json!(3)), "bob, Cleo and Ada's Point");
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_compare_values_and_all_must_hold() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let people = People::create(&owner).await;

    assert_eq!(people.filtered(json!({"name": "Ada"})).await, ["Ada"]);
    assert_eq!(people.filtered(json!({"age": [9, 100]})).await, ["bob", "Cleo"]);
    assert_eq!(people.filtered(json!({"age": "9"})).await, ["bob"]);
    assert_eq!(people.filtered(json!({"rate": ["10", 9.50]})).await, ["Ada", "bob"]);
    assert_eq!(people.filtered(json!({"active": true})).await, ["Ada"]);
    assert_eq!(people.filtered(json!({"stage": "won", "active": true})).await, ["Ada"]);
    assert!(people.filtered(json!({"stage": "won", "active": false})).await.is_empty());
    assert_eq!(people.filtered(json!({"stage": ["lead", null]})).await, ["bob", "Cleo", "Dan"]);
    assert_eq!(people.filtered(json!({"tags": "b"})).await, ["Ada", "bob"]);
    assert_eq!(people.filtered(json!({"seen": "2025-12-31T23:00:00Z"})).await, ["bob"]);
    assert!(people.filtered(json!({"stage": "lost"})).await.is_empty());
    assert!(people.filtered(json!({"name": []})).await.is_empty());
    assert_eq!(people.filtered(json!({})).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_can_t_be_is_refused() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let people = People::create(&owner).await;
    for wrong in [
        "nonsense",
        "[]",
        "7",
        r#"{"colour": "red"}"#,
        r#"{"age": "old"}"#,
        r#"{"age": {"gt": 3}}"#,
        r#"{"place": "51.5,-0.1"}"#,
        r#"{"name": "a\u0000b"}"#,
        r#"{"na\u0000me": "a"}"#,
        r#"{"age": [[9]]}"#,
    ] {
        let answer = people.page(&[("column_filters", wrong)]).await.expect(422);
        assert_eq!(answer["error"], "record_invalid", "{wrong}");
        assert_eq!(answer["fields"].as_object().unwrap().keys().collect::<Vec<_>>(), ["column_filters"]);
    }
    let without = owner.get("/records?column_filters=%7B%22name%22%3A%22Ada%22%7D").await.expect(422);
    assert_eq!(without["detail"], "column_filters: needs recordset_id");
    assert_eq!(owner.get("/records?recordset_id=people").await.error(422), "record_invalid");
    let nowhere = format!("/records?recordset_id={}", uuid::Uuid::now_v7());
    assert_eq!(owner.get(&nowhere).await.error(404), "record_not_found");
}
