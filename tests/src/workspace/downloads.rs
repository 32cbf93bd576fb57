//! Links to files end with what they were made for: the credential, the membership, the address, the permissions.

use serde_json::{Value, json};

use crate::{Client, TestApp};

/// An export and the report of an import, of one workspace.
struct Files {
    paths: [String; 2],
}

impl Files {
    async fn new(owner: &Client) -> Self {
        let (recordset, import) = owner.import("People", "Name,Age\nAda,36\nEve\n").await;
        let export = json!({ "recordset_id": recordset["id"] });
        let export = owner.post("/recordsets/export", export).await.expect(202);
        owner.follow(&export).await;
        let path = |job: &Value| format!("/recordsets/import/jobs/{}", job["job_id"].as_str().unwrap());
        Self { paths: [path(&import), path(&export)] }
    }

    /// Links to the report, by both answers that have one, and to the export.
    async fn links(&self, who: &Client) -> [String; 3] {
        let [import, export] = &self.paths;
        let report = who.get(import).await.expect(200)["report_url"].clone();
        let fresh = who.get(&format!("{import}/report-url")).await.expect(200)["report_url"].clone();
        let file = who.get(export).await.expect(200)["download_url"].clone();
        [report, fresh, file].map(|link| link.as_str().expect("there is a link").to_owned())
    }
}

async fn are_good(app: &TestApp, links: &[String]) {
    for link in links {
        assert_eq!(app.anonymous().get(link).await.status, 200, "{link}");
    }
}

async fn are_over(app: &TestApp, links: &[String]) {
    for link in links {
        assert_eq!(app.anonymous().get(link).await.error(403), "forbidden", "{link}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_and_revoking_a_key_end_the_links_that_were_made_for_them_and_no_others() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let files = Files::new(&owner).await;
    let bob = app.join(&owner, "viewer").await;
    let (key, program) = owner.new_key(&["read"]).await;
    let (of_owner, of_bob, of_key) =
        (files.links(&owner).await, files.links(&bob).await, files.links(&program).await);
    for links in [&of_owner, &of_bob, &of_key] {
        are_good(&app, links).await;
    }

    bob.post("/auth/logout", json!({})).await.expect(200);
    are_over(&app, &of_bob).await;
    owner.post(&format!("/api-keys/{}/revoke", key["id"].as_str().unwrap()), json!({})).await.expect(200);
    are_over(&app, &of_key).await;
    are_good(&app, &of_owner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_link_ends_with_the_membership_or_permission() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let files = Files::new(&owner).await;
    let bob = app.join(&owner, "viewer").await;
    let links = files.links(&bob).await;
    let reset = async || owner.post("/permissions/roles/viewer/reset", json!({})).await.expect(200);
    let take = async |permission: &str| {
        let denied = json!({ "permissions": { permission: false } });
        owner.put("/permissions/roles/viewer", denied).await.expect(200)
    };

    take("records:view").await;
    are_over(&app, &links).await;
    reset().await;
    take("imports:view").await;
    are_over(&app, &links[..2]).await;
    are_good(&app, &links[2..]).await;
    reset().await;
    take("exports:view").await;
    are_good(&app, &links[..2]).await;
    are_over(&app, &links[2..]).await;
    reset().await;
    are_good(&app, &links).await;

    let member = bob.get("/members/me").await.expect(200)["id"].as_str().unwrap().to_owned();
    owner.patch(&format!("/members/{member}"), json!({ "is_active": false })).await.expect(200);
    are_over(&app, &links).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_link_is_valid_only_from_allowed_networks() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let files = Files::new(&owner).await;
    let links = files.links(&owner).await;

    app.let_in_from(&owner, "{10.0.0.0/8}").await;
    are_over(&app, &links).await;
    app.let_in_from(&owner, "{127.0.0.0/8}").await;
    are_good(&app, &links).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_of_an_export_that_did_not_finish_is_not_served() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let [_, _, file] = Files::new(&owner).await.links(&owner).await;
    app.run("update shard.finished_jobs set state = 'failed' where kind = 'records.export'").await;
    assert_eq!(app.anonymous().get(&file).await.error(409), "export_not_finished");
}
