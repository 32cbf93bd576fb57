//! Inviting: by mail and by link, again, and not after all; who may, and whom.

use serde_json::{Value, json};

use super::{
    accept, entry, invite, look_at, mailed_token, mails_to, newcomer, own, stranger, tokens, unregistered,
};
use crate::{Client, TestApp, masked};

#[tokio::test(flavor = "multi_thread")]
async fn somebody_who_is_invited_by_mail_joins_by_the_link_in_it() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let (bob, email) = stranger(&app).await;

    let invitation = invite(&ada, &email, "viewer").await;
    insta::assert_json_snapshot!(masked(&invitation), @r#"
    {
      "created_at": "[time]",
      "email": "[email]",
      "expires_at": "[time]",
      "id": "[id]",
      "invited_by": "[id]",
      "profile": {
        "bio": null,
        "display_name": null,
        "phone": null,
        "title": null
      },
      "role": "viewer",
      "sent_at": "[time]",
      "status": "pending",
      "workspace_id": "[id]"
    }
    "#);
    let token = mailed_token(&app, &email, 1).await;
    insta::assert_json_snapshot!(masked(&look_at(&app, &token).await.expect(200)), @r#"
    {
      "creates_account": false,
      "email": "[email]",
      "expires_at": "[time]",
      "inviter_name": "Ada Lovelace",
      "requires_password": false,
      "requires_sign_in": false,
      "role": "viewer",
      "workspace_id": "[id]",
      "workspace_name": "Analytical Engines"
    }
    "#);
    assert_eq!(bob.get(&own(&ada)).await.error(404), "record_not_found");

    let accepted = accept(&app, &token).await.expect(200);
    insta::assert_json_snapshot!(masked(&accepted), @r#"
    {
      "email": "[email]",
      "member_id": "[id]",
      "role": "viewer",
      "user_id": "[id]",
      "workspace_id": "[id]",
      "workspace_name": "Analytical Engines"
    }
    "#);
    assert_eq!(accepted["member_id"], invitation["id"]);
    assert_eq!(bob.get(&own(&ada)).await.expect(200)["role"], "viewer");
    let here = bob.in_workspace(ada.workspace.as_deref());
    let me =
        here.get(&format!("/auth/me?workspace_id={}", ada.workspace.as_ref().unwrap())).await.expect(200);
    assert_eq!(me["member"]["id"], invitation["id"]);
    assert_eq!(entry(&ada, &accepted["user_id"]).await["status"], "active");

    for action in ["invitation.created", "member.created"] {
        let told = format!(
            "select count(*) from shard.audit_log where action = '{action}' and resource_id = '{}'",
            invitation["id"].as_str().unwrap()
        );
        assert_eq!(app.count(&told).await, 1, "{action}");
    }
    let kept = format!("select count(*) from shard.audit_log a where position('{token}' in a::text) > 0");
    assert_eq!(app.count(&kept).await, 0, "the audit holds a token");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_invites_is_in_the_workspaces_name_and_its_job_keeps_no_token() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let branding = json!({ "branding": { "brand_name": "Difference Works" } });
    ada.patch(&own(&ada), branding).await.expect(200);
    let email = newcomer(&app).await;
    invite(&ada, &email, "member").await;
    let token = mailed_token(&app, &email, 1).await;
    let mail = &mails_to(&app, &email)[0];
    assert!(mail.contains("Ada Lovelace invites you to join") && mail.contains("Difference Works"), "{mail}");
    for table in ["shard.all_jobs", "control.invitations", "shard.events"] {
        let kept = format!("select count(*) from {table} t where position('{token}' in t::text) > 0");
        assert_eq!(app.count(&kept).await, 0, "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_invited_unless_it_is_a_members() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let path = format!("{}/invitations", own(&ada));
    let refused = ada.post(&path, json!({ "email": "no address" })).await.expect(422);
    assert!(refused["fields"]["email"].is_array(), "{refused}");
    assert_eq!(ada.post(&path, json!({})).await.error(422), "parameter_missing");
    let (_, email) = stranger(&app).await;
    let unheard = ada.post(&path, json!({ "email": email, "role": "emperor" })).await;
    assert_eq!(unheard.error(422), "record_invalid");
    let invitation = invite(&ada, &email, "member").await;
    accept(&app, &mailed_token(&app, &email, 1).await).await.expect(200);
    assert_eq!(ada.post(&path, json!({ "email": email })).await.error(409), "already_member");
    let link = json!({ "email": email });
    assert_eq!(ada.post(&format!("{path}/link"), link).await.error(409), "already_member");
    let again = json!({ "member_id": invitation["id"] });
    assert_eq!(ada.post(&format!("{path}/resend"), again).await.error(404), "record_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_invites_again_renews_the_invitation_and_the_token_before_is_worthless() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let (bob, email) = stranger(&app).await;
    let first = invite(&ada, &email, "admin").await;
    let mut tokens = vec![mailed_token(&app, &email, 1).await];

    let path = format!("{}/invitations", own(&ada));
    let second = ada.post(&path, json!({ "email": email })).await.expect(201);
    assert_eq!((&second["id"], &second["role"]), (&first["id"], &json!("admin")), "as before");
    tokens.push(mailed_token(&app, &email, 2).await);
    let by_address = json!({ "email": email });
    ada.post(&format!("{path}/resend"), by_address).await.expect(200);
    tokens.push(mailed_token(&app, &email, 3).await);
    let link = json!({ "member_id": first["id"], "role": "viewer" });
    let link = ada.post(&format!("{path}/link"), link).await.expect(200);
    assert_eq!(link["invitation"]["id"], first["id"]);

    for voided in &tokens {
        assert_eq!(look_at(&app, voided).await.error(404), "record_not_found");
        assert_eq!(accept(&app, voided).await.error(404), "record_not_found");
    }
    let token = link["token"].as_str().unwrap();
    assert!(link["invite_url"].as_str().unwrap().ends_with(token));
    let accepted = bob.post("/workspaces/invitations/accept", json!({ "token": token })).await.expect(200);
    assert_eq!(accepted["role"], "viewer");
    assert_eq!(super::tokens(&app, &email).len(), 3, "a link mails nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn staff_who_act_as_a_person_accept_no_invitation_for_them() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let (bob, email) = stranger(&app).await;
    let invitation = invite(&ada, &email, "admin").await;
    let token = mailed_token(&app, &email, 1).await;
    let (acting, _) = app.acting_as(&bob).await;

    let by_id = json!({ "invitation_id": invitation["id"] });
    for body in [json!({ "token": token }), by_id] {
        let refused = acting.post("/workspaces/invitations/accept", body.clone()).await;
        assert_eq!(refused.error(403), "forbidden", "{body}");
    }
    bob.post("/workspaces/invitations/accept", json!({ "token": token })).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_invitation_is_gone_until_it_is_sent_again() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let (_, email) = stranger(&app).await;
    let invitation = invite(&ada, &email, "member").await;
    let token = mailed_token(&app, &email, 1).await;
    sqlx::query("update control.invitations set expires_at = now() - interval '1 second'")
        .execute(&app.database.pool)
        .await
        .unwrap();
    assert_eq!(look_at(&app, &token).await.error(410), "gone");
    assert_eq!(accept(&app, &token).await.error(410), "gone");

    let path = format!("{}/invitations/resend", own(&ada));
    let sent = ada.post(&path, json!({ "member_id": invitation["id"] })).await.expect(200);
    assert_eq!((&sent["id"], &sent["status"]), (&invitation["id"], &json!("pending")));
    accept(&app, &mailed_token(&app, &email, 2).await).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_is_withdrawn_by_its_id_or_by_workspace_and_address() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let cancel = "/workspaces/invitations/cancel";
    for by in ["id", "email"] {
        let (_, email) = stranger(&app).await;
        let invitation = invite(&ada, &email, "member").await;
        let token = mailed_token(&app, &email, 1).await;
        let body = match by {
            "id" => json!({ "invitation_id": invitation["id"] }),
            other => json!({ "workspace_id": ada.workspace, other: invitation[other] }),
        };
        let withdrawn = ada.post(cancel, body.clone()).await.expect(200);
        assert_eq!((&withdrawn["id"], &withdrawn["status"]), (&invitation["id"], &json!("cancelled")));
        assert_eq!(look_at(&app, &token).await.error(410), "gone", "{by}");
        assert_eq!(accept(&app, &token).await.error(410), "gone", "{by}");
        assert_eq!(ada.post(cancel, body).await.error(404), "record_not_found", "{by}");
        // A renewed invitation is accepted.
        assert_ne!(invite(&ada, &email, "member").await["id"], invitation["id"]);
        accept(&app, &mailed_token(&app, &email, 2).await).await.expect(200);
    }
    for nothing in [json!({}), json!({ "workspace_id": ada.workspace }), json!({ "email": "x@example.com" })]
    {
        assert_eq!(ada.post(cancel, nothing).await.error(422), "parameter_missing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_and_others_neither_invite_nor_withdraw() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let (member, eve) = (app.join(&ada, "member").await, app.owner().await);
    let (_, email) = stranger(&app).await;
    let invitation = invite(&ada, &email, "viewer").await;
    let path = format!("{}/invitations", own(&ada));
    let by_id = json!({ "member_id": invitation["id"] });
    let tries: [(&str, Value); 3] =
        [("", json!({ "email": email })), ("/link", by_id.clone()), ("/resend", by_id)];
    for (rest, body) in tries {
        let path = format!("{path}{rest}");
        assert_eq!(member.post(&path, body.clone()).await.error(403), "forbidden", "{rest}");
        assert_eq!(eve.post(&path, body).await.error(404), "record_not_found", "{rest}");
    }
    let cancel = json!({ "invitation_id": invitation["id"] });
    for other in [&member, &eve] {
        let refused = other.post("/workspaces/invitations/cancel", cancel.clone()).await;
        assert_eq!(refused.error(404), "record_not_found");
    }
    // In a workspace of one's own another's invitation isn't there either.
    let elsewhere = format!("{}/invitations/resend", own(&eve));
    let by_id = json!({ "member_id": invitation["id"] });
    assert_eq!(eve.post(&elsewhere, by_id).await.error(404), "record_not_found");
    look_at(&app, &mailed_token(&app, &email, 1).await).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_offers_more_than_their_own_role_or_touches_an_invitation_to_more() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let admin = app.join(&ada, "admin").await;
    let (_, email) = stranger(&app).await;
    let path = format!("{}/invitations", own(&ada));
    let as_owner = json!({ "email": email, "role": "owner" });
    assert_eq!(admin.post(&path, as_owner.clone()).await.error(403), "forbidden");
    assert_eq!(admin.post(&format!("{path}/link"), as_owner.clone()).await.error(403), "forbidden");

    let invitation = ada.post(&path, as_owner).await.expect(201);
    let mut by_id = json!({ "member_id": invitation["id"] });
    assert_eq!(admin.post(&format!("{path}/resend"), by_id.clone()).await.error(403), "forbidden");
    by_id["role"] = json!("member");
    assert_eq!(admin.post(&format!("{path}/link"), by_id).await.error(403), "forbidden");
    let cancel = json!({ "invitation_id": invitation["id"] });
    assert_eq!(admin.post("/workspaces/invitations/cancel", cancel).await.error(403), "forbidden");
    let remove = format!("{}/members/{}", own(&ada), invitation["id"].as_str().unwrap());
    assert_eq!(admin.delete(&remove).await.error(403), "forbidden");
    assert_eq!(accept(&app, &mailed_token(&app, &email, 1).await).await.expect(200)["role"], "owner");
    let of_admin = json!({ "email": stranger(&app).await.1, "role": "admin" });
    admin.post(&format!("{path}/link"), of_admin).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_was_handed_over_lets_in_who_signs_in_with_the_address_and_nobody_else() {
    let app = TestApp::start().await;
    let (ada, eve) = (app.owner().await, app.owner().await);
    let path = format!("{}/invitations/link", own(&ada));
    let (bob, email) = stranger(&app).await;
    let link = ada.post(&path, json!({ "email": email })).await.expect(200);
    let token = link["token"].as_str().unwrap();

    // The maker of a link could otherwise accept in the other's place, or learn whether there is an account.
    assert_eq!(accept(&app, token).await.error(401), "token_invalid");
    for email in [email.as_str(), &newcomer(&app).await, &unregistered()] {
        let link = ada.post(&path, json!({ "email": email })).await.expect(200);
        let shown = look_at(&app, link["token"].as_str().unwrap()).await.expect(200);
        let takes = [&shown["requires_sign_in"], &shown["requires_password"], &shown["creates_account"]];
        assert_eq!(takes, [true, false, false], "{email}");
    }
    let link = ada.post(&path, json!({ "email": email })).await.expect(200);
    let body = json!({ "token": link["token"] });
    let accept_as = async |who: &Client| who.post("/workspaces/invitations/accept", body.clone()).await;
    assert_eq!(accept_as(&ada).await.error(403), "forbidden");
    assert_eq!(accept_as(&eve).await.error(403), "forbidden");
    sqlx::query("update control.users set email_verified_at = null where email = $1")
        .bind(&email)
        .execute(&app.database.pool)
        .await
        .unwrap();
    assert_eq!(
        accept_as(&bob).await.error(403),
        "forbidden",
        "an address that is not verified shows nothing"
    );
    app.verify(&json!(email)).await;
    accept_as(&bob).await.expect(200);
    bob.get(&own(&ada)).await.expect(200);
    assert!(tokens(&app, &email).is_empty(), "a link mails nothing");
    assert_eq!(ada.post(&path, json!({})).await.error(422), "parameter_missing");
}
