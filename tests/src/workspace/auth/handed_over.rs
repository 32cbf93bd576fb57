//! Links to choose a new password by that an admin hands over: no better than what their maker may do now.

use serde_json::json;

use super::{PASSWORD, Person, sign_in};
use crate::{TestApp, workspace::workspaces::post_and_wait};

const NEW: &str = "a stitch in time saves nine";

/// What has happened since the link was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Since {
    Nothing,
    TargetMadeAWorkspace,
    TargetJoinedAnother,
    TargetBecameOwner,
    TargetBecameStaff,
    MakerWasRemoved,
    MakerWasDemoted,
    // The last one: it holds for all who are admins.
    AdminsMayNotAnyMore,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_link_that_was_handed_over_is_good_while_its_maker_could_make_it() {
    let app = TestApp::start().await;
    let owner = Person::new(&app).await;
    for since in [
        Since::Nothing,
        Since::TargetMadeAWorkspace,
        Since::TargetJoinedAnother,
        Since::TargetBecameOwner,
        Since::TargetBecameStaff,
        Since::MakerWasRemoved,
        Since::MakerWasDemoted,
        Since::AdminsMayNotAnyMore,
    ] {
        let admin = Person::new(&app).await.join(&owner, "admin").await;
        let target = Person::employee(&app, &owner, "member").await;
        let members = format!("/workspaces/{}/members", owner.workspace());
        let path = format!("{members}/{}/password-reset/link", target.id);
        let link = admin.client.post(&path, json!({})).await.expect(200);
        let token = link["reset_url"].as_str().unwrap().split("token=").nth(1).unwrap().to_owned();
        match since {
            Since::Nothing => {}
            Since::TargetMadeAWorkspace => {
                let own = target.client.clone().in_workspace(None);
                post_and_wait(&own, "/workspaces", json!({"name": "My own"})).await.expect(201);
            }
            Since::TargetJoinedAnother => {
                target.clone().join(&Person::new(&app).await, "member").await;
            }
            Since::TargetBecameOwner => {
                let path = format!("/auth/{}", target.id);
                owner.client.patch(&path, json!({"role": "owner"})).await.expect(200);
            }
            Since::TargetBecameStaff => {
                sqlx::query("update control.users set is_staff = true where id = $1")
                    .bind(target.id)
                    .execute(&app.database.pool)
                    .await
                    .unwrap();
            }
            Since::MakerWasRemoved => {
                let maker = admin.client.get("/members/me").await.expect(200);
                let path = format!("{members}/{}", maker["id"].as_str().unwrap());
                owner.client.delete(&path).await.expect(200);
            }
            Since::MakerWasDemoted => {
                let path = format!("/auth/{}", admin.id);
                owner.client.patch(&path, json!({"role": "viewer"})).await.expect(200);
            }
            Since::AdminsMayNotAnyMore => {
                let change = json!({"permission": "members:reset_password", "granted": false});
                owner.client.put("/permissions/roles/admin/permission", change).await.expect(200);
            }
        }
        let choose = |password: &str| {
            let body = json!({"token": token, "password": password});
            async { app.anonymous().post("/auth/reset-password", body).await }
        };
        if since == Since::Nothing {
            assert_eq!(choose("short").await.error(422), "record_invalid");
            choose(NEW).await.expect(200);
            sign_in(&app, &target.email, NEW).await.expect(200);
        } else {
            // Nor does the answer show what is wrong with a password.
            for password in ["short", NEW] {
                assert_eq!(choose(password).await.error(401), "token_invalid", "{since:?}");
            }
            sign_in(&app, &target.email, PASSWORD).await.expect(200);
        }
    }
}
