//! Members: who they are, and how lists find them.

mod changes;
mod events;
mod holdings;
mod leaving;
mod picture;
mod tours;

use serde_json::{Value, json};

use crate::{Client, TestApp, app::new_signup, masked};

/// Who a person is in the workspace that they work in.
pub(crate) async fn member_of(person: &Client) -> Value {
    person.get("/members/me").await.expect(200)
}

/// Their path in the section.
pub(crate) async fn path_of(person: &Client) -> String {
    format!("/members/{}", member_of(person).await["id"].as_str().unwrap())
}

/// The address of a user who has signed up elsewhere.
pub(super) async fn stranger(app: &TestApp) -> (Client, String) {
    let signup = new_signup();
    let signed_up = app.anonymous().post("/auth/signup", signup.clone()).await.expect(201);
    app.verify(&signup["email"]).await;
    (app.anonymous().signed_in(&signed_up), signup["email"].as_str().unwrap().to_owned())
}

fn emails(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|member| member["email"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_added_is_invited_and_begins_with_what_was_given_once_they_accept() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let (bob, email) = stranger(&app).await;
    let new =
        json!({ "email": email.to_uppercase(), "role": "viewer", "display_name": "Bob", "title": "Clerk" });

    let invitation = ada.post("/members", new).await.expect(201);

    insta::assert_json_snapshot!(masked(&invitation), { ".email" => "[email]" }, @r#"
    {
      "created_at": "[time]",
      "email": "[email]",
      "expires_at": "[time]",
      "id": "[id]",
      "invited_by": "[id]",
      "profile": {
        "bio": null,
        "display_name": "Bob",
        "phone": null,
        "title": "Clerk"
      },
      "role": "viewer",
      "sent_at": "[time]",
      "status": "pending",
      "workspace_id": "[id]"
    }
    "#);
    assert_eq!(ada.get("/members").await.expect(200)["total"], 1);
    let waiting = bob.items("/workspaces/invitations").await;
    assert_eq!((&waiting[0]["id"], &waiting[0]["role"]), (&invitation["id"], &json!("viewer")));
    let accept = json!({ "invitation_id": waiting[0]["id"] });
    bob.post("/workspaces/invitations/accept", accept).await.expect(200);

    let bob = bob.in_workspace(ada.workspace.as_deref());
    let mut me = member_of(&bob).await;
    let onboarding = me.as_object_mut().unwrap().remove("onboarding").unwrap();
    insta::assert_json_snapshot!(masked(&me), @r#"
    {
      "avatar_url": null,
      "bio": null,
      "created_at": "[time]",
      "display_name": "Bob",
      "email": "[email]",
      "full_name": "Ada Lovelace",
      "id": "[id]",
      "is_active": true,
      "onboarded_at": null,
      "phone": null,
      "role": "viewer",
      "title": "Clerk",
      "updated_at": "[time]",
      "user_id": "[id]"
    }
    "#);
    assert_eq!(onboarding, json!({ "completed": false, "completed_at": null, "tours": {} }));
    let noted = "select count(*) from shard.audit_log where action = 'member.created'
                  and data->>'role' = 'viewer' and credential_type = 'session'";
    assert_eq!(app.count(noted).await, 1);
    assert_eq!(bob.items("/workspaces/invitations").await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_searched_filtered_and_paged_together() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    for name in ["Cora", "Bert", "Alma"] {
        let path = path_of(&app.join(&ada, "member").await).await;
        ada.patch(&path, json!({ "display_name": name, "title": "Clerk" })).await.expect(200);
    }
    let all = ada.get("/members?search=clerk").await.expect(200);
    let names: Vec<_> =
        all["items"].as_array().unwrap().iter().map(|member| &member["display_name"]).collect();
    assert_eq!(names, ["Alma", "Bert", "Cora"]);
    assert_eq!((&all["total"], &all["skip"], &all["limit"]), (&json!(3), &json!(0), &json!(50)));

    let bert = format!("/members/{}", all["items"][1]["id"].as_str().unwrap());
    ada.patch(&bert, json!({ "is_active": false })).await.expect(200);
    let part = ada.get("/members?search=CLERK&is_active=true&skip=1&limit=1").await.expect(200);
    assert_eq!(emails(&part), [all["items"][2]["email"].as_str().unwrap()]);
    assert_eq!(part["total"], 2);
    let out = ada.get("/members?is_active=false").await.expect(200);
    assert_eq!(emails(&out), [all["items"][1]["email"].as_str().unwrap()]);
    let beyond = ada.get("/members?skip=50").await.expect(200);
    assert_eq!((&beyond["items"], &beyond["total"]), (&json!([]), &json!(4)));

    let brief = ada.items("/members/all").await;
    assert_eq!(brief.as_array().unwrap().len(), 3, "those who don't get in can't be given anything to do");
    let mut keys: Vec<_> = brief[0].as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(keys, ["avatar_url", "display_name", "email", "full_name", "id", "role"]);
    assert_eq!(ada.get("/members?search=%00").await.error(422), "record_invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_an_invitation_is_said_and_a_member_is_not_invited() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    assert_eq!(ada.post("/members", json!({})).await.error(422), "parameter_missing");
    let wrong = ada.post("/members", json!({ "email": "a@example.com", "role": "king" })).await.expect(422);
    assert!(wrong["fields"]["role"].is_array(), "{wrong}");
    let wrong = ada.post("/members", json!({ "email": "no address" })).await.expect(422);
    assert!(wrong["fields"]["email"].is_array(), "{wrong}");

    let bob = member_of(&app.join(&ada, "viewer").await).await;
    assert_eq!(ada.post("/members", json!({ "email": bob["email"] })).await.error(409), "already_member");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_invite_the_same_person_at_once_all_speak_of_one_invitation() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let (_, email) = stranger(&app).await;
    let add = || ada.post("/members", json!({ "email": email }));

    let (a, b, c) = tokio::join!(add(), add(), add());

    let ids: Vec<_> = [a, b, c].map(|reply| reply.expect(201)["id"].clone()).into();
    assert_eq!(ids, [ids[0].clone(), ids[0].clone(), ids[0].clone()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_members_may_do_with_members_is_their_roles_matter() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let victim = path_of(&app.join(&ada, "viewer").await).await;
    let (_, email) = stranger(&app).await;
    for role in ["viewer", "member"] {
        let person = app.join(&ada, role).await;
        person.get("/members").await.expect(200);
        person.items("/members/all").await;
        person.get(&victim).await.expect(200);
        let refused = [
            person.post("/members", json!({ "email": email })).await,
            person.patch(&victim, json!({ "title": "x" })).await,
            person.delete(&victim).await,
            person.delete(&format!("{victim}/permanent")).await,
            person.get(&format!("{victim}/items")).await,
            person.get(&format!("{victim}/deletion-info")).await,
            person.post(&format!("{victim}/reassign"), json!({ "to_member_id": uuid::Uuid::now_v7() })).await,
        ];
        for reply in refused {
            assert_eq!(reply.error(403), "forbidden", "{role}");
        }
    }
    let admin = app.join(&ada, "admin").await;
    admin.patch(&victim, json!({ "title": "Clerk" })).await.expect(200);
    admin.post("/members", json!({ "email": email, "role": "admin" })).await.expect(201);
    let (_, another) = stranger(&app).await;
    let above = admin.post("/members", json!({ "email": another, "role": "owner" })).await;
    assert_eq!(above.error(403), "forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_another_workspace_does_not_exist() {
    let app = TestApp::start().await;
    let (ada, eve) = (app.owner().await, app.owner().await);
    let path = path_of(&ada).await;
    eve.finds_nothing_at(&path, json!({ "title": "x" })).await;
    for reply in [
        eve.get(&format!("{path}/items")).await,
        eve.get(&format!("{path}/deletion-info")).await,
        eve.post(&format!("{path}/reassign"), json!({ "to_member_id": member_of(&eve).await["id"] })).await,
        eve.delete(&format!("{path}/permanent")).await,
    ] {
        assert_eq!(reply.error(404), "record_not_found");
    }
    assert_eq!(eve.get("/members").await.expect(200)["total"], 1);
    let own = format!("{}/reassign", path_of(&eve).await);
    let outside = eve.post(&own, json!({ "to_member_id": member_of(&ada).await["id"] })).await.expect(422);
    assert!(outside["fields"]["to_member_id"].is_array(), "{outside}");
}
