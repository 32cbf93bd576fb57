//! People in roles, put where they are behind the scenes: for tests that are not about how they got there.

use crate::{Client, TestApp};

impl TestApp {
    /// Someone with an account, who has that role in the owner's workspace, too, and works there.
    pub async fn in_role(&self, owner: &Client, role: &str) -> Client {
        let guest = self.owner().await;
        sqlx::query(
            "insert into memberships (id, workspace_id, user_id, role)
             select gen_random_uuid(), $1::uuid, user_id, $3 from memberships
              where workspace_id = $2::uuid and role = 'owner'",
        )
        .bind(owner.workspace.as_ref())
        .bind(guest.workspace.as_ref())
        .bind(role)
        .execute(&self.database.pool)
        .await
        .expect("a membership can be made");
        guest.in_workspace(owner.workspace.as_deref())
    }

    /// Does something behind the scenes.
    pub async fn run(&self, statement: &str) {
        sqlx::query(sqlx::AssertSqlSafe(statement.to_owned()))
            .execute(&self.database.pool)
            .await
            .unwrap_or_else(|error| panic!("{statement}: {error}"));
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
