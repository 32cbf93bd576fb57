//! What the routes of accounts answer.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat};
use serde_json::json;

use super::Contract;
use crate::{
    TestApp,
    workspace::auth::{PASSWORD, Person},
};

/// Holds what people do with accounts, their own and others'.
pub(super) async fn hold(contract: &mut Contract, app: &TestApp) {
    let (visitor, ada) = (app.anonymous(), Person::new(app).await);
    let member = Person::employee(app, &ada, "member").await;
    let colleague = format!("/auth/{}", member.id);
    let client = &ada.client;

    contract.hold("update_current_user", &client.patch("/auth/me", json!({"title": "Countess"})).await);
    contract.hold("get_user", &client.get(&colleague).await);
    contract.hold("update_user", &client.patch(&colleague, json!({"role": "viewer", "bio": "Short"})).await);
    let mut picture = Cursor::new(Vec::new());
    DynamicImage::new_rgb8(3, 2).write_to(&mut picture, ImageFormat::Png).unwrap();
    let picture = picture.into_inner();
    contract.hold("set_own_avatar", &client.upload("/auth/me/avatar", "a.png", picture.clone()).await);
    let avatar = format!("{colleague}/avatar");
    contract.hold("set_user_avatar", &client.upload(&avatar, "a.png", picture).await);

    let elsewhere = ada.sign_in(app).await.get("/auth/sessions").await;
    let sessions = contract.hold("list_sessions", &elsewhere);
    let session = sessions["items"].as_array().unwrap().iter().find(|it| it["current"] == true).unwrap();
    let session = format!("/auth/sessions/{}", session["id"].as_str().unwrap());
    contract.hold("end_session", &client.delete(&session).await);
    contract.hold("end_other_sessions", &client.delete("/auth/sessions").await);
    let change = json!({"current_password": PASSWORD, "new_password": "a stitch in time"});
    contract.hold("change_password", &client.post("/auth/me/password", change).await);

    let moved = json!({"email": "countess@example.com", "current_password": "a stitch in time"});
    client.patch("/auth/me", moved).await.expect(200);
    let link = app.mail("countess@example.com", "Confirm your new address", 1).await;
    let confirm = json!({"token": link.in_link("token")});
    contract.hold("confirm_email_change", &client.post("/auth/me/email/confirm", confirm).await);

    let registration = json!({"email": "grace@example.com", "name": "Grace"});
    contract.hold("register", &visitor.post("/auth/register", registration).await);
    app.mail("grace@example.com", "Activate your account", 1).await;
    let address = json!({"email": "grace@example.com"});
    contract.hold("resend_activation", &visitor.post("/auth/activate/resend", address.clone()).await);
    let link = app.mail("grace@example.com", "Activate your account", 2).await;
    let look = format!("/auth/activate?{}", link.link().query().unwrap());
    contract.hold("get_activation", &visitor.get(&look).await);
    let activate = json!({"token": link.in_link("token"), "password": PASSWORD});
    contract.hold("activate_account", &visitor.post("/auth/activate", activate).await);
    contract.hold("request_password_reset", &visitor.post("/auth/request-password-reset", address).await);
    let link = app.mail("grace@example.com", "Choose a new password", 1).await;
    let reset = json!({"token": link.in_link("token"), "password": "a stitch in time"});
    contract.hold("reset_password", &visitor.post("/auth/reset-password", reset).await);
    let of_member = format!("/workspaces/{}/members/{}/password-reset", ada.workspace(), member.id);
    contract.hold("mail_member_password_reset", &client.post(&of_member, json!({})).await);
    let link = client.post(&format!("{of_member}/link"), json!({})).await;
    contract.hold("create_member_password_reset_link", &link);

    let check = visitor.request(reqwest::Method::POST, "/auth/clerk/check");
    let check = check.header("X-Clerk-Secret", super::CLERK_SECRET);
    let known = json!({"clerk_id": "user_1", "email": ada.email});
    contract.hold("check_clerk_user", &crate::client::send(check.json(&known)).await);
    let account = format!("/users/{}", ada.id);
    app.operator().patch(&account, json!({"is_staff": true})).await.expect(200);
    let (operator, path) = (app.operator(), format!("/users/{}/impersonation", member.id));
    let token = operator.post(&path, json!({"staff": ada.email})).await.expect(201);
    let token = json!({"token": token["token"]});
    contract.hold("exchange_impersonation", &visitor.post("/auth/impersonation/exchange", token).await);
}

/// Holds what an operator does with accounts.
pub(super) async fn hold_operators(contract: &mut Contract, app: &TestApp) {
    let (operator, ada) = (app.operator(), Person::new(app).await);
    contract.hold("find_accounts", &operator.get(&format!("/users?email={}", ada.email)).await);
    let account = format!("/users/{}", ada.id);
    contract.hold("update_account", &operator.patch(&account, json!({"is_staff": true})).await);
    let staff = json!({"staff": ada.email});
    contract
        .hold("create_impersonation_token", &operator.post(&format!("{account}/impersonation"), staff).await);
}
