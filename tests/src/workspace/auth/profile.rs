//! Profiles: one's own, and those of people one works with.

use serde_json::{Value, json};

use super::{PASSWORD, Person, audited, sign_in};
use crate::{Client, TestApp, masked};

async fn member(person: &Person, workspace: &str) -> Value {
    person.client.get(&format!("/auth/me?workspace_id={workspace}")).await.expect(200)["member"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_changes_in_all_of_ones_workspaces_and_what_is_absent_stays() {
    let app = TestApp::start().await;
    let owner = Person::new(&app).await;
    let ada = Person::new(&app).await;
    let own = ada.workspace().to_owned();
    let ada = ada.join(&owner, "member").await;
    let change = json!({"name": " Ada King ", "title": "Countess", "phone": "+44 20 1", "bio": "Two\nlines",
                        "avatar_url": "https://example.com/ada.png"});

    let edited = ada.client.patch("/auth/me", change).await.expect(200);

    insta::assert_json_snapshot!(masked(&edited), @r#"
    {
      "avatar_url": "https://example.com/ada.png",
      "bio": "Two\nlines",
      "created_at": "[time]",
      "email": "[email]",
      "email_verified": true,
      "id": "[id]",
      "name": "Ada King",
      "pending_email": null,
      "phone": "+44 20 1",
      "title": "Countess"
    }
    "#);
    for workspace in [own.as_str(), owner.workspace()] {
        let member = member(&ada, workspace).await;
        for field in ["name", "title", "phone", "bio", "avatar_url", "email"] {
            assert_eq!(member[field], edited[field], "{field}");
        }
    }
    let cleared = ada.client.patch("/auth/me", json!({"title": null, "bio": ""})).await.expect(200);
    assert_eq!((&cleared["title"], &cleared["bio"]), (&Value::Null, &Value::Null));
    assert_eq!(cleared["phone"], "+44 20 1");
    assert_eq!(member(&ada, &own).await["title"], Value::Null);
    assert!(audited(&app, Some(ada.id)).await.contains(&"user.updated".to_owned()));
    let events = "select count(*) from shard.events where type = 'member.updated'";
    assert_eq!(app.count(events).await, 4, "twice in each of the two workspaces");
    for change in [json!({"phone": "+44 20 2"}), json!({"title": "Enchantress"}), json!({"bio": "Numbers."})]
    {
        let before = app.count(events).await;
        ada.client.patch("/auth/me", change.clone()).await.expect(200);
        assert_eq!(app.count(events).await, before + 2, "{change}");
        // No event where nothing has changed.
        ada.client.patch("/auth/me", change.clone()).await.expect(200);
        assert_eq!(app.count(events).await, before + 2, "{change}");
    }
    // Nor where the workspace shows a value of its own.
    let user = format!("/auth/{}", ada.id);
    owner.client.patch(&user, json!({"title": "Analyst"})).await.expect(200);
    let before = app.count(events).await;
    ada.client.patch("/auth/me", json!({"title": "Countess"})).await.expect(200);
    assert_eq!(app.count(events).await, before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_address_takes_the_password_and_the_old_one_is_told() {
    let app = TestApp::start().await;
    let (ada, eve) = (Person::new(&app).await, Person::new(&app).await);
    let new = "countess@example.com";
    let patch = async |body: Value| ada.client.patch("/auth/me", body).await;

    let missing = patch(json!({ "email": new })).await.expect(422);
    assert_eq!(missing["detail"], "required and missing: current_password");
    let wrong = patch(json!({"email": new, "current_password": "a guess"})).await.expect(422);
    assert!(wrong["fields"]["current_password"].is_array(), "{wrong}");
    let taken = json!({"email": eve.email.to_uppercase(), "current_password": PASSWORD});
    assert_eq!(patch(taken).await.error(409), "email_taken");
    let elsewhere = ada.sign_in(&app).await;
    let change = json!({"email": new, "current_password": PASSWORD, "title": "Countess"});
    let edited = patch(change).await.expect(200);

    // Until it is confirmed, nothing changes.
    assert_eq!((&edited["email"], &edited["pending_email"]), (&json!(ada.email), &json!(new)));
    app.mail(&ada.email, "Your address is about to change", 1).await;
    sign_in(&app, &ada.email, PASSWORD).await.expect(200);
    let token = app.mail(new, "Confirm your new address", 1).await.in_link("token");
    let confirm = async |client: &Client, token: &str| {
        client.post("/auth/me/email/confirm", json!({ "token": token })).await
    };
    assert_eq!(confirm(&app.anonymous(), &token).await.error(401), "token_missing");
    assert_eq!(confirm(&eve.client, &token).await.error(401), "token_invalid", "the link is for one account");
    let confirmed = confirm(&ada.client, &token).await.expect(200);

    assert_eq!((&confirmed["email"], &confirmed["pending_email"]), (&json!(new), &Value::Null));
    assert_eq!(confirmed["email_verified"], true);
    assert_eq!(member(&ada, ada.workspace()).await["email"], new);
    app.mail(&ada.email, "Your address was changed", 1).await;
    assert_eq!(elsewhere.get("/auth/me").await.error(401), "token_invalid", "other sessions end");
    assert_eq!(confirm(&ada.client, &token).await.error(401), "token_invalid");
    assert_eq!(sign_in(&app, &ada.email, PASSWORD).await.error(401), "credentials_invalid");
    sign_in(&app, new, PASSWORD).await.expect(200);
    // The same address, sent back with the rest of a form, takes nothing.
    let same = patch(json!({"email": new.to_uppercase(), "title": "Countess"})).await.expect(200);
    assert_eq!((&same["email"], &same["pending_email"]), (&json!(new.to_uppercase()), &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_address_is_given_up_by_sending_the_present_one_and_lost_to_who_was_first() {
    let app = TestApp::start().await;
    let (ada, eve) = (Person::new(&app).await, Person::new(&app).await);
    let new = "countess@example.com";
    let change = json!({"email": new, "current_password": PASSWORD});
    ada.client.patch("/auth/me", change.clone()).await.expect(200);
    let given_up = app.mail(new, "Confirm your new address", 1).await.in_link("token");
    let back = ada.client.patch("/auth/me", json!({"email": ada.email})).await.expect(200);
    assert_eq!((&back["email"], &back["pending_email"]), (&json!(ada.email), &Value::Null));
    let confirm = async |person: &Person, token: &str| {
        person.client.post("/auth/me/email/confirm", json!({ "token": token })).await
    };
    assert_eq!(confirm(&ada, &given_up).await.error(401), "token_invalid");

    ada.client.patch("/auth/me", change.clone()).await.expect(200);
    let adas = app.mail(new, "Confirm your new address", 2).await.in_link("token");
    eve.client.patch("/auth/me", change).await.expect(200);
    let eves = app.mail(new, "Confirm your new address", 3).await.in_link("token");
    confirm(&eve, &eves).await.expect(200);
    assert_eq!(confirm(&ada, &adas).await.error(409), "email_taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_wrong_with_a_profile_is_said_at_once() {
    let app = TestApp::start().await;
    let ada = Person::new(&app).await;
    let wrong = json!({"name": "", "title": "t".repeat(201), "avatar_url": "javascript:alert(1)"});
    let refused = ada.client.patch("/auth/me", wrong).await.expect(422);
    assert_eq!(
        refused["fields"],
        json!({"avatar_url": ["must be an https URL"], "name": ["must not be empty"],
               "title": ["must have at most 200 characters"]})
    );
    assert_eq!(app.anonymous().patch("/auth/me", json!({})).await.error(401), "token_missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_shown_to_who_equals_or_outranks_them_and_does_not_exist_for_strangers() {
    let app = TestApp::start().await;
    let (owner, stranger) = (Person::new(&app).await, Person::new(&app).await);
    let admin = Person::new(&app).await.join(&owner, "admin").await;
    let viewer = Person::new(&app).await.join(&owner, "viewer").await;
    let path = |person: &Person| format!("/auth/{}", person.id);

    for caller in [&owner, &admin] {
        let shown = caller.client.get(&path(&admin)).await.expect(200);
        assert_eq!(
            (&shown["email"], shown["id"].as_str()),
            (&json!(admin.email), Some(&*admin.id.to_string()))
        );
        assert_eq!(caller.client.in_workspace(None).get(&path(&viewer)).await.status, 200);
    }
    assert_eq!(viewer.client.get(&path(&owner)).await.error(403), "forbidden");
    assert_eq!(admin.client.get(&path(&owner)).await.error(403), "forbidden");
    viewer.client.get(&path(&viewer)).await.expect(200);
    assert_eq!(stranger.client.in_workspace(None).get(&path(&viewer)).await.error(404), "record_not_found");
    // In a workspace that only one of them is in, the other one doesn't exist.
    let elsewhere = owner.client.in_workspace(Some(stranger.workspace()));
    assert_eq!(elsewhere.get(&path(&viewer)).await.error(404), "record_not_found");
    let nobody = format!("/auth/{}", uuid::Uuid::now_v7());
    assert_eq!(owner.client.get(&nobody).await.error(404), "record_not_found");
    assert_eq!(app.anonymous().get(&nobody).await.error(401), "token_missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_edited_by_an_admin_who_equals_or_outranks_them() {
    let app = TestApp::start().await;
    let (owner, stranger) = (Person::new(&app).await, Person::new(&app).await);
    let admin = Person::employee(&app, &owner, "admin").await;
    let (one, other) =
        (Person::employee(&app, &owner, "member").await, Person::employee(&app, &owner, "member").await);
    let path = |person: &Person| format!("/auth/{}", person.id);
    let title = json!({"title": "Engineer"});

    assert_eq!(admin.client.patch(&path(&one), title.clone()).await.expect(200)["title"], "Engineer");
    assert_eq!(member(&one, owner.workspace()).await["title"], "Engineer");
    assert_eq!(one.client.patch(&path(&other), title.clone()).await.error(403), "forbidden");
    assert_eq!(admin.client.patch(&path(&owner), title.clone()).await.error(403), "forbidden");
    assert_eq!(stranger.client.patch(&path(&one), title.clone()).await.error(404), "record_not_found");
    // One's own, as by /auth/me, without any permission; the address takes its password there.
    one.client.patch(&path(&one), title).await.expect(200);
    let moved = json!({"email": "moved@example.com"});
    assert_eq!(one.client.patch(&path(&one), moved.clone()).await.error(403), "forbidden");
    let pending = admin.client.patch(&path(&one), moved).await.expect(200);
    assert_eq!(
        (&pending["email"], &pending["pending_email"]),
        (&json!(one.email), &json!("moved@example.com"))
    );
    app.mail(&one.email, "Your address is about to change", 1).await;
    let token = app.mail("moved@example.com", "Confirm your new address", 1).await.in_link("token");
    let confirm = json!({ "token": token });
    let by_admin = admin.client.post("/auth/me/email/confirm", confirm.clone()).await;
    assert_eq!(by_admin.error(401), "token_invalid");
    one.client.post("/auth/me/email/confirm", confirm).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_edits_how_the_workspace_shows_somebody_and_nothing_of_their_account() {
    let app = TestApp::start().await;
    let owner = Person::new(&app).await;
    let ada = Person::new(&app).await;
    let own = ada.workspace().to_owned();
    let ada = ada.join(&owner, "member").await;
    ada.client.patch("/auth/me", json!({"title": "Countess", "phone": "+44 20 1"})).await.expect(200);
    let path = format!("/auth/{}", ada.id);
    let change = json!({"name": "Augusta", "title": "Engineer", "avatar_url": "https://example.com/a.png"});

    let edited = owner.client.patch(&path, change).await.expect(200);

    assert_eq!((&edited["name"], &edited["title"]), (&json!("Augusta"), &json!("Engineer")));
    assert_eq!(edited["phone"], "+44 20 1", "what is not said here is as the account says");
    assert_eq!(owner.client.get(&path).await.expect(200), edited);
    let here = ada.client.get("/members/me").await.expect(200);
    assert_eq!((&here["display_name"], &here["avatar_url"]), (&json!("Augusta"), &edited["avatar_url"]));
    let account = ada.client.get("/auth/me").await.expect(200);
    assert_eq!((&account["name"], &account["title"]), (&json!("Ada Lovelace"), &json!("Countess")));
    assert_eq!(account["avatar_url"], Value::Null);
    assert_eq!(member(&ada, &own).await["title"], "Countess");
    let named = member(&ada, owner.workspace()).await;
    assert_eq!((&named["name"], &named["role"]), (&json!("Augusta"), &json!("member")), "as others see it");
    let left = owner.client.patch(&path, json!({"title": null, "name": null})).await.expect(200);
    assert_eq!((&left["title"], &left["name"]), (&json!("Countess"), &json!("Ada Lovelace")));
    assert_eq!(member(&ada, owner.workspace()).await["name"], "Ada Lovelace");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_managed_by_the_workspace_that_it_was_made_for_until_its_person_joins_another() {
    let app = TestApp::start().await;
    let (owner, other) = (Person::new(&app).await, Person::new(&app).await);
    let ada = Person::employee(&app, &owner, "member").await;
    let path = format!("/auth/{}", ada.id);
    owner.client.patch(&path, json!({"title": "Engineer"})).await.expect(200);
    assert_eq!(ada.client.get("/auth/me").await.expect(200)["title"], "Engineer");

    app.verify(&json!(ada.email)).await;
    crate::people::join(&other.client, &ada.client, &json!(ada.email), "viewer").await;

    owner.client.patch(&path, json!({"title": "Clerk"})).await.expect(200);
    assert_eq!(ada.client.get("/auth/me").await.expect(200)["title"], "Engineer");
    let moved = json!({"email": "eve@example.com"});
    assert_eq!(owner.client.patch(&path, moved).await.error(403), "forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_has_a_name() {
    let app = TestApp::start().await;
    let owner = Person::new(&app).await;
    let ada = Person::employee(&app, &owner, "member").await;
    for reply in [
        ada.client.patch("/auth/me", json!({"name": null})).await,
        ada.client.patch(&format!("/auth/{}", ada.id), json!({"name": null})).await,
        owner.client.patch(&format!("/auth/{}", ada.id), json!({"name": null})).await,
    ] {
        assert!(reply.expect(422)["fields"]["name"].is_array());
    }
    assert_eq!(ada.client.get("/auth/me").await.expect(200)["name"], "Ada Lovelace");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_waits_is_shown_to_its_person_and_to_the_workspace_that_manages_the_account() {
    let app = TestApp::start().await;
    let owner = Person::new(&app).await;
    let ada = Person::new(&app).await.join(&owner, "member").await;
    let bob = Person::employee(&app, &owner, "member").await;
    for (person, new, is_shown) in [(&ada, "a@example.com", false), (&bob, "b@example.com", true)] {
        let change = json!({"email": new, "current_password": PASSWORD});
        let own = person.client.patch("/auth/me", change).await.expect(200);
        assert_eq!(own["pending_email"], new);
        let path = format!("/auth/{}", person.id);
        assert_eq!(person.client.get(&path).await.expect(200)["pending_email"], new);
        let shown = if is_shown { json!(new) } else { Value::Null };
        assert_eq!(owner.client.get(&path).await.expect(200)["pending_email"], shown);
        let edited = owner.client.patch(&path, json!({"title": "Engineer"})).await.expect(200);
        assert_eq!(edited["pending_email"], shown);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_of_someone_who_belongs_elsewhere_too_is_their_own_business() {
    let app = TestApp::start().await;
    let owner = Person::new(&app).await;
    let ada = Person::new(&app).await.join(&owner, "member").await;
    let path = format!("/auth/{}", ada.id);
    let moved = json!({"email": "eve@example.com"});
    assert_eq!(owner.client.patch(&path, moved.clone()).await.error(403), "forbidden");
    owner.client.patch(&path, json!({"title": "Engineer", "email": ada.email})).await.expect(200);

    let staff = Person::employee(&app, &owner, "member").await;
    sqlx::query("update control.users set is_staff = true where id = $1")
        .bind(staff.id)
        .execute(&app.database.pool)
        .await
        .unwrap();
    assert_eq!(owner.client.patch(&format!("/auth/{}", staff.id), moved).await.error(403), "forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_given_up_to_ones_own_and_a_workspace_keeps_an_owner() {
    let app = TestApp::start().await;
    let owner = Person::new(&app).await;
    let admin = Person::employee(&app, &owner, "admin").await;
    let member = Person::employee(&app, &owner, "member").await;
    let path = |person: &Person| format!("/auth/{}", person.id);
    let role_of = async |person: &Person| {
        let me = person.client.get("/auth/me").await.expect(200);
        let workspaces = me["workspaces"].as_array().unwrap().clone();
        workspaces.into_iter().find(|it| it["id"] == owner.workspace()).unwrap()["role"].clone()
    };

    assert_eq!(admin.client.patch(&path(&member), json!({"role": "owner"})).await.error(403), "forbidden");
    assert_eq!(
        admin.client.patch(&path(&member), json!({"role": "king"})).await.error(422),
        "record_invalid"
    );
    admin.client.patch(&path(&member), json!({"role": "admin"})).await.expect(200);
    assert_eq!(role_of(&member).await, "admin");
    assert_eq!(owner.client.patch(&path(&owner), json!({"role": "admin"})).await.error(409), "last_owner");
    owner.client.patch(&path(&member), json!({"role": "owner"})).await.expect(200);

    // Two owners who demote each other at once: one of them stays.
    let viewer = json!({"role": "viewer"});
    let (of_member, of_owner) = (path(&member), path(&owner));
    let (one, other) = tokio::join!(
        owner.client.patch(&of_member, viewer.clone()),
        member.client.patch(&of_owner, viewer.clone()),
    );
    let owners = format!(
        "select count(*) from control.memberships where role = 'owner' and workspace_id = '{}'",
        owner.workspace()
    );
    assert_eq!(app.count(&owners).await, 1, "{one:?} {other:?}");
    for table in ["shard.audit_log where action", "shard.events where type"] {
        let changed = format!("select count(*) from {table} = 'member.updated' and data ? 'role'");
        assert_eq!(app.count(&changed).await, 3, "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_owner_who_gets_in_stays_one_by_whatever_two_routes_at_once() {
    let app = TestApp::start().await;
    let owner = Person::new(&app).await;
    let other = Person::new(&app).await.join(&owner, "owner").await;
    let here = format!("workspace_id = '{}'", owner.workspace());
    let member = async |person: &Person| {
        let me = person.client.get("/members/me").await.expect(200);
        format!("/members/{}", me["id"].as_str().unwrap())
    };
    let (of_owner, of_other) = (member(&owner).await, member(&other).await);
    let admin = json!({"role": "admin"});
    for _ in 0..5 {
        let by_profile = format!("/auth/{}", other.id);
        let (one, two) = tokio::join!(
            owner.client.patch(&by_profile, admin.clone()),
            other.client.patch(&of_owner, admin.clone()),
        );
        let owners = format!("select count(*) from live_memberships where role = 'owner' and {here}");
        assert_eq!(app.count(&owners).await, 1, "{} {}", one.text, two.text);
        app.run(&format!("update memberships set role = 'owner' where {here}")).await;
    }
    // Who is switched off is no owner who answers for the workspace.
    owner.client.patch(&of_other, json!({"is_active": false})).await.expect(200);
    let own = format!("/auth/{}", owner.id);
    assert_eq!(owner.client.patch(&own, admin.clone()).await.error(409), "last_owner");
    assert_eq!(owner.client.patch(&of_owner, admin).await.error(409), "last_owner");
    let gone =
        sqlx::query("update control.memberships set role = 'viewer' where role = 'owner' and is_active");
    let refused = gone.execute(&app.database.pool).await.unwrap_err();
    assert!(refused.to_string().contains("needs an active owner"), "the database refuses it, too: {refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_more_workspaces_than_one_in_common_a_role_is_of_the_one_that_is_named() {
    let app = TestApp::start().await;
    let (owner, other) = (Person::new(&app).await, Person::new(&app).await);
    let ada = Person::new(&app).await.join(&owner, "member").await.join(&other, "member").await;
    let both = owner.client.clone();
    crate::people::join(&other.client, &both, &json!(owner.email), "admin").await;
    let path = format!("/auth/{}", ada.id);
    let viewer = json!({"role": "viewer"});
    let missing = both.in_workspace(None).patch(&path, viewer.clone()).await.expect(422);
    assert_eq!(missing["detail"], "required and missing: X-Workspace-Id");
    both.in_workspace(Some(other.workspace())).patch(&path, viewer).await.expect(200);
    let there = format!(
        "select count(*) from control.memberships where user_id = '{}' and workspace_id = '{}' and role = 'viewer'",
        ada.id,
        other.workspace()
    );
    assert_eq!(app.count(&there).await, 1);
}
