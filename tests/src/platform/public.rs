//! Public operations: how a tenant shows itself, and nothing about who has an account.

use serde_json::{Value, json};

use crate::{Client, TestApp, client::send};

async fn address(person: &Client) -> String {
    person.get("/auth/me").await.expect(200)["email"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_landing_page_leads_to_the_documentation() {
    let app = TestApp::start().await;

    let page = send(reqwest::Client::new().get(format!("{}/", app.base))).await;

    assert_eq!(
        (page.status, &page.headers["content-type"]),
        (200, &"text/html; charset=utf-8".parse().unwrap())
    );
    for path in ["/docs", "/docs/openapi.json", "/api/v1/docs", "/health"] {
        assert!(page.text.contains(&format!("href=\"{path}\"")), "{path}");
    }
    assert!(
        !page.text.contains("http://") && !page.text.contains("https://"),
        "nothing comes from elsewhere"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_known_by_its_name_its_id_the_header_or_a_key() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (_, program) = owner.new_key(&["write"]).await;
    let workspace = owner.workspace.clone().unwrap();
    app.run(
        r##"update workspaces set slug = 'engines', branding = '{"brand_name": "Engines", "color": "#00ff00"}'"##,
    )
    .await;
    owner.patch("/v1/governance", json!({"password_min_length": 12})).await.expect(200);
    let visitor = app.anonymous();

    let config = visitor.get("/v1/tenant-config?tenant=engines").await.expect(200)["data"].clone();

    assert_eq!(
        config,
        json!({"tenant_id": config["tenant_id"], "slug": "engines",
               "branding": {"brand_name": "Engines", "color": "#00ff00"},
               "auth": {"methods": ["password"], "password_min_length": 12}})
    );
    let id = config["tenant_id"].as_str().unwrap();
    for same in [
        visitor.get(&format!("/v1/tenant-config?tenant={id}")).await,
        visitor.get(&format!("/v1/tenant-config?tenant={workspace}")).await,
        visitor.in_workspace(Some(&workspace)).get("/v1/tenant-config").await,
        program.get("/v1/tenant-config").await,
    ] {
        assert_eq!(same.expect(200)["data"], config);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_says_when_people_may_come_by_clerk() {
    let app = TestApp::start_with(&[("CLERK_SECRET", "the secret of the check of people by Clerk")]).await;
    let owner = app.owner().await;

    let config = owner.get("/v1/tenant-config").await.expect(200);

    assert_eq!(config["data"]["auth"]["methods"], json!(["password", "clerk"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_has_to_be_named_and_to_be_there() {
    let app = TestApp::start().await;
    let visitor = app.anonymous();

    let unnamed = visitor.get("/v1/tenant-config").await.expect(422);
    assert_eq!(unnamed["error"]["fields"], json!({"tenant": ["is required"]}));
    assert_eq!(visitor.get("/v1/tenant-config?tenant=unknown").await.error(404), "record_not_found");
    let header = visitor.in_workspace(Some("nonsense"));
    assert_eq!(header.get("/v1/tenant-config").await.error(404), "record_not_found");
    // A credential that isn't good counts for nothing.
    let stranger = visitor.with_token(Some("mrk_nonsense"));
    assert_eq!(stranger.get("/v1/tenant-config").await.error(422), "parameter_missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lookup_tells_strangers_nothing_and_the_person_by_letter() {
    let app = TestApp::start().await;
    let (owner, eve) = (app.owner().await, app.owner().await);
    let email = address(&owner).await;
    let look_up = async |who: &Client, email: &str| {
        who.post("/v1/tenants/lookup", json!({"email": email})).await.expect(200)["data"].clone()
    };

    for (who, email) in [
        (app.anonymous(), email.as_str()),
        (app.anonymous(), "unknown@example.com"),
        (app.anonymous().with_token(Some("garbage")), email.as_str()),
        (eve, email.to_uppercase().as_str()),
    ] {
        assert_eq!(look_up(&who, email).await, json!([]), "{email}");
    }

    let lookups = "select count(*) from all_jobs where kind = 'accounts.mail_workspaces'";
    assert_eq!(app.count(lookups).await, 2, "one for each address, however often it is asked for");
    let under_way = "select count(*) from jobs where kind in ('accounts.mail_workspaces', 'mail.send')";
    crate::cluster::wait_until("all letters are out", || async { app.count(under_way).await == 0 }).await;
    let letters = app.mails(&email, "Your workspaces");
    assert_eq!(letters.len(), 1);
    let told = ["- Analytical Engines", "http://localhost:3000/login"];
    assert!(told.iter().all(|part| letters[0].text.contains(part)), "{}", letters[0].text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lookup_tells_people_where_they_belong_themselves() {
    let app = TestApp::start().await;
    let host = app.owner().await;
    let guest = app.join(&host, "viewer").await;
    let lookup = json!({"email": address(&guest).await.to_uppercase()});

    let found = guest.post("/v1/tenants/lookup", lookup).await.expect(200)["data"].clone();

    let names: Vec<_> = found.as_array().unwrap().iter().map(|tenant| &tenant["brand_name"]).collect();
    assert_eq!(names, ["Analytical Engines", "Analytical Engines"]);
    assert!(found[0]["tenant_id"].as_str().unwrap().starts_with("tn_"));
    assert_eq!(app.count("select count(*) from all_jobs where kind = 'accounts.mail_workspaces'").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lookup_needs_an_address() {
    let app = TestApp::start().await;
    let visitor = app.anonymous();
    for (body, code) in [(json!({}), "parameter_missing"), (json!({"email": "x"}), "record_invalid")] {
        assert_eq!(visitor.post("/v1/tenants/lookup", body).await.error(422), code);
    }
    let wrong: Value = visitor.post("/v1/tenants/lookup", json!({"email": "x"})).await.expect(422);
    assert_eq!(wrong["error"]["fields"], json!({"email": ["must be an email address"]}));
}
