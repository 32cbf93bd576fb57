//! Errors and headers as named components, which operations refer to.

use jobs::Surface;
use serde_json::{Map, Value, json};

use super::codes::{FAILURES, Failure};
use crate::{edge::form_of, idempotency};

/// Member that keeps an operation's declared codes until its errors are described.
const DECLARED: &str = "x-fails";

/// The statuses of which an operation lists its own codes only.
const ABOUT_STATE: [&str; 3] = ["402", "409", "410"];

/// The framework's reference to the schema of an error.
const FRAMEWORK: &str = "#/components/schemas/Error";

/// Removes the codes that an operation declares ([`crate::Fails`]) from its tags.
pub(super) fn take_declared(operation: &mut Value) -> Vec<String> {
    let mut declared = Vec::new();
    if let Some(tags) = operation["tags"].as_array_mut() {
        tags.retain(|tag| {
            let code = tag.as_str().filter(|tag| FAILURES.iter().any(|failure| failure.has(tag)));
            declared.extend(code.map(str::to_owned));
            code.is_none()
        });
    }
    declared
}

/// Whether one of the codes has that status.
pub(super) fn declares(declared: &[String], status: &str) -> bool {
    FAILURES
        .iter()
        .filter(|failure| failure.status == status)
        .any(|failure| declared.iter().any(|code| failure.has(code)))
}

/// Keeps the declared codes until [`share`].
pub(super) fn keep_codes(operation: &mut Value, declared: &[String]) {
    operation[DECLARED] = json!(declared);
}

/// The codes of a status that an operation can answer with, where it declares them.
fn own_codes(
    failure: &Failure,
    declared: &Value,
    takes_key: bool,
) -> Option<Vec<(&'static str, &'static str)>> {
    if !ABOUT_STATE.contains(&failure.status) {
        return None;
    }
    let is_declared = |code: &str| declared.as_array().is_some_and(|all| all.iter().any(|one| one == code));
    let is_own = |code: &str| is_declared(code) || (takes_key && code == idempotency::RUNNING);
    Some(failure.codes.iter().filter(|(code, _)| is_own(code)).copied().collect())
}

/// Replaces each error by a reference to a component of its status, and adds the headers of answers. An error about
/// state stays in the operation, with the operation's own codes.
pub(super) fn share(document: &mut Value, surface: Surface) {
    // The Token API shows errors in a form of its own, without the envelope of its surface.
    let forms = [("", surface), ("Token", form_of("/v1/me", surface))];
    let mut used = [[false; FAILURES.len()]; 2];
    let mut shown = used;
    let counts = surface != Surface::Ops;
    for (path, _, operation) in super::described_mut(document) {
        let form = usize::from(form_of(path, surface) != surface);
        let takes_key = operation["parameters"]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one["name"] == idempotency::HEADER));
        let declared = operation.as_object_mut().and_then(|all| all.remove(DECLARED)).unwrap_or_default();
        for (status, response) in operation["responses"].as_object_mut().into_iter().flatten() {
            let failure = FAILURES.iter().position(|failure| failure.status == status);
            match failure.filter(|_| is_error(response)) {
                Some(i) => {
                    used[form][i] = true;
                    let name = format!("{}{}", forms[form].0, FAILURES[i].name);
                    *response = if let Some(codes) = own_codes(&FAILURES[i], &declared, takes_key) {
                        described(&FAILURES[i], &codes, &format!("{name}Error"), forms[form].1)
                    } else {
                        shown[form][i] = true;
                        json!({ "$ref": format!("#/components/responses/{name}") })
                    };
                }
                None => add_headers(response, status, counts, takes_key),
            }
        }
    }
    let (mut responses, mut schemas) = (Map::new(), Map::new());
    for (of, (prefix, form)) in forms.into_iter().enumerate() {
        for (i, failure) in FAILURES.iter().enumerate().filter(|(i, _)| used[of][*i]) {
            let name = format!("{prefix}{}", failure.name);
            let schema = format!("{name}Error");
            if shown[of][i] {
                responses.insert(name, described(failure, failure.codes, &schema, form));
            }
            schemas.insert(schema, shape(failure, form));
        }
    }
    let components = &mut document["components"];
    components["responses"] = Value::Object(responses);
    components["headers"] = headers();
    if let Some(all) = components["schemas"].as_object_mut() {
        all.remove("Error");
        all.extend(schemas);
    }
    // Only the components in use.
    let text = document.to_string();
    if let Some(all) = document["components"]["headers"].as_object_mut() {
        all.retain(|name, _| text.contains(&format!("#/components/headers/{name}\"")));
    }
}

fn is_error(response: &Value) -> bool {
    let content = response["content"].as_object();
    content.is_some_and(|content| content.values().any(|media| media["schema"]["$ref"] == FRAMEWORK))
}

fn reference(header: &str) -> Value {
    json!({ "$ref": format!("#/components/headers/{header}") })
}

