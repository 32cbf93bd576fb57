//! Parameters that mean the same in every operation are described in one place; an operation's own words win, and an
//! id in a path needs none: `team_id` is "Team id.".

use serde_json::{Value, json};

/// By place and name.
const MEANINGS: &[(&str, &str, &str)] = &[
    ("path", "api_key_id", "API key id."),
    ("path", "file", "File name, as the link has it."),
    ("path", "folder_id", "Folder id, as the link has it."),
    ("path", "invite_code", "Code of the invitation, from its link."),
    ("path", "job_id", "Job id; for a sign-up, the token that its start answered."),
    ("path", "key_id", "API key id."),
    ("path", "member_id", "Member id: a person within one workspace, not the account."),
    ("path", "msg_id", "Message id."),
    ("path", "permission", "Permission, as the catalogue names it."),
    ("path", "pool", "Pool name."),
    ("path", "role", "Role name."),
    ("path", "token_id", "Personal token id."),
    ("path", "user_id", "Account id."),
    ("query", "email", "Only the account with this email address."),
    ("query", "exp", "Expiry time of the link, in seconds since 1970; part of the link."),
    ("query", "is_active", "Only entries that are active (true) or switched off (false)."),
    ("query", "is_revoked", "Only entries that are revoked (true) or not (false)."),
    ("header", "Stripe-Signature", "Signature of the notice, as Stripe makes it."),
    ("query", "job_type", "Only jobs of this type."),
    ("query", "status", "Only jobs with this status."),
    ("query", "kind", "Only jobs of this kind."),
    ("query", "limit", "Number of entries in the answer, at most 200."),
    ("query", "offset", "Number of entries to pass over."),
    ("query", "page", "Page number, from 1."),
    ("query", "page_size", "Number of entries on a page, at most 200."),
    ("query", "pool", "Only this pool."),
    ("query", "sig", "Signature of the link; part of the link."),
    ("query", "since", "`seq` of the last event that the client has seen; 0 for all that is kept."),
    (
        "header",
        "Last-Event-ID",
        "`id:` of the last event that the client has seen, as `EventSource` sends it.",
    ),
    ("header", "X-Workspace-Id", "Workspace id; may be absent for a person with one workspace."),
];

/// Describes what has no description.
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
