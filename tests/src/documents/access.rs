//! A walk over every operation with every kind of credential. What to expect comes from what the operation
//! declares in its document, so that a new route is walked without a new test, and one that declares nothing
//! fails.

use domain::access::Role;
use serde_json::Value;
use sqlx::PgPool;

use super::{FOR_PEOPLE, Operation, PUBLIC, document, guards::call, operations};
use crate::{Client, Reply, TestApp};

/// Who an operation is for, and what they need.
struct Declared {
    here: String,
    caller: String,
    permission: Option<String>,
    own: Option<String>,
    scope: Option<String>,
    reads: bool,
    /// The statuses for nonsense from an admitted caller.
    answers: &'static [u16],
}

impl Declared {
    fn of(operation: &Operation) -> Self {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Self {
            here: format!("{} {}", operation.method, operation.path),
            caller: text(&operation.body["x-caller"]).unwrap_or_default(),
            permission: text(&operation.body["x-permission"]),
            own: text(&operation.body["x-permission-own"]),
            scope: text(&operation.body["x-scopes"][0]),
            reads: operation.method == "get",
            answers: answers(operation),
        }
    }

    fn lets_in(&self, role: Role) -> bool {
        [&self.permission, &self.own].into_iter().flatten().any(|permission| role.may(permission))
    }

    fn refuses(&self, who: &str, reply: &Reply, status: u16, code: &str) {
        let found = (reply.status, reply.code());
        assert_eq!(found, (status, Some(code.to_owned())), "{}: {who}: {}", self.here, reply.text);
    }

    fn admits(&self, who: &str, reply: &Reply) {
        let expected = self.answers;
        assert!(expected.contains(&reply.status), "{}: {who}: {} {}", self.here, reply.status, reply.text);
        if reply.status == 404 {
            assert_eq!(reply.code().as_deref(), Some("record_not_found"), "{}: {who}", self.here);
        }
    }
}

/// What a call that reads, with ids that fit nothing and without a query, is answered with.
fn answers(operation: &Operation) -> &'static [u16] {
    let mut parameters = operation.body["parameters"].as_array().into_iter().flatten();
    let names_another =
        operation.path.split('/').any(|part| part.starts_with('{') && part != "{workspace_id}");
    if names_another {
        // Nothing there has that id or, where it is no id, that name.
        &[404, 422]
    } else if parameters.any(|parameter| parameter["in"] == "query" && parameter["required"] == true) {
        &[422]
    } else {
        &[200]
    }
}

/// The operations for people and programs that are not public.
fn walked() -> Vec<(Operation, Declared)> {
    let all = FOR_PEOPLE.into_iter().flat_map(|surface| operations(&document(surface)));
    all.map(|operation| {
        let declared = Declared::of(&operation);
        (operation, declared)
    })
    .filter(|(_, declared)| declared.caller != "anyone")
    .collect()
}

async fn key(pool: &PgPool, owner: &Client, scopes: &[&str], expires: &str) -> Client {
    let secret = format!("mrk_{}", domain::secret::generate());
    sqlx::query(
        "insert into control.api_keys (id, workspace_id, name, prefix, hash, scopes, expires_at, created_by)
         select gen_random_uuid(), workspace_id, 'test', left($2, 12), $3, $4, now() + $5::interval, user_id
           from control.memberships where workspace_id = $1::uuid and role = 'owner'",
    )
    .bind(&owner.workspace)
    .bind(&secret)
    .bind(domain::secret::hash(&secret))
    .bind(scopes)
    .bind(expires)
    .execute(pool)
    .await
    .unwrap();
    owner.with_token(Some(&secret))
}

async fn personal_token(pool: &PgPool, owner: &Client, scopes: &[&str]) -> Client {
    let secret = format!("mrp_{}", domain::secret::generate());
    sqlx::query(
        "insert into control.personal_tokens (id, user_id, name, prefix, hash, scopes)
         select gen_random_uuid(), user_id, 'test', left($2, 12), $3, $4
           from control.memberships where workspace_id = $1::uuid and role = 'owner'",
    )
    .bind(&owner.workspace)
    .bind(&secret)
    .bind(domain::secret::hash(&secret))
    .bind(scopes)
    .execute(pool)
    .await
    .unwrap();
    owner.with_token(Some(&secret))
}

