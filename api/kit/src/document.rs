//! The served OpenAPI document: poem-openapi's, with what it can't express by itself. Each
//! operation shows its permission (`x-permission`), needs both headers where it works in a workspace
//! (on the Platform API, a caller with only one workspace may leave it out), and lists only the
//! errors that it can answer with, in its surface's shape. A document names only the tags in use.

mod codes;
mod defaults;
mod dialect;
mod errors;
mod events;
mod examples;
mod parameters;

use std::collections::BTreeSet;

use jobs::Surface;
use serde_json::{Map, Value, json};

use domain::access;

use crate::{
    absent,
    caller::{ANYONE_IN_PERSON, BEARER, IN_PERSON_ONLY, KNOWN, PERSON},
    idempotency::{self, takes_key},
    operator::OPERATOR,
    permission::WORKSPACE,
};

/// Prefix of a permission's requirement before it is rewritten.
const PERMISSION: &str = "permission ";
/// Prefix of a permission that is needed in addition.
const ALSO: &str = "also ";
/// Prefix of a permission that is sufficient instead.
const OR: &str = "or ";

/// The served document, from the framework's.
///
/// # Errors
/// When `spec` is not JSON, which the framework's always is.
pub fn served(spec: &str, surface: Surface) -> serde_json::Result<Value> {
    let mut document: Value = serde_json::from_str(spec)?;
    let prefix = match surface {
        Surface::Workspace => "/api/v1",
        Surface::Ops => "/ops",
        Surface::Platform => "",
    };
    for (path, method, operation) in described_mut(&mut document) {
        show_caller(path, operation, surface);
        show_key(prefix, path, method, operation);
        let declared = errors::take_declared(operation);
        leave_out_errors(path, operation, &declared);
        errors::keep_codes(operation, &declared);
        describe_success(operation);
    }
    keep_used_tags(&mut document);
    absent::admit_null(&mut document);
    defaults::say(&mut document);
    dialect::modernize(&mut document);
    events::describe(&mut document);
    errors::share(&mut document, surface);
    parameters::describe(&mut document);
    examples::show(&mut document)?;
    introduce(&mut document, surface);
    for operation in operations_mut(&mut document) {
        if let Some(members) = operation.as_object_mut() {
            members.retain(|_, member| !member.is_null());
            // Explicit rather than absent: no credential is needed.
            members.entry("security").or_insert_with(|| json!([]));
        }
    }
    Ok(document)
}

/// Every operation with its path and method.
fn described_mut(document: &mut Value) -> impl Iterator<Item = (&String, &String, &mut Value)> {
    document["paths"].as_object_mut().into_iter().flat_map(|paths| paths.iter_mut()).flat_map(
        |(path, item)| {
            item.as_object_mut()
                .into_iter()
                .flat_map(Map::iter_mut)
                .map(move |(method, operation)| (path, method, operation))
        },
    )
}

/// Every operation.
fn operations_mut(document: &mut Value) -> impl Iterator<Item = &mut Value> {
    described_mut(document).map(|(_, _, operation)| operation)
}

/// The introduction of the document.
fn introduce(document: &mut Value, surface: Surface) {
    let text = match surface {
        Surface::Workspace => include_str!("document/workspace.md"),
        Surface::Platform => include_str!("document/platform.md"),
        Surface::Ops => include_str!("document/ops.md"),
    };
    document["info"]["description"] = json!(text.trim_end());
    document["info"]["license"] = json!({
        "name": env!("CARGO_PKG_LICENSE"),
        "identifier": env!("CARGO_PKG_LICENSE"),
    });
}

