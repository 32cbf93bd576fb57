//! Making a workspace for another user, as staff.

use futures::future::join_all;
use serde_json::{Value, json};

use super::post_and_wait;
use crate::{
    Client, TestApp,
    app::new_signup,
    mailbox::{mails_to, parameter},
};

const ADA: &str = "ada@example.com";

fn for_ada(name: &str) -> Value {
    json!({"email": ADA, "full_name": "Ada Lovelace", "workspace_name": name})
}

async fn staff(app: &TestApp) -> Client {
    let who = app.owner().await;
    let promote = "update control.users u set is_staff = true
                     from control.memberships m where m.user_id = u.id and m.workspace_id = $1::uuid";
    sqlx::query(promote).bind(who.workspace.as_ref()).execute(&app.database.pool).await.unwrap();
    who
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_owner_gets_an_account_without_a_password_and_a_link_to_choose_one() {
    let app = TestApp::start().await;
    let staff = staff(&app).await;

    let made = post_and_wait(&staff, "/workspaces/provision", for_ada("Engines")).await.expect(200);

    assert_eq!(made["workspace_name"], "Engines");
    let workspace = made["workspace_id"].as_str().unwrap();
    let mail = mails_to(&app, ADA, 1).await.remove(0);
    assert_eq!(parameter(&mail, "workspace_id"), workspace);
    let token = parameter(&mail, "token");
    let kept = format!(
        "select count(*) from control.account_tokens t join control.users u on u.id = t.user_id
          where t.hash = sha256('{token}') and t.purpose = 'activation' and t.workspace_id = '{workspace}'
            and t.expires_at between now() + interval '6 days' and now() + interval '8 days'
            and u.email = '{ADA}' and u.password_hash is null and u.activated_at is null"
    );
    assert_eq!(app.count(&kept).await, 1);
    let owner = format!(
        "select count(*) from control.memberships m join control.users u on u.id = m.user_id
          where m.workspace_id = '{workspace}' and m.role = 'owner' and u.email = '{ADA}'"
    );
    assert_eq!(app.count(&owner).await, 1);
    let schema = format!("ws_{}", workspace.replace('-', ""));
    assert_eq!(app.count(&format!("select count(*) from {schema}.members where email = '{ADA}'")).await, 1);
    staff.in_workspace(Some(workspace)).get("/recordsets").await.expect(404);
    let by_staff = format!(
        "select count(*) from shard.audit_log a join control.users u on u.id = a.user_id and u.is_staff
          where a.action = 'user.created' and a.data->>'by' = 'provision' or a.action = 'workspace.created' and a.workspace_id = '{workspace}'"
    );
    assert_eq!(app.count(&by_staff).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_at_once_for_one_new_address_make_one_account() {
    let app = TestApp::start().await;
    let staff = staff(&app).await;

    let both = ["One", "Two"].map(|name| post_and_wait(&staff, "/workspaces/provision", for_ada(name)));
    for reply in join_all(both).await {
        reply.expect(200);
    }

    assert_eq!(app.count(&format!("select count(*) from control.users where email = '{ADA}'")).await, 1);
    assert_eq!(app.count("select count(*) from control.workspaces where state = 'ready'").await, 3);
    mails_to(&app, ADA, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_who_has_an_account_keeps_it() {
    let app = TestApp::start().await;
    let (staff, ada) = (staff(&app).await, app.owner().await);
    let email = ada.get("/auth/me").await.expect(200)["email"].clone();

    let asked = json!({"email": email, "full_name": "Grace Hopper", "workspace_name": "Second"});
    post_and_wait(&staff, "/workspaces/provision", asked).await.expect(200);

    let me = ada.get("/auth/me").await.expect(200);
    assert_eq!((me["workspaces"].as_array().unwrap().len(), &me["name"]), (2, &json!("Ada Lovelace")));
    let links =
        "select count(*) from control.account_tokens t join control.workspaces w on w.id = t.workspace_id
                  where w.name = 'Second'";
    assert_eq!(app.count(links).await, 0);
    let mails = mails_to(&app, email.as_str().unwrap(), 2).await;
    assert!(mails.iter().any(|mail| mail.contains("Second")), "{mails:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_staff_provisions_and_only_what_is_valid() {
    let app = TestApp::start().await;
    let (staff, ada) = (staff(&app).await, app.owner().await);
    assert_eq!(post_and_wait(&ada, "/workspaces/provision", for_ada("Mine")).await.error(403), "forbidden");
    assert_eq!(
        post_and_wait(&app.anonymous(), "/workspaces/provision", for_ada("Mine")).await.error(401),
        "token_missing"
    );

    let wrong = json!({"email": "ada", "full_name": " ", "workspace_name": "Two\nlines"});
    let refused = post_and_wait(&staff, "/workspaces/provision", wrong).await.expect(422);
    let fields: Vec<_> = refused["fields"].as_object().unwrap().keys().collect();
    assert_eq!(fields, ["email", "full_name", "workspace_name"]);

    let email = ada.get("/auth/me").await.expect(200)["email"].clone();
    let close = "update control.users set is_active = false where email = $1";
    sqlx::query(close).bind(email.as_str()).execute(&app.database.pool).await.unwrap();
    let asked = json!({"email": email, "full_name": "Ada", "workspace_name": "Second"});
    assert_eq!(post_and_wait(&staff, "/workspaces/provision", asked).await.error(409), "user_inactive");
    assert_eq!(app.count("select count(*) from control.signups where door = 'provision'").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_made_for_an_address_that_is_not_verified_or_is_signing_up() {
    let app = TestApp::start().await;
    let staff = staff(&app).await;
    let asked =
        |email: &Value| json!({"email": email, "full_name": "Ada Lovelace", "workspace_name": "Second"});
    let unverified = new_signup();
    app.anonymous().post("/auth/signup", unverified.clone()).await.expect(201);
    let refused = post_and_wait(&staff, "/workspaces/provision", asked(&unverified["email"])).await;
    assert_eq!(refused.error(409), "address_not_verified");

    app.pause_provisioning().await;
    let signing_up = new_signup();
    app.anonymous().post("/auth/signup/async", signing_up.clone()).await.expect(202);
    let refused = post_and_wait(&staff, "/workspaces/provision", asked(&signing_up["email"])).await;
    assert_eq!(refused.error(409), "signup_pending");
    app.stop_provisioning().await;
}
