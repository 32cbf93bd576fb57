//! Programs that come with a key or a token, staff who act as a person, and what a test does behind the scenes.

use serde_json::json;

use crate::{Client, TestApp, cluster::wait_until};

impl TestApp {
    /// Does something behind the scenes.
    pub async fn run(&self, statement: &str) {
        sqlx::query(sqlx::AssertSqlSafe(statement.to_owned()))
            .execute(&self.database.pool)
            .await
            .unwrap_or_else(|error| panic!("{statement}: {error}"));
    }

    /// Lets no workspace be made from now on.
    pub async fn pause_provisioning(&self) {
        let pause = json!({ "kind": "workspaces.provision", "reason": "a test" });
        self.operator().post("/pauses", pause).await.expect(201);
    }

    /// Waits until a workspace is asked for, and cancels its job.
    pub async fn stop_provisioning(&self) {
        let waiting = "select count(*) from shard.jobs where kind = 'workspaces.provision'";
        wait_until("a workspace is asked for", || async { self.count(waiting).await == 1 }).await;
        let jobs = self.operator().get("/jobs?kind=workspaces.provision").await.expect(200);
        let job = jobs["items"][0]["job_id"].as_str().expect("a job has an id").to_owned();
        self.operator().post(&format!("/jobs/{job}/cancel"), json!({})).await.expect(200);
    }

    /// Sets the allowlist of an owner's workspace, behind the scenes: also to one that shuts the owner out.
    pub async fn let_in_from(&self, owner: &Client, networks: &str) {
        let workspace = owner.workspace.as_deref().expect("an owner has a workspace");
        self.run(&format!(
            "insert into governance (workspace_id, ip_allowlist) values ('{workspace}', '{networks}')
             on conflict (workspace_id) do update set ip_allowlist = excluded.ip_allowlist"
        ))
        .await;
    }

    /// A member of staff who acts as that person, and the id of the member of staff.
    pub async fn acting_as(&self, person: &Client) -> (Client, String) {
        let id = async |who: &Client| {
            who.get("/auth/me").await.expect(200)["id"].as_str().expect("a person has an id").to_owned()
        };
        let (staff, user) = (id(&self.owner().await).await, id(person).await);
        let operator = self.operator();
        operator.patch(&format!("/users/{staff}"), json!({ "is_staff": true })).await.expect(200);
        let path = format!("/users/{user}/impersonation");
        let made = operator.post(&path, json!({ "staff": staff })).await.expect(201);
        let token = json!({ "token": made["token"] });
        let session = self.anonymous().post("/auth/impersonation/exchange", token).await.expect(200);
        (person.with_token(session["access_token"].as_str()), staff)
    }
}

impl Client {
    /// A program that comes with a key or a personal token, and names no workspace.
    #[must_use]
    pub fn program(&self, secret: &str) -> Self {
        self.with_token(Some(secret)).in_workspace(None)
    }

    /// A key of this person's workspace with those scopes, and a program that comes with it.
    pub async fn new_key(&self, scopes: &[&str]) -> (serde_json::Value, Self) {
        let new = serde_json::json!({ "name": "A program", "scopes": scopes });
        let key = self.post("/api-keys", new).await.expect(201);
        let program = self.program(key["key"].as_str().expect("a key is shown when it is issued"));
        (key, program)
    }
}