/// Headers of an answer that is no error.
fn add_headers(response: &mut Value, status: &str, counts: bool, takes_key: bool) {
    let mut names = vec!["X-Request-Id"];
    if counts {
        names.extend(["RateLimit", "RateLimit-Policy"]);
    }
    if status == "202" {
        names.push("Location");
    }
    if takes_key {
        names.push("Idempotency-Replayed");
    }
    for name in names {
        response["headers"][name] = reference(name);
    }
}

fn headers() -> Value {
    let text = |description: &str| json!({ "description": description, "schema": { "type": "string" } });
    json!({
        "X-Request-Id": text("Request id, for support: the client's own, or a new one."),
        "WWW-Authenticate": text("`Bearer`, with `error=\"invalid_token\"` where a credential came and is not valid."),
        "Retry-After": {
            "description": "Seconds until another attempt can succeed.",
            "schema": { "type": "integer", "minimum": 0 },
        },
        "Location": text("Path of the job's snapshot, the same as `status_url`."),
        "RateLimit": text("Fullest window, for example `\"day\";r=1;t=4711`: requests left, seconds to go."),
        "RateLimit-Policy": text("Windows that the request counts in, for example `\"principal\";q=600;w=60`."),
        "Idempotency-Replayed": {
            "description": "Present with a stored answer to an earlier request with the same Idempotency-Key.",
            "schema": { "type": "string", "enum": ["true"] },
        },
    })
}

/// The answer, with an example of each code.
fn described(failure: &Failure, codes: &[(&str, &str)], schema: &str, surface: Surface) -> Value {
    let lines: Vec<_> = codes.iter().map(|(code, meaning)| format!("- `{code}`: {meaning}")).collect();
    let examples: Map<String, Value> = codes
        .iter()
        .map(|(code, meaning)| {
            ((*code).to_owned(), json!({ "value": example(failure, code, meaning, surface) }))
        })
        .collect();
    let mut response = json!({
        "description": format!("{}\n\n{}", title(failure.status), lines.join("\n")),
        "content": { "application/json": {
            "schema": { "$ref": format!("#/components/schemas/{schema}") },
            "examples": examples,
        } },
        "headers": { "X-Request-Id": reference("X-Request-Id") },
    });
    match failure.status {
        "401" => response["headers"]["WWW-Authenticate"] = reference("WWW-Authenticate"),
        "429" => response["headers"]["Retry-After"] = reference("Retry-After"),
        _ => {}
    }
    response
}

fn title(status: &str) -> &'static str {
    let listed = crate::error::DOCUMENTED.iter().find(|(listed, _)| listed.as_str() == status);
    listed.map_or("", |(_, description)| *description)
}

fn example(failure: &Failure, code: &str, meaning: &str, surface: Surface) -> Value {
    let fields = match code {
        "parameter_missing" => Some(json!({ "name": ["is required"] })),
        "parameter_unknown" => Some(json!({ "limit": ["is unknown; allowed are page, page_size"] })),
        "record_invalid" => Some(json!({ "name": ["must have 1 to 255 characters"] })),
        _ => None,
    };
    let id = "01a20189-3c1e-7510-aa72-0a8fa32945d6";
    let mut error = match surface {
        Surface::Platform => json!({ "code": code, "message": meaning }),
        Surface::Workspace | Surface::Ops => json!({ "error": code, "detail": meaning }),
    };
    if let Some(fields) = fields {
        error["fields"] = fields;
    }
    match surface {
        Surface::Platform => json!({ "success": false, "error": error, "request_id": id }),
        Surface::Workspace | Surface::Ops => {
            if failure.status == "500" {
                error["request_id"] = json!(id);
            }
            error
        }
    }
}

/// The schema of a status, with its codes.
fn shape(failure: &Failure, surface: Surface) -> Value {
    let codes: Vec<_> = failure.codes.iter().map(|(code, _)| code).collect();
    let code = json!({ "type": "string", "enum": codes, "description": "Stable error code, for programs." });
    let sentence =
        json!({ "type": "string", "description": "Error message, for display; its wording may change." });
    let request = json!({ "type": "string", "description": "Request id, for support." });
    let fields = json!({
        "type": "object",
        "description": "Reasons by parameter or member; a member of an object or list is named by its path.",
        "additionalProperties": { "type": "array", "items": { "type": "string" } },
    });
    let (code_name, sentence_name) = match surface {
        Surface::Platform => ("code", "message"),
        Surface::Workspace | Surface::Ops => ("error", "detail"),
    };
    let mut error = json!({
        "type": "object",
        "required": [code_name, sentence_name],
        "properties": { code_name: code, sentence_name: sentence },
    });
    if failure.status == "422" {
        error["properties"]["fields"] = fields;
    }
    match surface {
        Surface::Platform => json!({
            "type": "object",
            "required": ["success", "error", "request_id"],
            "properties": {
                "success": { "type": "boolean", "const": false, "description": "Always false." },
                "error": error,
                "request_id": request,
            },
        }),
        Surface::Workspace | Surface::Ops => {
            if failure.status == "500" {
                error["properties"]["request_id"] = request;
            }
            error
        }
    }
}