/// The callers of an operation: `x-caller` is `member` of a workspace (with `x-permission`, and
/// `x-permission-own` where that is sufficient for the caller's own resources, `x-permission-or` where another
/// is sufficient, `x-permissions-also` where others are needed, and `x-scopes`, which keys and tokens need),
/// `person` for a signed-in user, `known` for the holder of any credential, `operator`, or `anyone`.
/// `x-in-person` means that it is refused to staff acting as another user.
///
/// `{"permission records:view": []}` and the other marks become the real schemes; other credentials, such as a
/// ticket, stay beside them. A workspace in the path needs no header, and an API key none anyway.
fn show_caller(path: &str, operation: &mut Value, surface: Surface) {
    let names_workspace = path.contains("{workspace_id}");
    let also = take_marked(operation, ALSO);
    let or = take_marked(operation, OR);
    let mut caller = "anyone";
    let (mut permission, mut in_person) = (None, !take_marked(operation, ANYONE_IN_PERSON).is_empty());
    if operation["security"].as_array().is_some_and(Vec::is_empty) {
        operation.as_object_mut().map(|operation| operation.remove("security"));
    }
    for requirement in operation["security"].as_array_mut().into_iter().flatten() {
        let Some(scheme) = requirement.as_object().and_then(|schemes| schemes.keys().next().cloned()) else {
            continue;
        };
        if let Some(named) = scheme.strip_prefix(PERMISSION) {
            caller = "member";
            permission = Some(named.to_owned());
            *requirement =
                if names_workspace { json!({ BEARER: [] }) } else { json!({ BEARER: [], WORKSPACE: [] }) };
        } else if [PERSON, KNOWN, IN_PERSON_ONLY].contains(&&*scheme) {
            caller = if scheme == KNOWN { "known" } else { "person" };
            in_person |= scheme == IN_PERSON_ONLY;
            *requirement = json!({ BEARER: [] });
        } else if scheme == OPERATOR {
            caller = "operator";
        }
    }
    operation["x-caller"] = json!(caller);
    if in_person {
        operation["x-in-person"] = json!(true);
    }
    let Some(asked) = permission else { return };
    if surface == Surface::Platform
        && !names_workspace
        && let Some(requirements) = operation["security"].as_array_mut()
    {
        requirements.push(json!({ BEARER: [] }));
    }
    let (permission, extra) = asked.split_once(' ').unwrap_or((&asked, ""));
    let scope_of = |permission: &str| access::find(permission).map(|listed| listed.scope);
    let mut scopes: Vec<_> = scope_of(permission).into_iter().collect();
    for scope in also.iter().filter_map(|permission| scope_of(permission)) {
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    let outlasts = |permission: &str| access::find(permission).is_some_and(access::Listed::outlasts);
    if outlasts(permission) && or.iter().all(|or| outlasts(or)) || also.iter().any(|also| outlasts(also)) {
        operation["x-in-person"] = json!(true);
    }
    operation["x-permission"] = json!(permission);
    operation["x-scopes"] = json!(scopes);
    if let Some(or) = or.first() {
        operation["x-permission-or"] = json!(or);
    }
    if !also.is_empty() {
        operation["x-permissions-also"] = json!(also);
    }
    if extra == "or own" {
        operation["x-permission-own"] = json!(format!("{permission}_own"));
    }
}

/// Removes the requirements with that mark from an operation, and answers the permissions that they name.
fn take_marked(operation: &mut Value, mark: &str) -> Vec<String> {
    let mut marked = Vec::new();
    if let Some(requirements) = operation["security"].as_array_mut() {
        requirements.retain(|requirement| {
            let scheme = requirement.as_object().and_then(|schemes| schemes.keys().next());
            let named = scheme.and_then(|scheme| scheme.strip_prefix(mark));
            marked.extend(named.map(str::to_owned));
            named.is_none()
        });
    }
    marked
}

/// A POST may have a key, except where each answer must be new.
fn show_key(prefix: &str, path: &str, method: &str, operation: &mut Value) {
    let content = &operation["requestBody"]["content"];
    let is_upload = content.is_object() && !content["application/json"].is_object();
    if !takes_key(method, &format!("{prefix}{path}"), is_upload) {
        return;
    }
    let parameter = json!({
        "name": idempotency::HEADER,
        "in": "header",
        "required": false,
        "schema": { "type": "string", "minLength": 1, "maxLength": 255 },
        "description": "Sent again with the same key within 24 hours, the request has no second effect and the same \
                        answer, with `Idempotency-Replayed: true`.",
    });
    match operation["parameters"].as_array_mut() {
        Some(parameters) => parameters.push(parameter),
        None => operation["parameters"] = json!([parameter]),
    }
}

/// The framework lists all tags, including those of the other surfaces.
fn keep_used_tags(document: &mut Value) {
    let used: BTreeSet<String> = document["paths"]
        .as_object()
        .into_iter()
        .flat_map(Map::values)
        .flat_map(|item| item.as_object().into_iter().flat_map(Map::values))
        .flat_map(|operation| operation["tags"].as_array().into_iter().flatten())
        .filter_map(|tag| tag.as_str().map(str::to_owned))
        .collect();
    if let Some(tags) = document["tags"].as_array_mut() {
        tags.retain(|tag| tag["name"].as_str().is_some_and(|name| used.contains(name)));
    }
}

/// Without a body there are no errors about one; without a credential none is refused. Errors about the state of
/// resources are documented where the operation declares them ([`crate::Fails`]).
fn leave_out_errors(path: &str, operation: &mut Value, declared: &[String]) {
    let has_body = operation.get("requestBody").is_some();
    let parameters = operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
    let has_key = parameters.iter().any(|parameter| parameter["name"] == idempotency::HEADER);
    let is_guarded = operation["security"].as_array().is_some_and(|security| !security.is_empty());
    let in_workspace = operation.get("x-permission").is_some();
    let is_operators = operation["security"]
        .as_array()
        .is_some_and(|ways| ways.iter().any(|way| way.get(OPERATOR).is_some()));
    let names_something = path.contains('{') || in_workspace;
    let Some(responses) = operation["responses"].as_object_mut() else {
        return;
    };
    responses.retain(|status, _| {
        errors::declares(declared, status)
            || match status.as_str() {
                "400" | "408" | "413" | "415" => has_body,
                "401" => is_guarded,
                "402" | "410" => false,
                // Another request with the key may be running.
                "409" => has_key,
                "403" => is_guarded && !is_operators,
                "404" => names_something,
                _ => true,
            }
    });
}

/// The content of an answer is described by its schema, so handlers leave its description empty.
fn describe_success(operation: &mut Value) {
    for (status, response) in operation["responses"].as_object_mut().into_iter().flatten() {
        if response["description"] == "" {
            response["description"] = json!(match status.as_str() {
                "201" => "Created",
                "202" => "Accepted: the work continues",
                "204" => "Done, without content",
                _ => "Done",
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use poem_openapi::{OpenApi, OpenApiService, param::Path, payload::Json};

    use super::*;
    use crate::{Answer, Body, Can, Created, Fails, Page, SignedIn, permissions};

    permissions! { ViewRecords = "records:view", CreateRecords = "records:create" }

    #[derive(poem_openapi::Object)]
    struct Thing {
        name: String,
    }

    struct Things;

    #[OpenApi]
    #[allow(clippy::unused_async)] // handlers are async, these do nothing
    impl Things {
        #[oai(path = "/open", method = "get", operation_id = "open")]
        async fn open(&self) -> Answer<Json<Vec<String>>> {
            Ok(Json(vec![]))
        }

        #[oai(path = "/mine", method = "get", operation_id = "mine")]
        async fn mine(&self, _person: SignedIn) -> Answer<Json<Page<String>>> {
            Err(crate::ApiError::not_found())
        }

        #[oai(path = "/things/:id", method = "put", operation_id = "put", tag = "Fails::NameTaken")]
        async fn put(
            &self,
            can: Can<CreateRecords>,
            id: Path<uuid::Uuid>,
            thing: Body<Thing>,
        ) -> Answer<Created<Thing>> {
            let _ = (can.may::<ViewRecords>(), id.0);
            Ok(Created(thing.0))
        }
    }

    fn operation(path: &str, method: &str) -> Value {
        let spec = OpenApiService::new(Things, "t", "1").spec();
        served(&spec, Surface::Workspace).unwrap()["paths"][path][method].clone()
    }

    fn statuses(operation: &Value) -> Vec<String> {
        operation["responses"].as_object().unwrap().keys().cloned().collect()
    }

    #[test]
    fn a_guarded_operation_shows_its_permission_and_both_headers() {
        let put = operation("/things/{id}", "put");
        assert_eq!(put["x-permission"], "records:create");
        assert_eq!(put["security"], json!([{ "bearer": [], "workspace": [] }]));
        let codes = statuses(&put);
        for status in ["201", "400", "401", "403", "404", "409", "413", "415", "422", "500", "503"] {
            assert!(codes.contains(&status.to_owned()), "{status} is not in {codes:?}");
        }
    }

    #[test]
    fn an_operation_lists_only_errors_that_it_can_answer_with() {
        assert_eq!(statuses(&operation("/open", "get")), ["200", "422", "429", "500", "503"]);
        assert_eq!(statuses(&operation("/mine", "get")), ["200", "401", "403", "422", "429", "500", "503"]);
        assert_eq!(operation("/mine", "get")["security"], json!([{ "bearer": [] }]));
    }

    #[test]
    fn an_error_about_state_is_listed_where_it_is_declared_with_its_codes() {
        let put = operation("/things/{id}", "put");
        let conflict = &put["responses"]["409"];
        let examples = conflict["content"]["application/json"]["examples"].as_object().unwrap();
        assert_eq!(examples.keys().collect::<Vec<_>>(), ["name_taken"]);
        assert!(conflict["description"].as_str().unwrap().contains("`name_taken`"));
        let codes = statuses(&put);
        assert!(!codes.contains(&"402".to_owned()) && !codes.contains(&"410".to_owned()), "{codes:?}");
        assert!(put.get("tags").is_none_or(|tags| tags.as_array().unwrap().is_empty()));
    }

    #[test]
    fn the_platform_document_has_the_envelope_for_errors() {
        let spec = OpenApiService::new(Things, "t", "1").spec();
        let document = served(&spec, Surface::Platform).unwrap();
        let schemas = &document["components"]["schemas"];
        assert!(schemas["NotFoundError"]["properties"]["request_id"].is_object());
        assert_eq!(
            document["paths"]["/things/{id}"]["put"]["security"],
            json!([{ "bearer": [], "workspace": [] }, { "bearer": [] }])
        );
    }

    #[test]
    fn errors_are_components_and_a_public_operation_says_so() {
        let put = operation("/things/{id}", "put");
        assert_eq!(put["responses"]["404"], json!({ "$ref": "#/components/responses/NotFound" }));
        assert_eq!(operation("/open", "get")["security"], json!([]));
    }
}
