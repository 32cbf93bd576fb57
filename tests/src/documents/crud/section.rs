//! The sections of a document.

use serde_json::Value;

use super::{Operation, sample::needs_no_body};

/// Sections that are not walked, and why.
pub(super) const LEFT_OUT: [(&str, &str); 3] = [
    ("/auth/tokens", "of an account: there is no workspace and no permission to lack; workspace/auth"),
    ("/workspaces", "what tenants are: what others see is the subject of workspace/workspaces"),
    ("/pauses", "of the operator, who has no tenant and no permissions; ops/"),
];

/// A section, as its document has it.
pub(super) struct Section<'a> {
    pub collection: &'a str,
    /// The name of the last parameter of an item's path.
    pub parameter: &'a str,
    pub create: &'a Operation,
    pub list: &'a Operation,
    pub read: Option<&'a Operation>,
    pub change: Option<&'a Operation>,
    pub delete: Option<&'a Operation>,
    /// What else is done with an item, below its path, and needs no body.
    pub actions: Vec<&'a Operation>,
    /// Jobs on all items, which are started below the collection's path and need no body.
    pub jobs: Vec<&'a Operation>,
}

pub(super) fn sections<'a>(document: &Value, operations: &'a [Operation]) -> Vec<Section<'a>> {
    let find = |method: &str, path: &str| {
        operations.iter().find(|operation| operation.method == method && operation.path == path)
    };
    let section = |create: &'a Operation| {
        let collection = &create.path;
        let below = operations.iter().filter_map(|operation| operation.path.strip_prefix(&**collection));
        let mut parameters = below.filter_map(|rest| rest.strip_prefix("/{")?.strip_suffix('}'));
        let parameter = parameters.find(|name| !name.contains('/'))?;
        let item = format!("{collection}/{{{parameter}}}");
        let is_below = |path: &str, operation: &Operation| {
            let rest = operation.path.strip_prefix(path).and_then(|rest| rest.strip_prefix('/'));
            rest.is_some_and(|rest| !rest.contains('{')) && needs_no_body(document, operation)
        };
        let is_started = |operation: &&Operation| {
            is_below(collection, operation) && operation.body["responses"]["202"].is_object()
        };
        let section = Section {
            collection,
            parameter,
            create,
            list: find("get", collection)?,
            read: find("get", &item),
            change: find("patch", &item).or_else(|| find("put", &item)),
            delete: find("delete", &item),
            actions: operations.iter().filter(|operation| is_below(&item, operation)).collect(),
            jobs: operations.iter().filter(is_started).collect(),
        };
        (section.change.is_some() || section.delete.is_some()).then_some(section)
    };
    operations.iter().filter(|operation| operation.method == "post").filter_map(section).collect()
}

/// The sections that are walked.
pub(super) fn walked_sections<'a>(
    document: &Value,
    operations: &'a [Operation],
) -> impl Iterator<Item = Section<'a>> + use<'a> {
    let is_left_out = |section: &Section| LEFT_OUT.iter().any(|(left, _)| *left == section.collection);
    sections(document, operations).into_iter().filter(move |section| !is_left_out(section))
}
