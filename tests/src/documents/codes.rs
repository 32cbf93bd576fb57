//! The documents list every error code that the sources can answer with.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use super::{SURFACES, document, operations};

/// What stands before a code in the sources.
const MARKS: [&str; 7] = [
    "Self::too_many(",
    "Self::conflict(",
    "Self::unavailable(",
    "Error::too_many(",
    "Error::conflict(",
    "Error::unavailable(",
    "ApiError::new(",
];

/// Codes of no operation: what comes before one is found.
const OF_NONE: [&str; 2] = ["method_not_allowed", "method_unknown"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The code that an error is made with, if it stands there.
fn code(rest: &str) -> Option<&str> {
    let end = rest.find([';', '{']).unwrap_or(rest.len());
    let (before, quoted) = rest[..end].split_once('"')?;
    let code = quoted.split('"').next()?;
    let is_code = !code.is_empty() && code.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let stands_first = before.trim().is_empty()
        || before.trim() == "Cow::Borrowed("
        || (before.trim().starts_with("StatusCode::") && before.matches(',').count() == 1);
    (is_code && stands_first).then_some(code)
}

#[test]
fn every_error_code_of_the_sources_is_in_the_documents() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    for part in ["api", "domain", "jobs/src", "runtime"] {
        sources(&root.join(part), &mut files);
    }
    let mut made: BTreeMap<String, String> = BTreeMap::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        for mark in MARKS {
            for (at, _) in text.match_indices(mark) {
                if let Some(code) = code(&text[at + mark.len()..]) {
                    made.insert(code.to_owned(), file.display().to_string());
                }
            }
        }
    }
    assert!(made.len() > 30, "found only {made:?}");
    let mut listed = BTreeSet::new();
    for surface in SURFACES {
        let document = document(surface);
        for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
            let error = if schema["properties"]["error"]["properties"].is_object() {
                &schema["properties"]["error"]["properties"]["code"]
            } else {
                &schema["properties"]["error"]
            };
            if name.ends_with("Error") {
                listed.extend(
                    error["enum"]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .filter_map(|code| code.as_str().map(str::to_owned)),
                );
            }
        }
    }
    for (code, file) in made {
        let is_listed = listed.contains(&code) || OF_NONE.contains(&code.as_str());
        assert!(
            is_listed,
            "{file}: list {code} in api/kit/src/document/codes.rs, and in docs/conventions.md"
        );
    }
}

#[test]
fn every_error_about_state_is_one_that_an_operation_declares() {
    let mut shown: BTreeSet<String> = BTreeSet::new();
    let mut listed: BTreeSet<String> = BTreeSet::new();
    for surface in SURFACES {
        let document = document(surface);
        for operation in operations(&document) {
            for status in ["402", "409", "410"] {
                let examples =
                    &operation.body["responses"][status]["content"]["application/json"]["examples"];
                shown.extend(examples.as_object().into_iter().flat_map(|all| all.keys().cloned()));
            }
        }
        for name in ["PaymentRequiredError", "ConflictError", "GoneError"] {
            let codes = document["components"]["schemas"][name]["properties"]["error"]["enum"].as_array();
            listed.extend(codes.into_iter().flatten().map(|code| code.as_str().unwrap().to_owned()));
        }
    }
    assert_eq!(shown, listed, "a code that no operation has is of no use");
}
