//! Holds every error that a test is answered with against the documents: the operation must list its status and its
//! code. What belongs to no operation, such as a path that does not exist, is left alone.
//!
//! With [`SEEN_FILE`] it also writes the occurring codes: `script/unseen-errors` asks whether each code that is declared
//! beside a route was.

use std::{
    collections::BTreeSet,
    fs::OpenOptions,
    io::Write,
    sync::{Mutex, OnceLock, PoisonError},
};

use jobs::Surface;
use reqwest::Method;
use serde_json::Value;

/// The variable with the path of the file that the codes are written to, each after its operation's id.
const SEEN_FILE: &str = "MILLRACE_ERRORS_SEEN_FILE";

/// Lines that this process has written there.
static SEEN: Mutex<BTreeSet<(String, String)>> = Mutex::new(BTreeSet::new());

/// An operation, and what it may fail with.
struct Known {
    id: String,
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
                    id: operation["operationId"].as_str().expect("an operation has an id").to_owned(),
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

/// Writes once that an operation has failed with a code. Processes of tests write to one file at the same time,
/// each line at once.
fn note(operation: &str, code: &str) {
    let Some(path) = std::env::var_os(SEEN_FILE) else { return };
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    if seen.insert((operation.to_owned(), code.to_owned())) {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let line = format!("{operation}\t{code}\n");
        file.and_then(|mut file| file.write_all(line.as_bytes())).expect("codes can be written down");
    }
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
    note(&known.id, code);
}
