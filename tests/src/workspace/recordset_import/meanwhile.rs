//! What else happens while an import runs.

use serde_json::{Value, json};

use super::{records, recordset, uploaded};
use crate::{Client, TestApp, client::Reply};

fn rows(numbers: impl Iterator<Item = usize>) -> String {
    let lines: Vec<String> = numbers.map(|n| format!("{n},code {n}")).collect();
    format!("n,code\n{}\n", lines.join("\n"))
}

async fn start(owner: &Client, recordset: &str, csv: String) -> Value {
    let file_uri = uploaded(owner, "rows.csv", csv).await;
    owner
        .post(&format!("/recordsets/import/records/{recordset}"), json!({ "file_uri": file_uri }))
        .await
        .expect(202)
}

/// Starts a long import, does something once it has begun to write, and answers how it ended.
async fn while_importing<F, Fut>(app: &TestApp, owner: &Client, id: &str, act: F) -> Value
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = Reply>,
{
    let started = start(owner, id, rows(0..200_000)).await;
    let mut events = owner.events(started["stream_url"].as_str().unwrap(), None).await;
    while events.next().await.unwrap()["counts"]["done"].as_i64().unwrap() == 0 {}
    let reply = act().await;
    assert!(reply.status < 300, "{}", reply.text);
    assert!(records(app, owner).await < 200_000, "it was still running");
    events.to_the_end().await
}

fn fields(unique: bool) -> Value {
    json!([{ "label": "n", "field_type": "integer" },
           { "label": "Code", "field_type": "text", "unique": unique }])
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_goes_on_by_the_new_fields_when_they_change() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let id = recordset(&owner, fields(true)).await;
    let end = while_importing(&app, &owner, &id, || async {
        let more = json!({ "fields": [{ "label": "Extra", "field_type": "text" }] });
        owner.patch(&format!("/recordsets/{id}"), more).await
    })
    .await;
    assert_eq!(end["status"], "COMPLETED", "{end}");
    assert_eq!(end["attempt"], 1, "{end}");
    assert_eq!(records(&app, &owner).await, 200_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_into_a_recordset_that_is_deleted_fails_with_that_reason() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let id = recordset(&owner, fields(true)).await;
    let end =
        while_importing(&app, &owner, &id, || async { owner.delete(&format!("/recordsets/{id}")).await })
            .await;
    assert_eq!(end["status"], "FAILED", "{end}");
    assert_eq!(end["error_message"], "the recordset was deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_imports_at_once_never_share_a_unique_value() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let id = recordset(&owner, fields(true)).await;
    // Each holds what the other wants, in the opposite order.
    let first = start(&owner, &id, rows(0..30_000)).await;
    let second = start(&owner, &id, rows((10_000..40_000).rev())).await;
    let (first, second) = tokio::join!(owner.follow(&first), owner.follow(&second));
    for end in [&first, &second] {
        assert_eq!((&end["status"], &end["attempt"]), (&json!("COMPLETED"), &json!(1)), "{end}");
    }
    let number = |end: &Value, name: &str| end["result"][name].as_i64().unwrap();
    assert_eq!(number(&first, "imported") + number(&second, "imported"), 40_000);
    assert_eq!(number(&first, "failed") + number(&second, "failed"), 20_000);
    assert_eq!(records(&app, &owner).await, 40_000);
}
