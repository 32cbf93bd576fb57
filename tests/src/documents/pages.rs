//! The documents and the pages that show them, as browsers get them.

use jobs::Surface;
use reqwest::header::{ACCEPT_ENCODING, IF_NONE_MATCH};

use super::document;
use crate::{TestApp, client::send};

const PAGES: [(Surface, &str, &str); 3] = [
    (Surface::Workspace, "/api/v1/docs", "/api/v1/openapi.json"),
    (Surface::Platform, "/docs", "/docs/openapi.json"),
    (Surface::Ops, "/ops/docs", "/ops/openapi.json"),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_documents_and_their_pages_are_served() {
    let app = TestApp::start().await;
    let get = |path: &str| send(reqwest::Client::new().get(format!("{}{path}", app.base)));
    for (surface, page, file) in PAGES {
        let served = get(file).await;
        assert_eq!(served.headers["content-type"], "application/json");
        let shown = document(surface);
        assert_eq!(served.expect(200), shown);
        let page = get(page).await;
        assert_eq!(
            (page.status, &page.headers["content-type"]),
            (200, &"text/html; charset=utf-8".parse().unwrap())
        );
        let title = shown["info"]["title"].as_str().unwrap();
        for part in [&format!("<title>{title}</title>"), "lang=\"en\"", "name=\"viewport\"", file, "</html>"]
        {
            assert!(page.text.contains(part), "{part}");
        }
        // Nothing is fetched from elsewhere: the page works without an internet.
        for elsewhere in ["src=\"http", "href=\"http", "src=\"//", "@import"] {
            assert!(!page.text.contains(elsewhere), "{elsewhere}");
        }
        // What it loads is there, cacheable without end under that name.
        for (_, rest) in page.text.match_indices("/docs/swagger-ui").map(|(at, _)| page.text.split_at(at)) {
            let loaded = get(rest.split('"').next().unwrap()).await;
            assert_eq!(loaded.status, 200);
            assert!(loaded.headers["cache-control"].to_str().unwrap().contains("immutable"));
        }
    }
    let landing = get("/").await;
    for (_, page, file) in PAGES {
        assert!(landing.text.contains(&format!("href=\"{page}\"")) && landing.text.contains(file));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_may_run_its_own_scripts_only_and_data_none() {
    let app = TestApp::start().await;
    let get = |path: &str| send(reqwest::Client::new().get(format!("{}{path}", app.base)));
    for path in ["/", "/docs", "/api/v1/docs", "/ops/docs", "/health", "/docs/openapi.json", "/nowhere"] {
        let reply = get(path).await;
        let policy = reply.headers["content-security-policy"].to_str().unwrap();
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{path}: {policy}"
        );
        let scripts = policy.split(';').find(|part| part.contains("script-src")).unwrap_or_default();
        assert!(!scripts.contains("unsafe"), "{path}: {policy}");
        assert_eq!(scripts.contains("'sha256-"), path.ends_with("/docs"), "{path}: {policy}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_compressed_and_not_sent_again_to_a_client_that_has_it() {
    let app = TestApp::start().await;
    for (_, page, file) in PAGES {
        for path in [page, file] {
            let get =
                || reqwest::Client::new().get(format!("{}{path}", app.base)).header(ACCEPT_ENCODING, "gzip");
            let first = get().send().await.unwrap();
            assert_eq!(first.headers()["content-encoding"], "gzip", "{path}");
            let tag = first.headers()["etag"].clone();
            let policy = first.headers()["content-security-policy"].clone();
            let again = get().header(IF_NONE_MATCH, tag).send().await.unwrap();
            assert_eq!(again.status(), 304, "{path}");
            // A browser takes these headers in place of those that it has.
            assert_eq!(again.headers()["content-security-policy"], policy, "{path}");
            assert!(again.bytes().await.unwrap().is_empty());
        }
    }
}
