//! People in roles: whoever a test needs beside the owner of a workspace.

use serde_json::json;

use crate::{Client, TestApp, app::new_signup};

impl TestApp {
    /// Someone with an account and a workspace of their own, who has become a member of the owner's, too, in
    /// that role: through an invitation, as everybody does. Works in the owner's workspace.
    pub async fn join(&self, owner: &Client, role: &str) -> Client {
        let signup = new_signup();
        let signed_up = self.anonymous().post("/auth/signup", signup.clone()).await.expect(201);
        self.verify(&signup["email"]).await;
        let workspace = owner.workspace.as_deref().expect("an owner has a workspace");
        let path = format!("/workspaces/{workspace}/invitations/link");
        let link = owner.post(&path, json!({ "email": signup["email"], "role": role })).await.expect(200);
        let token = json!({ "token": link["token"] });
        self.anonymous().post("/workspaces/invitations/accept", token).await.expect(200);
        self.anonymous().signed_in(&signed_up).in_workspace(Some(workspace))
    }
}
