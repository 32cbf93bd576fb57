//! People in roles: whoever a test needs beside the owner of a workspace.

use serde_json::json;

use crate::{Client, TestApp, app::new_signup};

impl TestApp {
    /// Someone with an account and a workspace of their own, who has become a member of the owner's, too, in
    /// that role. Works in the owner's workspace.
    pub async fn join(&self, owner: &Client, role: &str) -> Client {
        let signup = new_signup();
        let signed_up = self.anonymous().post("/auth/signup", signup.clone()).await.expect(201);
        let person = self.anonymous().signed_in(&signed_up);
        owner.post("/members", json!({ "email": signup["email"], "role": role })).await.expect(201);
        person.in_workspace(owner.workspace.as_deref())
    }
}
