//! A member's forgotten password, seen from their admin.

use serde_json::json;

use super::{Person, sign_in};
use crate::TestApp;

const SUBJECT: &str = "Choose a new password";
const NEW: &str = "a stitch in time saves nine";

fn path(owner: &Person, member: &Person) -> String {
    format!("/workspaces/{}/members/{}/password-reset", owner.workspace(), member.id)
}

fn token_of(url: &str) -> String {
    url.parse::<reqwest::Url>().unwrap().query_pairs().find(|(name, _)| name == "token").unwrap().1.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_has_a_link_mailed_to_a_member() {
    let app = TestApp::start().await;
    let owner = Person::new(&app).await;
    let admin = Person::new(&app).await.join(&owner, "admin").await;
    let ada = Person::employee(&app, &owner, "member").await;

    let answer = admin.client.post(&path(&owner, &ada), json!({})).await.expect(200);

    assert_eq!(answer, json!({"message": "An email about resetting the password will be sent."}));
    let mail = app.mail(&ada.email, SUBJECT, 1).await;
    assert!(mail.text.ends_with("Analytical Engines\r\n"), "in the workspace's name: {}", mail.text);
    let reset = json!({"token": mail.in_link("token"), "password": NEW});
    app.anonymous().post("/auth/reset-password", reset).await.expect(200);
    sign_in(&app, &ada.email, NEW).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_to_hand_over_is_valid_for_a_day_and_sends_no_email() {
    let app = TestApp::start().await;
    let owner = Person::new(&app).await;
    let ada = Person::employee(&app, &owner, "member").await;
    let link = owner.client.post(&format!("{}/link", path(&owner, &ada)), json!({})).await.expect(200);
    let hours = "select (extract(epoch from expires_at - created_at) / 3600)::bigint
                   from control.account_tokens where purpose = 'password_reset'";
    assert_eq!(app.count(hours).await, 24);
    assert!(app.mails(&ada.email, SUBJECT).is_empty());
    let reset = json!({"token": token_of(link["reset_url"].as_str().unwrap()), "password": NEW});
    app.anonymous().post("/auth/reset-password", reset).await.expect(200);
    sign_in(&app, &ada.email, NEW).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn members_reset_only_lower_or_equal_roles_and_others_are_not_found() {
    let app = TestApp::start().await;
    let (owner, stranger) = (Person::new(&app).await, Person::new(&app).await);
    let admin = Person::employee(&app, &owner, "admin").await;
    let member = Person::employee(&app, &owner, "member").await;
    for suffix in ["", "/link"] {
        let of = |person: &Person| format!("{}{suffix}", path(&owner, person));
        assert_eq!(admin.client.post(&of(&owner), json!({})).await.error(403), "forbidden");
        assert_eq!(member.client.post(&of(&member), json!({})).await.error(403), "forbidden");
        assert_eq!(owner.client.post(&of(&stranger), json!({})).await.error(404), "record_not_found");
        assert_eq!(stranger.client.post(&of(&member), json!({})).await.error(404), "record_not_found");
        assert_eq!(app.anonymous().post(&of(&member), json!({})).await.error(401), "token_missing");
    }
    assert_eq!(
        app.count("select count(*) from control.account_tokens where purpose = 'password_reset'").await,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unmanaged_account_gets_a_request_to_reset_and_keeps_its_own_link() {
    let app = TestApp::start().await;
    let owner = Person::new(&app).await;
    let ada = Person::new(&app).await.join(&owner, "member").await;
    let refused = owner.client.post(&format!("{}/link", path(&owner, &ada)), json!({})).await;
    assert_eq!(refused.error(403), "forbidden");
    let address = json!({"email": ada.email});
    app.anonymous().post("/auth/request-password-reset", address).await.expect(200);
    let own = app.mail(&ada.email, SUBJECT, 1).await.in_link("token");

    for _ in 0..2 {
        owner.client.post(&path(&owner, &ada), json!({})).await.expect(200);
    }

    let asked = app.mail(&ada.email, SUBJECT, 3).await;
    assert!(
        asked.link().path().ends_with("/forgot-password") && asked.link().query().is_none(),
        "{}",
        asked.text
    );
    assert_eq!(
        app.count("select count(*) from control.account_tokens where purpose = 'password_reset'").await,
        1
    );
    let reset = json!({"token": own, "password": NEW});
    app.anonymous().post("/auth/reset-password", reset).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admins_reset_link_leaves_the_users_own_link_valid() {
    let app = TestApp::start().await;
    let owner = Person::new(&app).await;
    let ada = Person::employee(&app, &owner, "member").await;
    let address = json!({"email": ada.email});
    app.anonymous().post("/auth/request-password-reset", address).await.expect(200);
    let own = app.mail(&ada.email, SUBJECT, 1).await.in_link("token");
    owner.client.post(&path(&owner, &ada), json!({})).await.expect(200);
    app.mail(&ada.email, SUBJECT, 2).await;
    let reset = json!({"token": own, "password": NEW});
    app.anonymous().post("/auth/reset-password", reset).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_managed_account_is_opened_only_by_callers_who_hold_what_its_role_does() {
    let app = TestApp::start().await;
    let owner = Person::new(&app).await;
    let admin = Person::employee(&app, &owner, "admin").await;
    let member = Person::employee(&app, &owner, "member").await;
    let deny = json!({"permission": "records:view", "granted": false});
    owner.client.put("/permissions/roles/admin/permission", deny).await.expect(200);

    for suffix in ["", "/link"] {
        let path = format!("{}{suffix}", path(&owner, &member));
        assert_eq!(admin.client.post(&path, json!({})).await.error(403), "forbidden");
    }
    // Nor by the address that a link would be mailed to.
    let elsewhere = json!({"email": "mallory@example.org"});
    let profile = format!("/auth/{}", member.id);
    assert_eq!(admin.client.patch(&profile, elsewhere).await.error(403), "forbidden");
    assert!(app.mails(&member.email, SUBJECT).is_empty());

    let grant = json!({"permission": "records:view", "granted": true});
    owner.client.put("/permissions/roles/admin/permission", grant).await.expect(200);
    admin.client.post(&format!("{}/link", path(&owner, &member)), json!({})).await.expect(200);
}
