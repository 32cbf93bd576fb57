//! Staff who act as a user, and what operators do with accounts.

use futures::future::join_all;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{PASSWORD, Person, audited, sign_in};
use crate::{Client, Reply, TestApp, mailbox::mails_to};

async fn staff(app: &TestApp) -> Person {
    let person = Person::new(app).await;
    let path = format!("/users/{}", person.id);
    assert_eq!(app.operator().patch(&path, json!({"is_staff": true})).await.expect(200)["is_staff"], true);
    person
}

async fn token(app: &TestApp, user: Uuid, staff: &str) -> Reply {
    app.operator().post(&format!("/users/{user}/impersonation"), json!({ "staff": staff })).await
}

async fn exchange(app: &TestApp, token: &Value) -> Reply {
    app.anonymous().post("/auth/impersonation/exchange", json!({ "token": token })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_staff_acts_as_somebody_by_a_token_that_is_good_once() {
    let app = TestApp::start().await;
    let (ada, staff) = (Person::new(&app).await, staff(&app).await);
    let made = token(&app, ada.id, &staff.email).await.expect(201);
    let tries = join_all((0..10).map(|_| exchange(&app, &made["token"]))).await;
    assert_eq!(tries.iter().filter(|reply| reply.status == 200).count(), 1);
    assert_eq!(tries.iter().filter(|reply| reply.status == 401).count(), 9);

    let answer = tries.into_iter().find(|reply| reply.status == 200).unwrap().json();
    assert_eq!(answer["user"]["email"], json!(ada.email));
    assert_eq!((&answer["refresh_token"], &answer["expires_in"]), (&Value::Null, &json!(3600)));
    let acting = ada.client.clone().signed_in(&answer);
    acting.get("/recordsets").await.expect(200);
    let impersonator = format!(
        "select count(*) from control.sessions where impersonator_id = '{}' and user_id = '{}'",
        staff.id, ada.id
    );
    assert_eq!(app.count(&impersonator).await, 1);
    let sessions = ada.client.get("/auth/sessions").await.expect(200);
    assert_eq!(
        sessions["items"].as_array().unwrap().iter().filter(|it| it["impersonated"] == true).count(),
        1
    );
    // The impersonator doesn't become the user.
    let change = json!({"current_password": PASSWORD, "new_password": "a stitch in time"});
    assert_eq!(acting.post("/auth/me/password", change).await.error(403), "forbidden");
    let moved = json!({"email": "eve@example.com", "current_password": PASSWORD});
    assert_eq!(acting.patch("/auth/me", moved).await.error(403), "forbidden");
    acting.delete("/auth/sessions").await.error(403);
    assert_eq!(acting.post("/auth/tokens", json!({"name": "x"})).await.error(403), "forbidden");
    assert_eq!(acting.post("/workspaces", json!({"name": "x"})).await.error(403), "forbidden");
    // Nor does who has access change, though the person owns the workspace.
    let key = json!({"name": "x", "scopes": ["read"]});
    assert_eq!(acting.post("/api-keys", key).await.error(403), "forbidden");
    let added = json!({"email": staff.email, "role": "owner"});
    assert_eq!(acting.post("/members", added).await.error(403), "forbidden");
    let invite = format!("/workspaces/{}/invitations", ada.workspace());
    assert_eq!(acting.post(&invite, json!({"email": staff.email})).await.error(403), "forbidden");
    // The user is notified.
    let mails = mails_to(&app, &ada.email, 1).await;
    assert!(
        mails.iter().any(|mail| mail.contains("the support staff of this installation signed in as you")),
        "{mails:?}"
    );
    assert!(audited(&app, Some(ada.id)).await.contains(&"impersonation.allowed".to_owned()));
}

/// A session in which a member of staff acts as a user.
async fn acting_as(app: &TestApp, person: &Person, staff: &Person) -> Client {
    let made = token(app, person.id, &staff.email).await.expect(201);
    let answer = exchange(app, &made["token"]).await.expect(200);
    person.client.with_token(answer["access_token"].as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn acting_as_somebody_ends_after_an_hour_and_with_the_standing_of_the_member_of_staff() {
    let app = TestApp::start().await;
    let (ada, staff) = (Person::new(&app).await, staff(&app).await);
    for (end, again) in [
        (
            "update users set is_staff = false where id = $id",
            "update users set is_staff = true where id = $id",
        ),
        (
            "update users set is_active = false where id = $id",
            "update users set is_active = true where id = $id",
        ),
        (
            "update sessions set created_at = now() - interval '1 h' where impersonator_id = $id",
            "update users set is_active = true where id = $id",
        ),
    ] {
        let acting = acting_as(&app, &ada, &staff).await;
        acting.get("/recordsets").await.expect(200);
        let id = format!("'{}'", staff.id);
        app.run(&end.replace("$id", &id)).await;
        for path in ["/recordsets", "/auth/me", "/v1/usage", "/v1/me"] {
            assert_eq!(acting.get(path).await.error(401), "token_invalid", "{end}: {path}");
        }
        ada.client.get("/recordsets").await.expect(200);
        app.run(&again.replace("$id", &id)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_staff_act_as_others_and_only_as_people_who_are_there() {
    let app = TestApp::start().await;
    let (ada, eve, staff) = (Person::new(&app).await, Person::new(&app).await, staff(&app).await);
    for nobody in [eve.email.as_str(), &eve.id.to_string(), "unknown@example.com"] {
        let refused = token(&app, ada.id, nobody).await.expect(422);
        assert_eq!(refused["fields"], json!({"staff": ["must be an active staff account"]}));
    }
    assert_eq!(token(&app, Uuid::now_v7(), &staff.email).await.error(404), "record_not_found");
    let path = format!("/ops/users/{}/impersonation", ada.id);
    let as_owner = ada.client.post(&path, json!({"staff": staff.email})).await;
    assert_eq!(as_owner.error(401), "token_invalid");

    let made = token(&app, ada.id, &staff.id.to_string()).await.expect(201);
    app.operator().patch(&format!("/users/{}", staff.id), json!({"is_staff": false})).await.expect(200);
    assert_eq!(exchange(&app, &made["token"]).await.error(401), "token_invalid");
    for nonsense in [json!("nonsense"), json!(ada.client.token)] {
        assert_eq!(exchange(&app, &nonsense).await.error(401), "token_invalid");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_finds_an_account_and_deactivates_it() {
    let app = TestApp::start().await;
    let ada = Person::new(&app).await;
    let find = async |email: &str| app.operator().get(&format!("/users?email={email}")).await.expect(200);
    assert_eq!(find("unknown@example.com").await, json!({"items": []}));
    assert_eq!(find(&ada.email.to_uppercase()).await["items"][0]["id"], json!(ada.id));

    let path = format!("/users/{}", ada.id);
    let changed = app.operator().patch(&path, json!({"is_active": false})).await.expect(200);
    assert_eq!((&changed["is_active"], &changed["is_staff"]), (&json!(false), &json!(false)));
    assert_eq!(ada.client.get("/auth/me").await.error(401), "token_invalid");
    assert_eq!(sign_in(&app, &ada.email, PASSWORD).await.error(401), "credentials_invalid");
    app.operator().patch(&path, json!({"is_active": true})).await.expect(200);
    // Back in, but not by what was open before.
    assert_eq!(ada.client.get("/auth/me").await.error(401), "token_invalid");
    sign_in(&app, &ada.email, PASSWORD).await.expect(200);
    let nobody = format!("/users/{}", Uuid::now_v7());
    assert_eq!(app.operator().patch(&nobody, json!({})).await.error(404), "record_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_from_staff_does_not_bring_their_sessions_back_when_it_is_given_again() {
    let app = TestApp::start().await;
    for property in ["is_staff", "is_active"] {
        let (ada, staff) = (Person::new(&app).await, staff(&app).await);
        let made = token(&app, ada.id, &staff.email).await.expect(201);
        let answer = exchange(&app, &made["token"]).await.expect(200);
        let acting = ada.client.clone().signed_in(&answer);
        acting.get("/recordsets").await.expect(200);
        for value in [false, true] {
            let change = json!({ (property): value });
            app.operator().patch(&format!("/users/{}", staff.id), change).await.expect(200);
            assert_eq!(acting.get("/recordsets").await.error(401), "token_invalid", "{property} {value}");
        }
        ada.client.get("/recordsets").await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_gets_a_token_that_is_good_each_time_whatever_idempotency_key_is_sent() {
    let app = TestApp::start().await;
    let (ada, staff) = (Person::new(&app).await, staff(&app).await);
    let (path, asked) = (format!("/users/{}/impersonation", ada.id), json!({ "staff": staff.email }));
    // Of two operators, who share the token that they show.
    for _ in 0..2 {
        let made = app.operator().post_with_key(&path, asked.clone(), "ticket 4711").await;
        assert!(made.headers.get("Idempotency-Replayed").is_none(), "{}", made.text);
        exchange(&app, &made.expect(201)["token"]).await.expect(200);
    }
}
