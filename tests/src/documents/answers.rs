//! What is answered is what the document says: one call of (nearly) every operation, and its body held
//! against the documented schema.

mod accounts;
mod people;

use std::collections::BTreeSet;

use jobs::{Surface, kinds::NoOp};
use serde_json::{Value, json};

use super::{Operation, document, operations, types_of};
use crate::{
    Client, Reply, Stripe, TestApp,
    app::new_signup,
    mailbox::mails_to,
    stripe::paid_checkout,
    workspace::{dead_letter, post_and_wait, sleeper},
};

/// Operations that answer no JSON, or the same as others do, and have tests of their own.
const LEFT_OUT: &[&str] = &[
    "cancel_import_job",
    "cancel_job",
    "delete_job",
    "download_export",
    "download_import_report",
    "get_avatar",
    "retry_job",
    "stream_job",
    "stream_job_logs",
    "stream_jobs",
    "stream_signup_job",
    "stream_workspace_migration",
];

const CLERK_SECRET: &str = "a secret that Clerk's front end has, too";

/// A document to hold answers against, and which operations have been.
pub(super) struct Contract {
    pub(super) surface: Surface,
    document: Value,
    operations: Vec<Operation>,
    held: BTreeSet<String>,
    /// The writes that have been answered: the operation, who it is for, and the request.
    pub(super) writes: Vec<(String, String, String)>,
}

impl Contract {
    pub(super) fn new(surface: Surface) -> Self {
        let document = document(surface);
        let operations = operations(&document);
        Self { surface, document, operations, held: BTreeSet::new(), writes: Vec::new() }
    }

    /// Holds the answer of an operation against its schema.
    #[track_caller]
    pub(super) fn hold(&mut self, id: &str, reply: &Reply) -> Value {
        let operation = self.operations.iter().find(|operation| operation.id == id);
        let operation = operation.unwrap_or_else(|| panic!("{id} is no operation"));
        assert!(reply.status < 300, "{id}: {} {}", reply.status, reply.text);
        let response = &operation.body["responses"][reply.status.to_string()];
        assert!(response.is_object(), "{id}: {} is not documented", reply.status);
        self.held.insert(id.to_owned());
        if operation.method != "get" {
            let caller = operation.body["x-caller"].as_str().unwrap_or_default().to_owned();
            let request = reply.headers["X-Request-Id"].to_str().unwrap().to_owned();
            self.writes.push((id.to_owned(), caller, request));
        }
        let schema = &response["content"]["application/json"]["schema"];
        if schema.is_null() {
            assert!(
                response["content"].as_object().is_none_or(|content| !content.is_empty())
                    || reply.text.is_empty()
            );
            return Value::Null;
        }
        let body = reply.json();
        let mut faults = Vec::new();
        self.compare(schema, &body, id, &mut faults);
        assert!(faults.is_empty(), "{faults:#?} in {body:#}");
        body
    }

    /// The operations whose answers have been held against the document.
    pub(super) fn held(&self) -> &BTreeSet<String> {
        &self.held
    }

    /// The operations that nothing has been held against, but for those of plain sections, which [`super::crud`] walks.
    fn left(&self) -> BTreeSet<&str> {
        let walked = super::crud::walked(self.surface);
        let all = self.operations.iter().map(|operation| operation.id.as_str());
        all.filter(|id| !self.held.contains(*id) && !walked.contains(*id)).collect()
    }

