//! People in roles: those that a test needs beside the owner of a workspace.

use serde_json::{Value, json};

use crate::{Client, TestApp, app::new_signup};

impl TestApp {
    /// A user with an account and a workspace of their own, who has become a member of the owner's, too, in
    /// that role: through an invitation, as every member does. Works in the owner's workspace.
    pub async fn join(&self, owner: &Client, role: &str) -> Client {
        let signup = new_signup();
        let signed_up = self.anonymous().post("/auth/signup", signup.clone()).await.expect(201);
        self.verify(&signup["email"]).await;
        let joining = self.anonymous().signed_in(&signed_up);
        join(owner, &joining, &signup["email"], role).await;
        joining.in_workspace(owner.workspace.as_deref())
    }
}

/// A member invites an address, and its signed-in owner accepts; returns the membership.
pub async fn join(owner: &Client, joining: &Client, email: &Value, role: &str) -> Value {
    let workspace = owner.workspace.as_deref().expect("who invites works in a workspace");
    let path = format!("/workspaces/{workspace}/invitations/link");
    // A link, which mails nothing.
    let link = owner.post(&path, json!({ "email": email, "role": role })).await.expect(200);
    let accept = json!({ "invitation_id": link["invitation"]["id"] });
    joining.post("/workspaces/invitations/accept", accept).await.expect(200)
}
