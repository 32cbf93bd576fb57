//! Holds every error that a test is answered with against the documents: the operation must list its status and its
//! code. What belongs to no operation, such as a path that does not exist, is left alone.

use std::sync::OnceLock;

use jobs::Surface;
use reqwest::Method;
use serde_json::Value;

/// An operation, and what it may fail with.
struct Known {
    method: Method,
    /// Its path; none for a parameter.
    segments: Vec<Option<String>>,
    /// Status and codes.
    errors: Vec<(u16, Vec<String>)>,
}

static OPERATIONS: OnceLock<Vec<Known>> = OnceLock::new();

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

fn operations() -> Vec<Known> {
    let mut all = Vec::new();
    for (surface, prefix) in
        [(Surface::Workspace, "/api/v1"), (Surface::Platform, ""), (Surface::Ops, "/ops")]
    {
        let document = api_server::documents::document(surface).expect("the documents are JSON");
        for (path, item) in document["paths"].as_object().expect("a document has paths") {
            for (method, operation) in item.as_object().expect("a path has methods") {
                let Ok(method) = method.to_uppercase().parse::<Method>() else { continue };
                let path = format!("{prefix}{path}");
                let named = |segment: &str| (!segment.starts_with('{')).then(|| segment.to_owned());
                all.push(Known {
                    method,
                    segments: segments(&path).map(named).collect(),
                    errors: errors(&document, operation),
                });
            }
        }
    }
    // A path of its own comes before one with a parameter.
    all.sort_by_key(|known| known.segments.iter().filter(|segment| segment.is_none()).count());
    all
}

fn errors(document: &Value, operation: &Value) -> Vec<(u16, Vec<String>)> {
    let responses = operation["responses"].as_object().into_iter().flatten();
    let errors = responses.filter_map(|(status, response)| {
        let status = status.parse().ok().filter(|status| *status >= 400)?;
        let response = match response["$ref"].as_str() {
            Some(reference) => document.pointer(reference.trim_start_matches('#'))?,
            None => response,
        };
        let codes =
            response["content"]["application/json"]["examples"].as_object()?.keys().cloned().collect();
        Some((status, codes))
    });
    errors.collect()
}

/// Codes of no operation, though its path may be one: what comes before an operation is found.
const OF_NONE: [&str; 3] = ["method_not_allowed", "method_unknown", "route_not_found"];

/// Fails the test if the operation's document does not list that error.
#[track_caller]
pub fn check(method: &Method, path: &str, status: u16, code: &str) {
    let known = OPERATIONS.get_or_init(operations).iter().find(|known| {
        known.method == *method
            && segments(path).count() == known.segments.len()
            && segments(path)
                .zip(&known.segments)
                .all(|(asked, own)| own.as_ref().is_none_or(|own| own == asked))
    });
    let Some(known) = known.filter(|_| !OF_NONE.contains(&code)) else { return };
    let lists =
        |(listed, codes): &(u16, Vec<String>)| *listed == status && codes.iter().any(|listed| listed == code);
    assert!(
        known.errors.iter().any(lists),
        "{method} {path} answers {status} {code}, which its document does not list: declare it beside the route"
    );
}