    fn compare(&self, schema: &Value, value: &Value, path: &str, faults: &mut Vec<String>) {
        let schema = match schema["$ref"].as_str().and_then(|name| name.strip_prefix("#/components/schemas/"))
        {
            Some(name) => &self.document["components"]["schemas"][name],
            None => schema,
        };
        for part in schema["allOf"].as_array().into_iter().flatten() {
            // Of several parts, each knows only its own properties.
            let part_only = schema["allOf"].as_array().is_some_and(|parts| parts.len() > 1);
            let mut of_part = Vec::new();
            self.compare(part, value, path, &mut of_part);
            faults.extend(
                of_part.into_iter().filter(|fault| !(part_only && fault.ends_with("is not documented"))),
            );
        }
        if let Some(ways) = schema["anyOf"].as_array().or(schema["oneOf"].as_array()) {
            let tried = ways.iter().map(|way| {
                let mut of_way = Vec::new();
                self.compare(way, value, path, &mut of_way);
                of_way
            });
            let tried: Vec<_> = tried.collect();
            if tried.iter().all(|faults| !faults.is_empty()) {
                faults.extend(tried.into_iter().flatten());
            }
            return;
        }
        let types = types_of(schema);
        let fits = types.is_empty()
            || types.iter().any(|ty| match *ty {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "integer" => value.is_i64() || value.is_u64(),
                "number" => value.is_number(),
                "boolean" => value.is_boolean(),
                "null" => value.is_null(),
                _ => false,
            });
        if !fits {
            faults.push(format!("{path} is {value}, not of type {}", schema["type"]));
        }
        if !schema["const"].is_null() && schema["const"] != *value {
            faults.push(format!("{path} is {value}, not {}", schema["const"]));
        }
        if schema["enum"].as_array().is_some_and(|values| !values.contains(value)) {
            faults.push(format!("{path} is {value}, none of {}", schema["enum"]));
        }
        let fits = match (schema["format"].as_str(), value.as_str()) {
            (Some("uuid"), Some(text)) => uuid::Uuid::try_parse(text).is_ok(),
            (Some("typeid"), Some(text)) => {
                text.split_once('_').is_some_and(|(_, suffix)| suffix.len() == 26)
            }
            // All alike: in UTC, with a Z and at most six digits.
            (Some("date-time"), Some(text)) => {
                let digits = text.split_once('.').map_or(0, |(_, digits)| digits.len() - 1);
                chrono::DateTime::parse_from_rfc3339(text).is_ok() && text.ends_with('Z') && digits <= 6
            }
            _ => true,
        };
        if !fits {
            faults.push(format!("{path} is {value}, not of format {}", schema["format"]));
        }
        for required in schema["required"].as_array().into_iter().flatten() {
            let required = required.as_str().unwrap();
            if value.get(required).is_none_or(Value::is_null) {
                faults.push(format!("{path}.{required} is missing"));
            }
        }
        for (name, member) in value.as_object().into_iter().flatten() {
            let here = format!("{path}.{name}");
            match (&schema["properties"][name], &schema["additionalProperties"]) {
                (Value::Null, Value::Null) if schema["properties"].is_object() => {
                    faults.push(format!("{here} is not documented"));
                }
                // What need not be there may be null.
                (property, _) if property.is_object() && member.is_null() => {}
                (property, _) if property.is_object() => self.compare(property, member, &here, faults),
                (_, any) if any.is_object() => self.compare(any, member, &here, faults),
                _ => {}
            }
        }
        for item in value.as_array().into_iter().flatten().filter(|_| schema["items"].is_object()) {
            self.compare(&schema["items"], item, &format!("{path}[]"), faults);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_answered_is_what_is_documented() {
    let stripe = Stripe::start().await;
    let app = stripe.start_app(&[("CLERK_SECRET", CLERK_SECRET)]).await;
    let mut contract = Contract::new(Surface::Workspace);
    let visitor = app.anonymous();
    accounts::hold(&mut contract, &app).await;

    let signup = new_signup();
    let started = contract.hold("signup_async", &visitor.post("/auth/signup/async", new_signup()).await);
    visitor.follow(&started).await;
    contract.hold("get_signup_job", &visitor.get(started["status_url"].as_str().unwrap()).await);
    let signed_up = contract.hold("signup", &visitor.post("/auth/signup", signup.clone()).await);
    let login = json!({"email": signup["email"], "password": signup["password"]});
    let logged_in = contract.hold("login", &visitor.post("/auth/login", login).await);
    let refresh = json!({"refresh_token": logged_in["refresh_token"]});
    contract.hold("refresh_tokens", &visitor.post("/auth/refresh", refresh).await);
    let owner = visitor.signed_in(&signed_up);
    let me = format!("/auth/me?workspace_id={}", owner.workspace.as_ref().unwrap());
    contract.hold("get_current_user", &owner.get(&me).await);

    contract.hold("create_workspace", &post_and_wait(&owner, "/workspaces", json!({"name": "Second"})).await);
    sqlx::query("update control.users set is_staff = true").execute(&app.database.pool).await.unwrap();
    let provision = json!({"email": "eve@example.com", "full_name": "Eve", "workspace_name": "Third"});
    contract.hold("provision_workspace", &post_and_wait(&owner, "/workspaces/provision", provision).await);
    hold_invites(&mut contract, &app, &stripe).await;

    let leads = json!({"name": "Leads", "fields": [{"label": "Name", "field_type": "text"},
                       {"label": "Stage", "field_type": "choice", "options": ["won"]}]});
    let leads = contract.hold("create_recordset", &owner.post("/recordsets", leads).await);
    let record = json!({"recordset_id": leads["id"], "data": {"name": "Ada", "stage": "won"}});
    contract.hold("create_record", &owner.post("/records", record).await);

    let upload = owner.upload("/recordsets/import/upload", "people.csv", "Name,Age\nAda,36\nEve,x\n").await;
    let upload = contract.hold("upload_import_file", &upload);
    let file = json!({"file_uri": upload["file_uri"]});
    contract.hold("analyze_import_file", &owner.post("/recordsets/import/upload/analyze", file).await);
    let import = json!({"file_uri": upload["file_uri"], "name": "People",
                        "fields": [{"label": "Name", "field_type": "text"}, {"label": "Age", "field_type": "integer"}]});
    let import = contract.hold("start_recordset_import", &owner.post("/recordsets/import", import).await);
    owner.follow(&import).await;
    let job = import["job_id"].as_str().unwrap();
    let into = format!("/recordsets/import/records/{}", import["recordset_id"].as_str().unwrap());
    let more = owner.post(&into, json!({"file_uri": upload["file_uri"]})).await;
    owner.follow(&contract.hold("start_records_import", &more)).await;
    contract.hold("list_import_jobs", &owner.get("/recordsets/import/jobs").await);
    contract.hold("get_import_job", &owner.get(&format!("/recordsets/import/jobs/{job}")).await);
    contract.hold("get_import_status", &owner.get(&format!("/recordsets/import/status/{job}")).await);
    contract.hold(
        "get_import_report_url",
        &owner.get(&format!("/recordsets/import/jobs/{job}/report-url")).await,
    );
    contract.hold("list_jobs", &owner.get("/jobs").await);
    contract.hold("get_jobs_stream_url", &owner.get("/jobs/stream-url").await);
    contract.hold("get_job", &owner.get(&format!("/jobs/{job}")).await);
    contract.hold("list_job_logs", &owner.get(&format!("/jobs/{job}/logs")).await);
    let export = json!({"recordset_id": leads["id"]});
    let export = contract.hold("start_export", &owner.post("/recordsets/export", export).await);
    owner.follow(&export).await;
    let dead = dead_letter(&app, &owner).await;
    contract.hold("list_dead_letters", &owner.get("/dead-letters").await);
    contract.hold("get_dead_letter", &owner.get(&format!("/dead-letters/{dead}")).await);
    contract.hold("retry_dead_letter", &owner.post(&format!("/dead-letters/{dead}/retry"), json!({})).await);
    owner.events(&format!("/jobs/{dead}/stream"), None).await.to_the_end().await;
    contract.hold("discard_dead_letter", &owner.delete(&format!("/dead-letters/{dead}")).await);
    super::audit::hold_many(&mut contract, &app, &owner).await;
    contract.hold("delete_import_job", &owner.delete(&format!("/recordsets/import/jobs/{job}")).await);
    hold_workspaces(&mut contract, &app, &owner).await;
    hold_modules(&mut contract, &owner).await;
    people::hold(&mut contract, &app, &owner).await;
    hold_keys(&mut contract, &owner).await;
    hold_permissions(&mut contract, &owner).await;
    contract.hold("logout", &owner.post("/auth/logout", json!({})).await);

    assert_eq!(contract.left(), LEFT_OUT.iter().copied().collect());
    super::audit::writes_are_noted(&app, &contract, "user").await;
}

/// Workspaces, and who belongs to them.
async fn hold_workspaces(contract: &mut Contract, app: &TestApp, owner: &Client) {
    let bob = new_signup();
    let guest =
        app.anonymous().signed_in(&app.anonymous().post("/auth/signup", bob.clone()).await.expect(201));
    app.verify(&bob["email"]).await;
    let at = format!("/workspaces/{}", owner.workspace.as_deref().unwrap());
    contract.hold("list_workspaces", &owner.get("/workspaces").await);
    contract.hold("get_workspace", &owner.get(&at).await);
    let branded = json!({"branding": {"color": "#00ff00"}});
    contract.hold("update_workspace", &owner.patch(&at, branded).await);
    let here = json!({"workspace_id": owner.workspace});
    contract.hold("switch_workspace", &owner.post("/workspaces/switch", here).await);
    let bob = json!({"email": bob["email"]});
    let invite = owner.post(&format!("{at}/invitations"), bob.clone()).await;
    let cancel = json!({"invitation_id": contract.hold("invite_member", &invite)["id"]});
    contract.hold("cancel_invitation", &owner.post("/workspaces/invitations/cancel", cancel).await);
    let link = owner.post(&format!("{at}/invitations/link"), bob).await;
    let invitation = contract.hold("create_invitation_link", &link)["invitation"].clone();
    let whose = json!({"member_id": invitation["id"]});
    contract.hold("resend_invitation", &owner.post(&format!("{at}/invitations/resend"), whose.clone()).await);
    let link = owner.post(&format!("{at}/invitations/link"), whose).await.expect(200);
    let token = link["token"].as_str().unwrap();
    let details = format!("/workspaces/invitations/details?token={token}");
    contract.hold("get_invitation_details", &app.anonymous().get(&details).await);
    contract.hold("list_own_invitations", &guest.get("/workspaces/invitations").await);
    let accept = guest.post("/workspaces/invitations/accept", json!({"token": token})).await;
    contract.hold("accept_invitation", &accept);
    contract.hold("list_workspace_members", &owner.get(&format!("{at}/members")).await);
    let bob = format!("{at}/members/{}", invitation["id"].as_str().unwrap());
    contract.hold("remove_workspace_member", &owner.delete(&bob).await);
}

/// Module settings.
pub(super) async fn hold_modules(contract: &mut Contract, owner: &Client) {
    owner.post("/modules", json!({"module": "crm"})).await.expect(201);
    contract.hold("toggle_module", &owner.post("/modules/crm/toggle", json!({})).await);
}

/// Two people who have paid sign up, each by a way of their own.
async fn hold_invites(contract: &mut Contract, app: &TestApp, stripe: &Stripe) {
    let visitor = app.anonymous();
    let mut codes = Vec::new();
    for email in ["mary.who.paid@example.com", "hedy.who.paid@example.com"] {
        stripe.tell(app, "checkout.session.completed", &paid_checkout(email)).await.expect(200);
        let mail = mails_to(app, email, 1).await.remove(0);
        let access_code: String =
            mail.split_once("access code, it is ").unwrap().1.chars().take(14).collect();
        let found = json!({"email": email, "access_code": access_code});
        let found = contract.hold("lookup_invite", &visitor.post("/auth/lookup-invite", found).await);
        codes.push(found["invite_code"].as_str().unwrap().to_owned());
    }
    let path = "/auth/signup/stripe-invite";
    contract.hold("get_stripe_invite", &visitor.get(&format!("{path}/{}", codes[0])).await);
    let body = |code: &str| json!({"invite_code": code, "password": "correct horse battery staple"});
    contract.hold("signup_stripe_invite", &visitor.post(path, body(&codes[0])).await);
    let started = visitor.post(&format!("{path}/async"), body(&codes[1])).await;
    visitor.follow(&contract.hold("signup_stripe_invite_async", &started)).await;
}

/// API keys and personal tokens.
async fn hold_keys(contract: &mut Contract, owner: &Client) {
    let new = json!({"name": "x", "scopes": ["*"]});
    let key = contract.hold("create_api_key", &owner.post("/api-keys", new).await);
    let path = format!("/api-keys/{}", key["id"].as_str().unwrap());
    contract.hold("list_api_keys", &owner.get("/api-keys").await);
    contract.hold("count_api_keys", &owner.get("/api-keys/count").await);
    contract.hold("get_api_key", &owner.get(&path).await);
    contract.hold("update_api_key", &owner.patch(&path, json!({"description": "y"})).await);
    contract.hold("toggle_api_key", &owner.post(&format!("{path}/toggle"), json!({})).await);
    let rotated = contract.hold("rotate_api_key", &owner.post(&format!("{path}/rotate"), json!({})).await);
    let path = format!("/api-keys/{}", rotated["id"].as_str().unwrap());
    contract.hold("revoke_api_key", &owner.post(&format!("{path}/revoke"), json!({})).await);
    contract.hold("delete_api_key", &owner.delete(&path).await);
    let token = owner.post("/auth/tokens", json!({"name": "x"})).await;
    let token = contract.hold("create_personal_token", &token);
    contract.hold("list_personal_tokens", &owner.get("/auth/tokens").await);
    let path = format!("/auth/tokens/{}", token["id"].as_str().unwrap());
    contract.hold("revoke_personal_token", &owner.delete(&path).await);
}

/// Permissions.
pub(super) async fn hold_permissions(contract: &mut Contract, owner: &Client) {
    contract.hold("list_permissions", &owner.get("/permissions").await);
    contract.hold("check_permission", &owner.get("/permissions/check/records:view").await);
    contract.hold("group_permissions", &owner.get("/permissions/grouped").await);
    contract.hold("list_own_permissions", &owner.get("/permissions/me").await);
    contract.hold("list_role_permissions", &owner.get("/permissions/roles").await);
    let role = "/permissions/roles/viewer";
    contract.hold("get_role_permissions", &owner.get(role).await);
    let changes = json!({"permissions": {"records:create": true}});
    contract.hold("set_role_permissions", &owner.put(role, changes).await);
    let change = json!({"permission": "records:edit", "granted": true});
    contract.hold("set_role_permission", &owner.put(&format!("{role}/permission"), change).await);
    contract.hold("reset_role_permissions", &owner.post(&format!("{role}/reset"), json!({})).await);
    contract.hold("seed_permissions", &owner.post("/permissions/seed", json!({})).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_platform_answers_is_what_is_documented() {
    let stripe = Stripe::start().await;
    let app = stripe.start_app(&[]).await;
    let owner = app.owner().await;
    let mut contract = Contract::new(Surface::Platform);
    for probe in ["health", "ready"] {
        contract.hold(probe, &owner.get(&format!("/{probe}")).await);
    }
    let nothing = stripe.tell(&app, "customer.created", &json!({"id": "cus_1"})).await;
    contract.hold("stripe_webhook", &nothing);
    for (id, path) in [("api_docs", "/docs"), ("openapi_document", "/docs/openapi.json")] {
        contract.hold(id, &owner.get(path).await);
    }
    let landing = reqwest::Client::new().get(format!("{}/", app.base));
    contract.hold("landing_page", &crate::client::send(landing).await);
    hold_tenant(&mut contract, &owner).await;
    let job = sleeper(&app, &owner, NoOp { sleep_ms: 60_000, ..NoOp::default() }).await;
    contract.hold("get_job", &owner.get(&format!("/v1/jobs/{job}")).await);
    contract.hold("get_jobs_stream_url", &owner.get("/v1/jobs/stream-url").await);
    let stream = owner.events(&format!("/v1/jobs/{job}/stream"), None).await;
    contract.hold("cancel_job", &owner.post(&format!("/v1/jobs/{job}/cancel"), json!({})).await);
    stream.to_the_end().await;
    let yearly = json!({"name": "Yearly", "cron_expression": "@yearly", "action_type": "no_op"});
    let made = contract.hold("create_scheduled_job", &owner.post("/v1/scheduled-jobs", yearly).await);
    contract.hold("list_scheduled_jobs", &owner.get("/v1/scheduled-jobs").await);
    let path = format!("/v1/scheduled-jobs/{}", made["data"]["id"].as_str().unwrap());
    contract.hold("get_scheduled_job", &owner.get(&path).await);
    contract.hold("update_scheduled_job", &owner.patch(&path, json!({"name": "Annual"})).await);
    let run = owner.post(&format!("{path}/execute"), json!({})).await;
    let run = contract.hold("execute_scheduled_job", &run);
    owner.follow(&run["data"]).await;
    contract.hold("list_scheduled_job_runs", &owner.get(&format!("{path}/runs")).await);
    contract.hold("delete_scheduled_job", &owner.delete(&path).await);

    dead_letter(&app, &owner).await;
    let list = contract.hold("list_dlq_messages", &owner.get("/v1/dlq").await);
    let message = format!("/v1/dlq/{}", list["data"]["messages"][0]["id"].as_str().unwrap());
    contract.hold("retry_dlq_message", &owner.post(&format!("{message}/retry"), json!({})).await);
    let job = message.replace("dlq", "jobs");
    owner.events(&format!("{job}/stream"), None).await.to_the_end().await;
    contract.hold("discard_dlq_message", &owner.delete(&message).await);

    assert_eq!(contract.left(), BTreeSet::from(["stream_job", "stream_jobs"]));
    super::audit::writes_are_noted(&app, &contract, "user").await;
}

/// What the Platform API shows about a tenant, its keys and the caller.
async fn hold_tenant(contract: &mut Contract, owner: &Client) {
    let (key, program) = owner.new_key(&["*"]).await;
    contract.hold("get_tenant_config", &program.get("/v1/tenant-config").await);
    let email = owner.get("/auth/me").await.expect(200)["email"].clone();
    contract.hold("look_up_tenants", &owner.post("/v1/tenants/lookup", json!({"email": email})).await);
    contract.hold("get_usage", &program.get("/v1/usage").await);
    contract.hold("get_token_owner", &program.get("/v1/me").await);
    contract.hold("list_books", &program.get("/v1/books").await);
    contract.hold("list_audit_logs", &program.get("/v1/audit-logs").await);
    contract.hold("get_governance", &program.get("/v1/governance").await);
    contract
        .hold("update_governance", &owner.patch("/v1/governance", json!({"audit_retention_days": 9})).await);
    let simulation = json!({"policy": {"condition_json": true, "action": "select"}, "auth_context": {}, "sample_data": [{}]});
    contract.hold("simulate_policy", &program.post("/v1/policies/simulate", simulation).await);
    contract.hold("list_keys", &program.get("/v1/keys").await);
    let new = json!({"label": "x", "scopes": ["read"]});
    contract.hold("create_key", &program.post("/v1/keys", new).await);
    let path = format!("/v1/keys/{}", key["id"].as_str().unwrap());
    contract.hold("update_key", &owner.patch(&path, json!({"label": "y"})).await);
    let rotated = contract.hold("rotate_key", &owner.post(&format!("{path}/rotate"), json!({})).await);
    let path = format!("/v1/keys/{}", rotated["data"]["new_key"]["id"].as_str().unwrap());
    contract.hold("revoke_key", &owner.delete(&path).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_is_answered_is_what_is_documented() {
    let app = TestApp::start().await;
    let mut contract = Contract::new(Surface::Ops);
    let operator = app.operator();
    let owner = app.owner().await;
    let token = owner.post("/auth/tokens", json!({"name": "x"})).await.expect(201);
    let grant = format!("/personal-tokens/{}", token["id"].as_str().unwrap());
    contract.hold("grant_personal_token", &operator.patch(&grant, json!({"scopes": ["*"]})).await);
    let email = owner.get("/auth/me").await.expect(200)["email"].as_str().unwrap().to_owned();
    contract.hold("find_personal_tokens", &operator.get(&format!("/personal-tokens?email={email}")).await);
    let tenant = owner.workspace.unwrap();
    let held =
        json!({"kind": "engine.no_op", "workspace_id": tenant, "reason": "a test", "paused_by": "Ada"});
    let pause = contract.hold("create_pause", &operator.post("/pauses", held).await);
    contract.hold("list_pauses", &operator.get("/pauses").await);
    let limit = json!({"scope": "workspace", "workspace_id": tenant, "kind": "engine.no_op", "max_running": 3,
                       "max_starts": 100, "per_seconds": 60});
    let limit = contract.hold("set_limit", &operator.put("/limits", limit).await);
    contract.hold("list_limits", &operator.get("/limits").await);
    let share = format!("/shares/{tenant}");
    contract.hold("set_share", &operator.put(&share, json!({"weight": 3})).await);
    contract.hold("list_shares", &operator.get("/shares").await);

    let (of, no_op) = (Some(tenant.parse().unwrap()), jobs::kinds::NoOp::default());
    let job = app.database.enqueue(jobs::NewJob::new(&no_op).workspace(of)).await.unwrap().id();
    contract.hold("list_queues", &operator.get("/queues").await);
    contract.hold("get_queue", &operator.get("/queues/maintenance").await);
    contract.hold("get_pool_scaling", &operator.get("/pools/maintenance/scaling").await);
    contract.hold("list_throughput", &operator.get("/throughput").await);
    contract.hold("list_all_dead_letters", &operator.get("/dead-letters").await);
    contract.hold("list_all_jobs", &operator.get("/jobs?limit=1").await);
    contract.hold("get_any_job", &operator.get(&format!("/jobs/{job}")).await);
    contract.hold("cancel_any_job", &operator.post(&format!("/jobs/{job}/cancel"), json!({})).await);
    contract.hold("retry_any_job", &operator.post(&format!("/jobs/{job}/retry"), json!({})).await);
    let delete = |path: &str, item: &Value| format!("{path}/{}", item["id"].as_str().unwrap());
    contract.hold("delete_pause", &operator.delete(&delete("/pauses", &pause)).await);
    contract.hold("delete_limit", &operator.delete(&delete("/limits", &limit)).await);
    contract.hold("delete_share", &operator.delete(&share).await);

    crate::cluster::wait_until("a worker is there", || async {
        operator.get("/workers").await.expect(200)["items"] != json!([])
    })
    .await;
    let workers = contract.hold("list_workers", &operator.get("/workers").await);
    let worker = format!("/workers/{}", workers["items"][0]["id"].as_str().unwrap());
    contract.hold("pause_worker", &operator.post(&format!("{worker}/pause"), json!({})).await);
    contract.hold("resume_worker", &operator.post(&format!("{worker}/resume"), json!({})).await);
    app.wait_for_end(job).await;
    accounts::hold_operators(&mut contract, &app).await;
    // No other worker takes what waits when this one is drained.
    crate::cluster::wait_until("all jobs are over", || async {
        app.count("select count(*) from shard.jobs").await == 0
    })
    .await;
    contract.hold("drain_worker", &operator.post(&format!("{worker}/drain"), json!({})).await);

    let all = contract.operations.iter().map(|operation| operation.id.as_str());
    let left: BTreeSet<_> = all.filter(|id| !contract.held.contains(*id)).collect();
    assert!(left.is_empty(), "{left:?}");
    super::audit::writes_are_noted(&app, &contract, "operator").await;
}

#[test]
fn a_body_that_is_not_as_documented_is_found_out() {
    let contract = Contract::new(Surface::Workspace);
    let me = contract.operations.iter().find(|operation| operation.id == "get_current_user").unwrap();
    let schema = &me.body["responses"]["200"]["content"]["application/json"]["schema"];
    let id = "0190b5a4-7e2f-7c3a-9b1d-2f4e6a8c0d1e";
    let workspace = json!({"id": id, "name": 7, "slug": "s", "role": "owner", "colour": "red"});
    let body = json!({"id": "x", "email": "a@b.c", "email_verified": true, "created_at": "today", "workspaces": [workspace]});

    let mut faults = Vec::new();
    contract.compare(schema, &body, "me", &mut faults);

    faults.sort();
    insta::assert_compact_json_snapshot!(faults, @r#"[
  "me.created_at is \"today\", not of format \"date-time\"",
  "me.id is \"x\", not of format \"uuid\"",
  "me.name is missing",
  "me.workspaces[].colour is not documented",
  "me.workspaces[].name is 7, not of type \"string\""
]"#);
}
