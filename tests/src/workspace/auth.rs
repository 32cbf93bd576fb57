//! Authentication: signing up, signing in, the tokens between, and what people do with their accounts.

mod activation;
mod addresses;
pub(crate) mod avatar;
mod billing;
mod clerk;
mod delivery;
mod handed_over;
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

use serde_json::{Value, json};
use uuid::Uuid;

use crate::{Client, Reply, TestApp, app::new_signup, people::join};

/// The password of all users.
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// A user who has signed up, and what they sign in with.
#[derive(Clone)]
pub(crate) struct Person {
    /// Their first session, in the workspace that is their own.
    pub client: Client,
    /// Their address.
    pub email: String,
    /// Their id.
    pub id: Uuid,
}

impl Person {
    /// Signs a user up and verifies the address.
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

    /// Makes them a member of another's workspace by an invitation, and switches to it.
    pub async fn join(mut self, owner: &Self, role: &str) -> Self {
        join(&owner.client, &self.client, &json!(self.email), role).await;
        self.client.workspace = Some(owner.workspace().to_owned());
        self
    }

    /// A user whose account was made for an invitation to another's workspace, which is their only one and manages
    /// the account.
    pub async fn employee(app: &TestApp, owner: &Self, role: &str) -> Self {
        let email = format!("ada.{}@example.com", Uuid::now_v7().simple());
        let path = format!("/workspaces/{}/invitations", owner.workspace());
        owner.client.post(&path, json!({ "email": email, "role": role })).await.expect(201);
        let token = app.mail(&email, "You are invited to Analytical Engines", 1).await.in_link("token");
        let accept = json!({ "token": token, "password": PASSWORD, "name": "Ada Lovelace" });
        let accepted = app.anonymous().post("/workspaces/invitations/accept", accept).await.expect(200);
        let client = app.anonymous().signed_in(&sign_in(app, &email, PASSWORD).await.expect(200));
        let id = accepted["user_id"].as_str().unwrap().parse().unwrap();
        Self { client: client.in_workspace(Some(owner.workspace())), email, id }
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
