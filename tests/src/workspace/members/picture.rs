//! Members' pictures.

use super::{member_of, path_of};
use crate::{
    TestApp,
    workspace::auth::avatar::{fetch, png},
};

#[tokio::test(flavor = "multi_thread")]
async fn everybody_sets_their_own_picture_and_admins_that_of_others() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let (bob, admin) = (app.join(&ada, "viewer").await, app.join(&ada, "admin").await);
    let of = async |person| format!("{}/avatar", path_of(person).await);
    let (bobs, adas) = (of(&bob).await, of(&ada).await);

    let own = bob.upload(&bobs, "bob.png", png(30, 10)).await.expect(200);

    assert_eq!(fetch(&app, &own["avatar_url"]).await.1.width(), 30);
    assert_eq!(member_of(&bob).await["avatar_url"], own["avatar_url"]);
    let brief = ada.items("/members/all").await;
    let bobs_id = member_of(&bob).await["id"].clone();
    let bobs_brief = brief.as_array().unwrap().iter().find(|member| member["id"] == bobs_id).unwrap();
    assert_eq!(bobs_brief["avatar_url"], own["avatar_url"]);
    let other = admin.upload(&bobs, "bob.png", png(20, 10)).await.expect(200);
    assert_eq!(fetch(&app, &other["avatar_url"]).await.1.width(), 20);
    assert_eq!(member_of(&bob).await["avatar_url"], other["avatar_url"]);
    let account = bob.get("/auth/me").await.expect(200);
    assert_eq!(account["avatar_url"], own["avatar_url"], "an admin sets how a member is shown here");
    let newer = bob.upload("/auth/me/avatar", "bob.png", png(40, 10)).await.expect(200);
    assert_eq!(member_of(&bob).await["avatar_url"], newer["avatar_url"], "until they set one themselves");

    assert_eq!(bob.upload(&adas, "x.png", png(8, 8)).await.error(403), "forbidden");
    assert_eq!(admin.upload(&adas, "x.png", png(8, 8)).await.error(403), "forbidden", "she is more");
    assert_eq!(bob.upload(&bobs, "x.png", "no picture".as_bytes()).await.error(422), "record_invalid");
    let stranger = app.owner().await;
    assert_eq!(stranger.upload(&adas, "x.png", png(8, 8)).await.error(404), "record_not_found");
}
