//! Who is in a workspace is asked in one place: no SQL reads `memberships` as it is but that of the code that changes
//! it, or lists also those who are kept without access. Everything else reads the view `live_memberships`.

use std::path::Path;

/// Files whose SQL names the table, and why.
const ALLOWED: [&str; 8] = [
    // The members: adding, changing, taking out, and lists of those who are switched off, too.
    "domain/core/src/standing.rs",
    "domain/people/src/members.rs",
    "domain/people/src/members/",
    "domain/accounts/src/workspaces/roster.rs",
    // Memberships are made by accepting, and with a workspace; they end with an account.
    "domain/accounts/src/invitations/answer.rs",
    "domain/accounts/src/workspaces/provisioning.rs",
    "domain/accounts/src/workspaces/removal.rs",
    "domain/accounts/src/signups/undo.rs",
];

/// Whether a line of SQL names the table.
fn names_it(line: &str) -> bool {
    let code = line.trim_start();
    !code.starts_with("//")
        && ["from", "join", "into", "update"].iter().any(|word| {
            code.match_indices(&format!("{word} memberships")).any(|(at, found)| {
                let after = code[at + found.len()..].chars().next();
                after.is_none_or(|after| !after.is_alphanumeric() && after != '_')
            })
        })
}

fn visit(folder: &Path, root: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            visit(&path, root, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            if !ALLOWED.iter().any(|allowed| name.starts_with(allowed)) && text.lines().any(names_it) {
                found.push(name);
            }
        }
    }
}

#[test]
fn only_what_changes_memberships_reads_them_as_they_are() {
    assert!(names_it("select role from memberships where") && names_it("        join memberships m on"));
    assert!(!names_it("from live_memberships m") && !names_it("/// from memberships"));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    for folder in ["domain", "api", "jobs", "runtime", "workers"] {
        visit(&root.join(folder), root, &mut found);
    }
    assert!(found.is_empty(), "these read memberships past live_memberships: {found:?}");
}
