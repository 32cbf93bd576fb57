//! Authentication: signing up, signing in, the tokens between, and what people do with their accounts.

mod activation;
mod addresses;
pub(crate) mod avatar;
mod billing;
mod clerk;
mod delivery;
mod impersonation;
mod letters;
mod member_password;
mod password;
mod personal_tokens;
mod profile;
mod session;
mod sessions;
mod signup;
mod stripe_invite;
mod throttle;
mod tokens;

use domain::{Actor, WorkspaceDb, WorkspaceId};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{Client, Reply, TestApp, app::new_signup};

/// What everybody signs in with.
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// Someone who has signed up, and what they sign in with.
pub(crate) struct Person {
    /// Their first session, in the workspace that is their own.
    pub client: Client,
    /// Their address.
    pub email: String,
    /// Their id.
    pub id: Uuid,
}

impl Person {
    /// Signs somebody up whose address is verified.
    pub async fn new(app: &TestApp) -> Self {
        let signup = new_signup();
        let answer = app.anonymous().post("/auth/signup", signup.clone()).await.expect(201);
        let client = app.anonymous().signed_in(&answer);
        let me = client.get("/auth/me").await.expect(200);
        app.verify(&signup["email"]).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Self { client, email: text(&signup["email"]), id: text(&me["id"]).parse().unwrap() }
    }

    /// Signs in once more.
    pub async fn sign_in(&self, app: &TestApp) -> Client {
        self.client.clone().signed_in(&sign_in(app, &self.email, PASSWORD).await.expect(200))
    }

    /// The workspace that they work in.
    pub fn workspace(&self) -> &str {
        self.client.workspace.as_deref().unwrap()
    }

    /// Makes them a member of somebody's workspace, where they work from then on.
    pub async fn join(mut self, app: &TestApp, owner: &Self, role: &str) -> Self {
        let workspace: Uuid = owner.workspace().parse().unwrap();
        let id = Uuid::now_v7();
        sqlx::query(
            "insert into control.memberships (id, workspace_id, user_id, role) values ($1, $2, $3, $4)",
        )
        .bind(id)
        .bind(workspace)
        .bind(self.id)
        .bind(role)
        .execute(&app.database.pool)
        .await
        .unwrap();
        let mut db =
            WorkspaceDb::write(&app.database, WorkspaceId(workspace), Actor::default()).await.unwrap();
        sqlx::query("insert into members (id, user_id, name, email) values ($1, $2, 'Ada Lovelace', $3)")
            .bind(id)
            .bind(self.id)
            .bind(&self.email)
            .execute(db.conn())
            .await
            .unwrap();
        db.commit().await.unwrap();
        self.client.workspace = Some(workspace.to_string());
        self
    }

    /// Somebody whose only workspace is another's.
    pub async fn employee(app: &TestApp, owner: &Self, role: &str) -> Self {
        let person = Self::new(app).await.join(app, owner, role).await;
        sqlx::query("delete from control.memberships where user_id = $1 and workspace_id <> $2")
            .bind(person.id)
            .bind(owner.workspace().parse::<Uuid>().unwrap())
            .execute(&app.database.pool)
            .await
            .unwrap();
        person
    }
}

/// Tries to sign in.
pub(crate) async fn sign_in(app: &TestApp, email: &str, password: &str) -> Reply {
    app.anonymous().post("/auth/login", json!({ "email": email, "password": password })).await
}

/// The actions that the audit has of accounts, the oldest first.
pub(crate) async fn audited(app: &TestApp, resource: Option<Uuid>) -> Vec<String> {
    sqlx::query_scalar(
        "select action from shard.audit_log where $1::uuid is null or resource_id = $1 order by id",
    )
    .bind(resource)
    .fetch_all(&app.database.pool)
    .await
    .unwrap()
}
