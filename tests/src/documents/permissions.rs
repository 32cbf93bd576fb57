//! Every permission in the catalogue is asked for: by the operations that name it, and by what they refuse to callers
//! without it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{FOR_PEOPLE, Operation, document, guards::call, operations};
use crate::{Client, TestApp};

/// The permissions that an operation names, and whether each must be held.
fn named(operation: &Operation) -> Vec<(String, bool)> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let body = &operation.body;
    let either = body["x-permission-or"].is_string() || body["x-permission-own"].is_string();
    let main = text(&body["x-permission"]).map(|name| (name, !either));
    let others = [text(&body["x-permission-or"]), text(&body["x-permission-own"])];
    let also = body["x-permissions-also"].as_array().into_iter().flatten().filter_map(text);
    main.into_iter()
        .chain(others.into_iter().flatten().map(|name| (name, false)))
        .chain(also.map(|name| (name, true)))
        .collect()
}

#[test]
fn every_permission_in_the_catalogue_is_asked_for_by_an_operation() {
    let all = FOR_PEOPLE.into_iter().flat_map(|surface| operations(&document(surface)));
    let asked: BTreeSet<String> = all.flat_map(|operation| named(&operation)).map(|(name, _)| name).collect();
    let unasked: Vec<_> = domain::access::catalogue()
        .iter()
        .map(|listed| listed.name)
        .filter(|name| !asked.contains(*name))
        .collect();
    assert!(unasked.is_empty(), "nothing asks for {unasked:?}");
}

/// An admin of the owner's workspace whose role lacks a permission.
async fn admin_without(owner: &Client, admin: &Client, permission: &str) -> Client {
    let change = json!({"permissions": {permission: false}});
    owner.put("/permissions/roles/admin", change).await.expect(200);
    admin.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_lacks_a_permission_is_refused_by_each_operation_that_needs_it() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let admin = app.join(&owner, "admin").await;
    let mut needing: BTreeMap<String, Vec<Operation>> = BTreeMap::new();
    for surface in FOR_PEOPLE {
        for operation in operations(&document(surface)) {
            let needed: Vec<_> = named(&operation).into_iter().filter(|(_, needed)| *needed).collect();
            for (permission, _) in needed {
                let Operation { path, method, id, body } = &operation;
                let (path, method, id, body) = (path.clone(), method.clone(), id.clone(), body.clone());
                needing.entry(permission).or_default().push(Operation { path, method, id, body });
            }
        }
    }
    let mut refused = 0;
    for (permission, operations) in &needing {
        let admin = admin_without(&owner, &admin, permission).await;
        for operation in operations {
            let reply = call(&admin, operation).await;
            let here = format!("{} {} without {permission}", operation.method, operation.path);
            assert_eq!(
                (reply.status, reply.code().as_deref()),
                (403, Some("forbidden")),
                "{here}: {}",
                reply.text
            );
            refused += 1;
        }
        owner.post("/permissions/roles/admin/reset", json!({})).await.expect(200);
    }
    assert!(refused > 100, "{refused} operations need a permission");
}
