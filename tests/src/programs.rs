//! Programs that come with a key or a token, and what a test does behind the scenes.

use crate::{Client, TestApp};

impl TestApp {
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
