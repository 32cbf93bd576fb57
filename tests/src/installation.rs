//! What a process does before it works: it reads its settings, and looks whether the database is fit for it.

mod restored;
mod schema;
mod settings;

use std::{path::PathBuf, process::Command};

use serde_json::json;

use crate::{Cluster, database::variable};

/// The processes' words in stderr are one line.
fn one_line(said: &str) -> &str {
    let mut lines = said.lines().filter(|line| !line.is_empty());
    let line = lines.next().unwrap_or_else(|| panic!("nothing was said"));
    assert_eq!(lines.next(), None, "more than one line: {said}");
    line
}

#[tokio::test(flavor = "multi_thread")]
async fn all_processes_work_behind_a_pooler_in_session_mode() {
    let cluster = Cluster::start_behind_pgbouncer().await;
    let owner = cluster.owner().await;
    let (_, end) = owner.import("People", "name\nAda\nGrace\n").await;
    assert_eq!(end["status"], "COMPLETED");
    let settings = "select count(distinct name)::bigint from pg_stat_activity, lateral (select application_name as name) a
                     where datname = current_database() and application_name in ('millrace', 'millrace leader')";
    assert_eq!(cluster.number(settings).await, 2, "the connections tell what they are");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_compile_no_plans_whatever_the_server_is_set_to() {
    let app = crate::TestApp::start().await;
    let own =
        "select count(*) from pg_settings where name = 'jit' and setting = 'off' and source = 'session'";
    assert_eq!(app.count(own).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_of_the_api_knows_the_kinds_of_job_of_all_areas() {
    domain_jobs::install_kinds();
    let cluster = Cluster::start().await;
    for kind in jobs::kinds::all() {
        cluster.operator().post("/pauses", json!({ "kind": kind.name })).await.expect(201);
    }
    assert_eq!(cluster.operator().post("/pauses", json!({ "kind": "records.none" })).await.status, 422);
}

#[test]
fn a_program_lists_the_kinds_with_their_policies_without_any_configuration() {
    domain_jobs::install_kinds();
    let program = PathBuf::from(variable("MILLRACE_BIN")).join("all-workers");
    let listed = Command::new(program).arg("--kinds").env_clear().output().unwrap();
    assert!(listed.status.success() && listed.stderr.is_empty(), "{listed:?}");
    let listed = String::from_utf8(listed.stdout).unwrap();
    let rows: Vec<_> = listed.lines().skip(2).collect();
    assert_eq!(rows.len(), jobs::kinds::all().len(), "{listed}");
    let import = "| `records.import` | imports | 8 | 5 s, doubling to 300 s | 21600 s | yes | 5 | – |";
    let mail =
        "| `mail.send` | deliveries | 15 | 10 s, doubling to 3600 s | 60 s | no | 5 | `text`, `html` |";
    let sweep = "| `uploads.sweep` | maintenance | 1 | – | 300 s | no | 5 | – |";
    for row in [import, mail, sweep] {
        assert!(rows.contains(&row), "{row}\nis not in\n{listed}");
    }
}
