//! Parameters with the same meaning in every operation are described once; an operation's own description wins,
//! and an id in a path needs none: `team_id` is "Team id.".

use serde_json::{Value, json};

/// By place and name.
const MEANINGS: &[(&str, &str, &str)] = &[
    ("path", "api_key_id", "API key id."),
    ("path", "file", "File name, from the link."),
    ("path", "folder_id", "Folder id, from the link."),
    ("path", "invite_code", "Code of the invitation, from its link."),
    ("path", "job_id", "Job id; for a sign-up, the token from the answer to its start."),
    ("path", "key_id", "API key id."),
    ("path", "member_id", "Member id: the membership in one workspace, not the account."),
    ("path", "module", "Module name."),
    ("path", "msg_id", "Message id."),
    ("path", "permission", "Name of the permission."),
    ("path", "pool", "Pool name."),
    ("path", "role", "Role name."),
    ("path", "token_id", "Personal token id."),
    ("path", "user_id", "Account id."),
    ("query", "email", "Email address of the account."),
    ("query", "exp", "Expiry time of the link, in seconds since 1970; part of the link."),
    ("query", "is_active", "Activity filter: active entries only (true), or inactive ones only (false)."),
    ("query", "is_revoked", "Revocation filter: revoked entries only (true), or the others only (false)."),
    ("header", "Stripe-Signature", "Signature of the webhook event, by Stripe."),
    ("query", "job_type", "Job type filter."),
    ("query", "status", "Job status filter."),
    ("query", "kind", "Job kind filter."),
    ("query", "limit", "Maximum number of entries in the answer, at most 200."),
    ("query", "offset", "Number of entries to skip."),
    ("query", "page", "Page number, from 1."),
    ("query", "page_size", "Number of entries per page, at most 200."),
    ("query", "pool", "Pool filter."),
    ("query", "sig", "Signature of the link; part of the link."),
    ("query", "since", "`seq` of the last event that the client has received; 0 sends all retained events."),
    (
        "header",
        "Last-Event-ID",
        "`id:` of the last event that the client has received, as `EventSource` sends it.",
    ),
    ("header", "X-Workspace-Id", "Workspace id; optional for a user with one workspace."),
];

/// Adds the missing descriptions.
pub(super) fn describe(document: &mut Value) {
    for operation in super::operations_mut(document) {
        for parameter in operation["parameters"].as_array_mut().into_iter().flatten() {
            if parameter["description"].as_str().is_some_and(|text| !text.is_empty()) {
                continue;
            }
            if let (Some(place), Some(name)) = (parameter["in"].as_str(), parameter["name"].as_str())
                && let Some(meaning) = meaning(place, name)
            {
                parameter["description"] = json!(meaning);
            }
        }
    }
}

fn meaning(place: &str, name: &str) -> Option<String> {
    let listed = MEANINGS.iter().find(|(in_place, of, _)| (*in_place, *of) == (place, name));
    listed.map(|(_, _, meaning)| (*meaning).to_owned()).or_else(|| {
        let thing = name.strip_suffix("_id").filter(|thing| place == "path" && !thing.is_empty())?;
        let (first, rest) = thing.split_at_checked(1)?;
        Some(format!("{}{} id.", first.to_ascii_uppercase(), rest.replace('_', " ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_in_a_path_is_the_id_of_its_thing_unless_the_table_has_better_words() {
        assert_eq!(meaning("path", "data_source_id").as_deref(), Some("Data source id."));
        assert_eq!(meaning("path", "msg_id").as_deref(), Some("Message id."));
        assert_eq!(meaning("query", "team_id"), None);
        assert_eq!(meaning("path", "slug"), None);
    }
}
