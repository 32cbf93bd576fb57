//! Pages for browsers: the landing page, a page for each document, and their assets. Nothing is loaded from
//! other hosts, and each page's policy allows only its own content.

mod asset;

use std::sync::LazyLock;

use base64::{Engine, engine::general_purpose::STANDARD};
use jobs::Surface;
use poem::{Endpoint, Route, endpoint::make_sync, get};
use poem_openapi::{OpenApi, OpenApiService};
use sha2::{Digest, Sha256};

pub(crate) use asset::Asset;

use crate::documents;

const HTML: &str = "text/html; charset=utf-8";
/// URLs of the pages' assets.
const SCRIPT_URL: &str = concat!("/docs/swagger-ui-", env!("CARGO_PKG_VERSION"), ".js");
const STYLE_URL: &str = concat!("/docs/swagger-ui-", env!("CARGO_PKG_VERSION"), ".css");
/// The start of a page: a search over the operations, and credentials that last as long as the tab.
const START: &str = include_str!("pages/start.js");
const OWN_STYLE: &str = include_str!("pages/page.css");
const LANDING: &str = include_str!("pages/landing.html");

/// The viewer's script and style, which poem-openapi includes in a page of its own.
static VIEWER: LazyLock<(Asset, Asset)> = LazyLock::new(|| {
    let html = OpenApiService::new((), "", "").swagger_ui_html();
    let between = |begin: &str, end: &str| {
        let from = html.find(begin).map(|at| at + begin.len());
        let until = html.rfind(end);
        from.zip(until).and_then(|(from, until)| html.get(from..until)).unwrap_or_default().to_owned()
    };
    let style = between("<style charset=\"UTF-8\">", "</style>\n    <script charset=\"UTF-8\">");
    let script = between("<script charset=\"UTF-8\">", "</script>\n</head>");
    (
        Asset::new("text/javascript; charset=utf-8", script).lasting(),
        Asset::new("text/css; charset=utf-8", style).lasting(),
    )
});

/// A surface's document and its page, ready to be sent.
#[derive(Clone)]
pub(crate) struct Pages {
    pub(crate) document: Asset,
    pub(crate) page: Asset,
}

impl Pages {
    /// Those of a surface, whose document has the given URL.
    pub(crate) fn of<T: OpenApi>(service: &OpenApiService<T, ()>, surface: Surface, url: &str) -> Self {
        let document = documents::served(&service.spec(), surface).expect("the framework's document is JSON");
        let title = document["info"]["title"].as_str().unwrap_or_default().to_owned();
        Self { document: Asset::new("application/json", document.to_string()), page: page(&title, url) }
    }

    /// The document, as JSON.
    pub(crate) fn send_document(&self) -> impl Endpoint + 'static {
        send(self.document.clone())
    }

    /// The page, which loads nothing from other hosts.
    pub(crate) fn send_page(&self) -> impl Endpoint + 'static {
        send(self.page.clone())
    }
}

fn send(asset: Asset) -> impl Endpoint + 'static {
    make_sync(move |request| asset.answer(&request))
}

/// Adds the assets of the pages.
pub(crate) fn add_viewer(routes: Route) -> Route {
    routes
        .at(SCRIPT_URL, get(make_sync(|request| VIEWER.0.answer(&request))))
        .at(STYLE_URL, get(make_sync(|request| VIEWER.1.answer(&request))))
}

/// The landing page.
pub(crate) fn landing() -> Asset {
    let body = LANDING.replace("{version}", env!("CARGO_PKG_VERSION"));
    let policy = format!(
        "default-src 'none'; style-src {}; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(OWN_STYLE)
    );
    Asset::new(HTML, body.replace("{style}", OWN_STYLE)).with_policy(policy)
}

/// The page of a document.
fn page(title: &str, url: &str) -> Asset {
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <link rel=\"icon\" href=\"data:,\">\n<link rel=\"stylesheet\" href=\"{STYLE_URL}\">\n\
         <style>{OWN_STYLE}</style>\n</head>\n<body>\n\
         <main id=\"ui\" data-document=\"{url}\"><noscript>This page needs JavaScript; the document itself is at \
         <a href=\"{url}\">{url}</a>.</noscript></main>\n\
         <script src=\"{SCRIPT_URL}\"></script>\n<script>{START}</script>\n</body>\n</html>\n"
    );
    // The viewer sets styles of elements, and draws its icons from data URLs.
    let policy = format!(
        "default-src 'none'; script-src 'self' {}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(START)
    );
    Asset::new(HTML, html).with_policy(policy)
}

/// A policy's hash of inline content.
fn hash(inline: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(inline)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_viewer_is_found_in_what_the_framework_brings() {
        let (script, style) = &*VIEWER;
        assert!(script.len() > 500_000 && style.len() > 50_000, "{} and {}", script.len(), style.len());
        assert!(script.text().contains("SwaggerUIBundle") && style.text().contains(".swagger-ui"));
        assert!(!script.text().contains("</script>\n"));
    }
}
