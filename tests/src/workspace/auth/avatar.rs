//! People's pictures.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat};
use serde_json::{Value, json};

use super::Person;
use crate::{Client, TestApp, client::send};

pub(crate) fn png(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::new_rgb8(width, height).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// A picture as a browser fetches it: by its link alone.
pub(crate) async fn fetch(app: &TestApp, link: &Value) -> (reqwest::header::HeaderMap, DynamicImage) {
    let visitor = app.anonymous();
    let answer = visitor.request(reqwest::Method::GET, link.as_str().unwrap()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let headers = answer.headers().clone();
    let bytes = answer.bytes().await.unwrap();
    (headers, image::load_from_memory_with_format(&bytes, ImageFormat::WebP).unwrap())
}

fn stored(app: &TestApp, folder: &str) -> usize {
    let folder = app.folder.path().join("files").join(folder).join("profile-image");
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

async fn link_of(client: &Client) -> Value {
    client.get("/auth/me").await.expect(200)["avatar_url"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_is_kept_small_and_shown_by_a_link_that_needs_no_headers() {
    let app = TestApp::start().await;
    let ada = Person::new(&app).await;

    let set = ada.client.upload("/auth/me/avatar", "ada.png", png(1024, 512)).await.expect(200);

    let (headers, picture) = fetch(&app, &set["avatar_url"]).await;
    assert_eq!((picture.width(), picture.height()), (512, 256));
    assert_eq!(headers["content-type"], "image/webp");
    assert_eq!(headers["cache-control"], "private, max-age=86400, immutable");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(link_of(&ada.client).await, set["avatar_url"]);
    let me = format!("/auth/me?workspace_id={}", ada.workspace());
    assert_eq!(ada.client.get(&me).await.expect(200)["member"]["avatar_url"], set["avatar_url"]);
    assert_eq!(stored(&app, ada.workspace()), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_picture_takes_the_place_of_the_one_before_and_null_takes_it_away() {
    let app = TestApp::start().await;
    let ada = Person::new(&app).await;
    let nowhere = ada.client.in_workspace(None);
    let first = nowhere.upload("/auth/me/avatar", "1.png", png(10, 10)).await.expect(200);
    let second = nowhere.upload("/auth/me/avatar", "2.png", png(20, 10)).await.expect(200);
    assert_eq!(fetch(&app, &second["avatar_url"]).await.1.width(), 20);
    assert_eq!(
        app.anonymous().get(first["avatar_url"].as_str().unwrap()).await.error(404),
        "record_not_found"
    );
    assert_eq!(stored(&app, &ada.id.to_string()), 1);

    // A form sends back what it was shown.
    let same = json!({"name": "Ada King", "avatar_url": second["avatar_url"]});
    assert_eq!(ada.client.patch("/auth/me", same).await.expect(200)["avatar_url"], second["avatar_url"]);
    assert_eq!(
        ada.client.patch("/auth/me", json!({"avatar_url": null})).await.expect(200)["avatar_url"],
        Value::Null
    );
    assert_eq!(stored(&app, &ada.id.to_string()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_was_tampered_with_shows_nothing() {
    let app = TestApp::start().await;
    let ada = Person::new(&app).await;
    let set = ada.client.upload("/auth/me/avatar", "ada.png", png(10, 10)).await.expect(200);
    let link = set["avatar_url"].as_str().unwrap();
    let (path, query) = link.split_once('?').unwrap();
    let visitor = app.anonymous();
    assert_eq!(visitor.get(path).await.error(422), "parameter_missing");
    assert_eq!(visitor.get(&format!("{link}x")).await.error(403), "forbidden");
    assert_eq!(visitor.get(&link.replace("exp=", "exp=9")).await.error(403), "forbidden");
    let other = path.replace(ada.workspace(), &ada.id.to_string());
    assert_eq!(visitor.get(&format!("{other}?{query}")).await.error(403), "forbidden");
    let outside = format!("/avatars/{}/..%2f..%2fmail?{query}", ada.id);
    assert_eq!(visitor.get(&outside).await.error(404), "record_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_picture_or_too_large_is_refused_and_nothing_is_kept() {
    let app = TestApp::start().await;
    let ada = Person::new(&app).await;
    for (name, bytes, reason) in [
        ("a.svg", b"<svg/>".to_vec(), "must be a PNG, JPEG, WebP or GIF image"),
        ("a.png", png(20, 20)[..50].to_vec(), "is broken"),
        ("a.png", png(8193, 1), "must have at most 8192 by 8192 pixels"),
        ("a.png", Vec::new(), "must be a PNG, JPEG, WebP or GIF image"),
    ] {
        let refused = ada.client.upload("/auth/me/avatar", name, bytes).await.expect(422);
        assert_eq!(refused["fields"], json!({ "file": [reason] }));
    }
    let large = ada.client.upload("/auth/me/avatar", "a.png", vec![0; (5 << 20) + 1]).await;
    assert_eq!(large.error(413), "payload_too_large");
    let json = ada.client.post("/auth/me/avatar", json!({})).await;
    assert_eq!(json.error(415), "unsupported_media_type");
    let form = reqwest::multipart::Form::new().text("note", "no file");
    let request = ada.client.request(reqwest::Method::POST, "/auth/me/avatar").multipart(form);
    assert_eq!(send(request).await.error(422), "parameter_missing");
    assert_eq!(stored(&app, ada.workspace()), 0);
    assert_eq!(link_of(&ada.client).await, Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_picture_is_set_by_an_admin_who_equals_or_outranks_them() {
    let app = TestApp::start().await;
    let (owner, stranger) = (Person::new(&app).await, Person::new(&app).await);
    let admin = Person::new(&app).await.join(&owner, "admin").await;
    let member = Person::new(&app).await.join(&owner, "member").await;
    let path = |person: &Person| format!("/auth/{}/avatar", person.id);
    let set = async |by: &Person, of: &Person| by.client.upload(&path(of), "a.png", png(10, 10)).await;

    let link = set(&admin, &member).await.expect(200);
    let shown = member.client.get("/members/me").await.expect(200);
    assert_eq!(shown["avatar_url"], link["avatar_url"], "in this workspace");
    assert_eq!(link_of(&member.client).await, Value::Null, "and not the account's");
    let employee = Person::employee(&app, &owner, "member").await;
    let link = set(&admin, &employee).await.expect(200);
    assert_eq!(link_of(&employee.client).await, link["avatar_url"], "whose account is managed");
    assert_eq!(set(&admin, &owner).await.error(403), "forbidden");
    assert_eq!(set(&member, &admin).await.error(403), "forbidden");
    assert_eq!(set(&stranger, &member).await.error(404), "record_not_found");
    set(&member, &member).await.expect(200);
    let elsewhere = member.client.in_workspace(Some(stranger.workspace()));
    let refused = elsewhere.upload("/auth/me/avatar", "a.png", png(10, 10)).await;
    assert_eq!(refused.error(404), "record_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_that_are_nobodys_any_more_are_swept() {
    let app = TestApp::start().await;
    let owner = Person::new(&app).await;
    let employee = Person::employee(&app, &owner, "member").await;
    let guest = Person::new(&app).await.join(&owner, "member").await;
    employee.client.upload("/auth/me/avatar", "a.png", png(10, 10)).await.expect(200);
    let path = async |person: &Person| {
        let me = person.client.get("/members/me").await.expect(200);
        format!("/members/{}", me["id"].as_str().unwrap())
    };
    let (employees, guests) = (path(&employee).await, path(&guest).await);
    owner.client.upload(&format!("{guests}/avatar"), "g.png", png(12, 12)).await.expect(200);
    assert_eq!(stored(&app, owner.workspace()), 2);
    owner.client.delete(&format!("{employees}/permanent")).await.expect(204);
    owner.client.delete(&guests).await.expect(204);
    assert_eq!(app.count("select count(*) from control.stray_pictures").await, 2);

    sqlx::query("update control.stray_pictures set since = now() - interval '2 hours'")
        .execute(&app.database.pool)
        .await
        .unwrap();
    let sweep = domain_data::job_kinds::SweepUploads {};
    let job = app.database.enqueue(jobs::NewJob::new(&sweep)).await.unwrap().id();
    app.wait_for_end(job).await;

    assert_eq!(stored(&app, owner.workspace()), 0);
    assert_eq!(app.count("select count(*) from control.stray_pictures").await, 0);
}
