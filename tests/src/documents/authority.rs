//! A walk over every operation with callers who were admitted once and are not any more: whatever touches the workspace is
//! closed to them, by every credential, whether or not they name it.

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use super::{FOR_PEOPLE, Operation, PUBLIC, document, operations};
use crate::{Client, Reply, TestApp, client::send, workspace::auth::Person};

/// What is about the caller's own account, and stays theirs: the account, its sessions and tokens, and lists of
/// the workspaces that they may enter.
const OWN: [&str; 15] = [
    "get_current_user",
    "update_current_user",
    "set_own_avatar",
    "change_password",
    "list_sessions",
    "end_other_sessions",
    "end_session",
    "list_personal_tokens",
    "create_personal_token",
    "revoke_personal_token",
    "list_own_invitations",
    "list_workspaces",
    "create_workspace",
    "get_token_owner",
    "list_books",
];

/// A caller who was admitted, with all of their credentials.
struct Caller {
    who: &'static str,
    clients: Vec<Client>,
    /// The status with which a workspace that is named is refused.
    named: u16,
}

/// A workspace, and what of it a caller might aim at.
struct Target {
    workspace: String,
    person: String,
    member: String,
    invitation: String,
    owner: Person,
}

impl Target {
    async fn new(app: &TestApp) -> Self {
        let owner = Person::new(app).await;
        let person = Person::employee(app, &owner, "viewer").await;
        let invited = Person::new(app).await;
        let path = format!("/workspaces/{}/invitations", owner.workspace());
        let invitation = owner.client.post(&path, json!({"email": invited.email})).await.expect(201);
        let member =
            scalar(app, &format!("select id from memberships where user_id = '{}'", person.id)).await;
        Self {
            workspace: owner.workspace().to_owned(),
            person: person.id.to_string(),
            member,
            invitation: invitation["id"].as_str().unwrap().to_owned(),
            owner,
        }
    }

    /// Calls an operation with what is there.
    async fn call(&self, client: &Client, operation: &Operation) -> Reply {
        let parts = operation.path.split('/').map(|part| match part {
            "{workspace_id}" => &self.workspace,
            "{user_id}" => &self.person,
            "{member_id}" => &self.member,
            _ if part.starts_with('{') => "0190b5a4-7e2f-7c3a-9b1d-2f4e6a8c0d1e",
            _ => part,
        });
        let path = parts.collect::<Vec<_>>().join("/");
        let method: Method = operation.method.to_uppercase().parse().unwrap();
        let mut request = client.request(method, &path);
        if operation.body["requestBody"]["content"]["application/json"].is_object() {
            request = request.json(&json!({}));
        }
        send(request).await
    }

    /// What no document's walk would aim well enough at: each does something for an admin.
    async fn aimed(&self, client: &Client) -> Vec<(String, Reply)> {
        let (person, workspace) = (&self.person, &self.workspace);
        let user = format!("/auth/{person}");
        let replies = vec![
            (format!("GET {user}"), client.get(&user).await),
            (format!("PATCH {user}"), client.patch(&user, json!({"bio": "b"})).await),
            (format!("PATCH {user} role"), client.patch(&user, json!({"role": "member"})).await),
            (format!("PATCH {user} email"), client.patch(&user, json!({"email": "eve@example.com"})).await),
            ("GET me".to_owned(), client.get(&format!("/auth/me?workspace_id={workspace}")).await),
            (
                "POST switch".to_owned(),
                client.post("/workspaces/switch", json!({"workspace_id": workspace})).await,
            ),
            (
                "POST token".to_owned(),
                client.post("/auth/tokens", json!({"name": "x", "workspace_id": workspace})).await,
            ),
            (
                "POST cancel".to_owned(),
                client
                    .post("/workspaces/invitations/cancel", json!({"invitation_id": self.invitation}))
                    .await,
            ),
            (
                "POST cancel in".to_owned(),
                client
                    .post(
                        "/workspaces/invitations/cancel",
                        json!({"invitation_id": self.invitation, "workspace_id": workspace}),
                    )
                    .await,
            ),
            (format!("POST {user}/avatar"), client.upload(&format!("{user}/avatar"), "a.png", "x").await),
        ];
        replies
    }
}

