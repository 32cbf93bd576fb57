//! Workspaces, and who belongs to them.

mod answering;
mod backing;
mod create;
mod details;
mod inviting;
mod provision;
mod removal;
mod roster;

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{Client, Reply, TestApp, app::new_signup, client::send, cluster::wait_until};

/// The path of a client's current workspace.
fn own(client: &Client) -> String {
    format!("/workspaces/{}", client.workspace.as_deref().unwrap())
}

/// A user with an account and a workspace of their own, and their address.
async fn stranger(app: &TestApp) -> (Client, String) {
    let signup = new_signup();
    let signed_up = app.anonymous().post("/auth/signup", signup.clone()).await.expect(201);
    app.verify(&signup["email"]).await;
    (app.anonymous().signed_in(&signed_up), signup["email"].as_str().unwrap().to_owned())
}

/// A user with an account that has no password yet, and no workspace; their address.
async fn newcomer(app: &TestApp) -> String {
    let email = format!("grace.{}@example.com", Uuid::now_v7().simple());
    sqlx::query("insert into control.users (id, email, email_key, name) values ($1, $2, $2, 'Grace Hopper')")
        .bind(Uuid::now_v7())
        .bind(&email)
        .execute(&app.database.pool)
        .await
        .unwrap();
    email
}

/// An address that has no account.
fn unregistered() -> String {
    format!("grace.{}@example.com", Uuid::now_v7().simple())
}

/// Invites an address by email.
async fn invite(owner: &Client, email: &str, role: &str) -> Value {
    let path = format!("{}/invitations", own(owner));
    owner.post(&path, json!({ "email": email, "role": role })).await.expect(201)
}

/// The token of the newest invitation in an address's emails, once so many have arrived.
async fn mailed_token(app: &TestApp, email: &str, invitations: usize) -> String {
    wait_until("the invitation is in the mail", || async { tokens(app, email).len() >= invitations }).await;
    let tokens = tokens(app, email);
    assert_eq!(tokens.len(), invitations, "mails to {email}");
    tokens.last().unwrap().clone()
}

/// The tokens of all invitations in an address's emails, by age.
fn tokens(app: &TestApp, email: &str) -> Vec<String> {
    let mails = mails_to(app, email);
    let links = mails.iter().filter_map(|mail| mail.split_once("/accept-invitation?token="));
    links.map(|(_, rest)| rest.split_whitespace().next().unwrap().to_owned()).collect()
}

/// The emails of an address, by age, as shown to the recipient.
fn mails_to(app: &TestApp, email: &str) -> Vec<String> {
    let Ok(outbox) = std::fs::read_dir(app.folder.path().join("mail")) else { return Vec::new() };
    let mut files: Vec<_> = outbox.map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "eml"));
    files.sort();
    let mails = files.iter().map(|file| std::fs::read_to_string(file).unwrap());
    let to = format!("To: {email}");
    mails
        .filter(|mail| mail.lines().any(|line| line.trim_end() == to))
        .map(|mail| mail.replace("=\r\n", "").replace("=3D", "="))
        .collect()
}

/// Accepts an invitation, without a password.
async fn accept(app: &TestApp, token: &str) -> crate::Reply {
    app.anonymous().post("/workspaces/invitations/accept", json!({ "token": token })).await
}

/// Looks at an invitation.
async fn look_at(app: &TestApp, token: &str) -> crate::Reply {
    app.anonymous().get(&format!("/workspaces/invitations/details?token={token}")).await
}

/// The member list of a client's current workspace.
async fn roster_of(client: &Client) -> Vec<Value> {
    let roster = client.items(&format!("{}/members", own(client))).await;
    roster.as_array().unwrap().clone()
}

/// A user's entry of the member list.
async fn entry(client: &Client, user_id: &Value) -> Value {
    let roster = roster_of(client).await;
    roster.into_iter().find(|entry| entry["user_id"] == *user_id).expect("they are in the member list")
}

/// The caller's entry of the member list.
async fn self_in_roster(client: &Client) -> Value {
    let me = client.get("/auth/me").await.expect(200);
    entry(client, &me["id"]).await
}

/// POST without a key: such a request waits for the workspace.
pub(crate) async fn post_and_wait(client: &Client, path: &str, body: Value) -> Reply {
    send(client.request(Method::POST, path).json(&body)).await
}