/// A member with that role in the workspace that they signed up with.
async fn with_role(app: &TestApp, role: &str) -> Client {
    let person = app.owner().await;
    app.without_owners().await;
    sqlx::query("update control.memberships set role = $2 where workspace_id = $1::uuid")
        .bind(&person.workspace)
        .bind(role)
        .execute(&app.database.pool)
        .await
        .unwrap();
    person
}

#[test]
fn every_operation_declares_who_it_is_for() {
    for surface in FOR_PEOPLE {
        for operation in operations(&document(surface)) {
            let Declared { here, caller, permission, scope, .. } = Declared::of(&operation);
            match caller.as_str() {
                "anyone" => assert!(PUBLIC.contains(&&*operation.id), "{here}: {} is public", operation.id),
                "member" => assert!(permission.is_some() && scope.is_some(), "{here}: no permission"),
                "person" | "known" => assert_eq!(permission, None, "{here}"),
                other => panic!("{here} is for {other:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_has_expired_opens_nothing() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let expired = key(&app.database.pool, &owner, &["*"], "-1 second").await;
    for (operation, declared) in walked() {
        declared.refuses("an expired key", &call(&expired, &operation).await, 401, "token_invalid");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_token_writes_nothing_and_reads_what_its_scope_covers() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let reader = personal_token(&app.database.pool, &owner, &["read"]).await;
    for (operation, declared) in walked() {
        let reply = call(&reader, &operation).await;
        if !declared.reads {
            declared.refuses("a read-only token", &reply, 403, "token_read_only");
        } else if declared.caller == "person"
            || declared.scope.as_deref().is_some_and(|scope| scope != "read")
        {
            declared.refuses("a read-only token", &reply, 403, "forbidden");
        } else {
            declared.admits("a read-only token", &reply);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_is_let_in_where_its_permissions_reach() {
    let app = TestApp::start().await;
    for role in [Role::Viewer, Role::Member, Role::Admin] {
        let person = with_role(&app, role.name()).await;
        let mut refused = 0;
        for (operation, declared) in walked() {
            if declared.caller != "member" {
                continue;
            }
            if !declared.lets_in(role) {
                refused += 1;
                declared.refuses(role.name(), &call(&person, &operation).await, 403, "forbidden");
            } else if declared.reads {
                declared.admits(role.name(), &call(&person, &operation).await);
            }
        }
        assert!(refused > 0, "nothing is refused to a {role}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_opens_what_its_scopes_cover_and_nothing_else() {
    const EACH: [&str; 6] = ["read", "write", "schema", "files", "auth", "ai"];
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let pool = &app.database.pool;
    for scope in EACH {
        let others: Vec<_> = EACH.into_iter().filter(|other| *other != scope).collect();
        let (with, without) =
            (key(pool, &owner, &[scope], "1 hour").await, key(pool, &owner, &others, "1 hour").await);
        for (operation, declared) in walked() {
            if declared.scope.as_deref() != Some(scope) {
                continue;
            }
            let reply = call(&without, &operation).await;
            declared.refuses(&format!("a key without {scope}"), &reply, 403, "forbidden");
            assert!(reply.text.contains(&format!("the scope {scope}")), "{}: {}", declared.here, reply.text);
            // A program has no member to be.
            let is_about_oneself = operation.path.starts_with("/members/me");
            if declared.reads && declared.lets_in(Role::Admin) && !is_about_oneself {
                declared.admits(&format!("a key with {scope}"), &call(&with, &operation).await);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_for_people_is_not_for_programs() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let program = key(&app.database.pool, &owner, &["*"], "1 hour").await;
    for (operation, declared) in walked() {
        if declared.caller == "person" {
            declared.refuses("a key", &call(&program, &operation).await, 403, "forbidden");
        }
    }
}