async fn scalar(app: &TestApp, query: &str) -> String {
    let query = format!("select ({query})::text");
    sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(&app.database.pool).await.unwrap()
}

fn walked() -> Vec<Operation> {
    let all = FOR_PEOPLE.into_iter().flat_map(|surface| operations(&document(surface)));
    // Every caller may sign out, which ends the walk.
    all.filter(|operation| !PUBLIC.contains(&&*operation.id) && operation.id != "logout").collect()
}

/// A person of the workspace with nothing but it, and a personal token that may do everything.
async fn insider(app: &TestApp, target: &Target, role: &str) -> (Person, Vec<Client>) {
    let person = Person::employee(app, &target.owner, role).await;
    let token = person.client.post("/auth/tokens", json!({"name": "All"})).await.expect(201);
    app.run(&format!("update personal_tokens set scopes = '{{*}}' where user_id = '{}'", person.id)).await;
    let clients = vec![person.client.clone(), person.client.with_token(token["token"].as_str())];
    for client in &clients {
        client.get("/members").await.expect(200);
    }
    (person, clients)
}

/// None of those callers accesses the workspace.
async fn is_out(target: &Target, caller: &Caller) {
    let who = caller.who;
    for client in &caller.clients {
        for named in [true, false] {
            let client = if named { client.clone() } else { client.in_workspace(None) };
            for operation in walked() {
                let here = format!("{who}: {} {} (named: {named})", operation.method, operation.path);
                let reply = target.call(&client, &operation).await;
                if OWN.contains(&&*operation.id) {
                    assert!(!reply.text.contains(&target.workspace), "{here}: {}", reply.text);
                    continue;
                }
                assert!(!(200..300).contains(&reply.status), "{here}: {} {}", reply.status, reply.text);
                if named && operation.body["x-caller"] == "member" {
                    assert_eq!(reply.status, caller.named, "{here}: {}", reply.text);
                }
            }
            for (aim, reply) in target.aimed(&client).await {
                let here = format!("{who}: {aim} (named: {named}): {} {}", reply.status, reply.text);
                assert!(matches!(reply.status, 401 | 403 | 404 | 422), "{here}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_reaches_what_the_walk_aims_at() {
    let app = TestApp::start().await;
    let target = Target::new(&app).await;
    for (aim, reply) in target.aimed(&target.owner.client).await {
        // The second cancellation finds nothing, and the picture is none.
        let expected = ["POST cancel in", &format!("POST /auth/{}/avatar", target.person)].contains(&&*aim);
        assert!((200..300).contains(&reply.status) || expected, "{aim}: {} {}", reply.status, reply.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_switched_off_or_taken_out_touches_nothing_of_the_workspace() {
    let app = TestApp::start().await;
    let target = Target::new(&app).await;

    let (person, clients) = insider(&app, &target, "admin").await;
    let id = scalar(&app, &format!("select id from memberships where user_id = '{}'", person.id)).await;
    let path = format!("/members/{id}");
    target.owner.client.patch(&path, json!({"is_active": false})).await.expect(200);
    is_out(&target, &Caller { who: "switched off", clients, named: 404 }).await;

    let (person, clients) = insider(&app, &target, "admin").await;
    let (_, key) = person.client.new_key(&["*"]).await;
    key.get("/members").await.expect(200);
    let id = scalar(&app, &format!("select id from memberships where user_id = '{}'", person.id)).await;
    // The account stays.
    let path = format!("/members/{id}?remove_from_workspace=true");
    target.owner.client.delete(&path).await.expect(204);
    is_out(&target, &Caller { who: "removed", clients, named: 404 }).await;
    let clients = vec![key.in_workspace(Some(&target.workspace))];
    is_out(&target, &Caller { who: "a key of one removed", clients, named: 401 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_outside_or_signed_in_too_long_ago_touches_nothing_of_the_workspace() {
    let app = TestApp::start().await;
    let target = Target::new(&app).await;
    let (_, mut clients) = insider(&app, &target, "owner").await;
    let (_, key) = target.owner.client.new_key(&["*"]).await;

    let workspace = &target.workspace;
    app.run(&format!(
        "insert into governance (workspace_id, ip_allowlist) values ('{workspace}', '{{10.0.0.0/8}}')"
    ))
    .await;
    clients.push(key.in_workspace(Some(workspace)));
    is_out(&target, &Caller { who: "outside the allowlist", clients: clients.clone(), named: 403 }).await;

    app.run("update governance set ip_allowlist = '{}', session_duration_secs = 300").await;
    app.run("update sessions set created_at = now() - interval '305 s'").await;
    // Programs don't sign in.
    clients.truncate(1);
    is_out(&target, &Caller { who: "signed in too long ago", clients, named: 401 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_and_an_impersonator_who_is_staff_no_more_touch_nothing_of_the_workspace() {
    let app = TestApp::start().await;
    let target = Target::new(&app).await;

    let eve = Person::new(&app).await;
    let stranger = eve.client.in_workspace(Some(&target.workspace));
    for operation in walked() {
        if OWN.contains(&&*operation.id) {
            continue;
        }
        let reply = target.call(&stranger, &operation).await;
        let here = format!("{} {}: {}", operation.method, operation.path, reply.text);
        assert!(!(200..300).contains(&reply.status), "{here}");
    }
    for (aim, reply) in target.aimed(&stranger).await {
        assert!(matches!(reply.status, 401 | 403 | 404 | 422), "{aim}: {} {}", reply.status, reply.text);
    }

    let staff = Person::new(&app).await;
    let staff_path = format!("/users/{}", staff.id);
    app.operator().patch(&staff_path, json!({"is_staff": true})).await.expect(200);
    let path = format!("/users/{}/impersonation", target.owner.id);
    let made = app.operator().post(&path, json!({"staff": staff.email})).await.expect(201);
    let exchange = json!({"token": made["token"]});
    let answer = app.anonymous().post("/auth/impersonation/exchange", exchange).await.expect(200);
    let acting = target.owner.client.with_token(answer["access_token"].as_str());
    acting.get("/members").await.expect(200);
    app.operator().patch(&staff_path, json!({"is_active": false})).await.expect(200);
    for operation in walked() {
        let reply = target.call(&acting, &operation).await;
        let code = reply.code();
        let here = format!("{} {}: {}", operation.method, operation.path, reply.text);
        assert_eq!((reply.status, code.as_deref()), (401, Some("token_invalid")), "{here}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_demoted_keeps_what_the_lesser_role_holds_and_nothing_more() {
    let app = TestApp::start().await;
    let target = Target::new(&app).await;
    let (person, mut clients) = insider(&app, &target, "admin").await;
    let (_, key) = person.client.new_key(&["*"]).await;
    clients.push(key.in_workspace(Some(&target.workspace)));
    let id = scalar(&app, &format!("select id from memberships where user_id = '{}'", person.id)).await;
    target.owner.client.patch(&format!("/members/{id}"), json!({"role": "viewer"})).await.expect(200);

    for client in &clients {
        client.get("/recordsets").await.expect(200);
        for operation in walked() {
            let name = |member: &str| operation.body[member].as_str().map(str::to_owned);
            let asked = [name("x-permission"), name("x-permission-own")];
            let mut asked = asked.into_iter().flatten();
            if asked.clone().next().is_none() || asked.any(|it| domain::access::Role::Viewer.may(&it)) {
                continue;
            }
            let reply = target.call(client, &operation).await;
            let here = format!("{} {}: {}", operation.method, operation.path, reply.text);
            assert_eq!((reply.status, reply.code().as_deref()), (403, Some("forbidden")), "{here}");
        }
        let user = format!("/auth/{}", target.owner.id);
        for change in [json!({"bio": "b"}), json!({"role": "viewer"}), json!({"email": "eve@example.com"})] {
            let reply = client.patch(&user, change).await;
            assert_eq!((reply.status, reply.code().as_deref()), (403, Some("forbidden")), "{}", reply.text);
        }
    }
    let value: Value = json!({"invitation_id": target.invitation});
    let reply = clients[0].post("/workspaces/invitations/cancel", value).await;
    assert_eq!(reply.error(404), "record_not_found");
}
