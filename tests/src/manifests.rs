//! What `ops/` says about the processes, held against what they are; and processes that are started from it.

mod started;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use jobs::Pool;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The names that begin with `millrace_` after that text.
fn figures_after(text: &str, before: &str) -> BTreeSet<String> {
    text.match_indices(&format!("{before}millrace_"))
        .map(|(at, _)| {
            text[at + before.len()..]
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '_')
                .collect()
        })
        .collect()
}

/// Every figure that a source file of the processes names, in a string of its own.
fn exported() -> BTreeSet<String> {
    let mut folders: Vec<_> =
        ["api", "domain", "jobs", "runtime", "workers"].map(|name| root().join(name)).into();
    let mut figures = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the sources are beside the tests") {
            let path = entry.expect("a folder can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                figures.extend(figures_after(&fs::read_to_string(&path).expect("a source is text"), "\""));
            }
        }
    }
    figures
}

/// A name as it is exported: a histogram's sum and count are its own.
fn base<'a>(name: &'a str, exported: &BTreeSet<String>) -> &'a str {
    match name.strip_suffix("_sum").or_else(|| name.strip_suffix("_count")) {
        Some(base) if exported.contains(base) => base,
        _ => name,
    }
}

/// Every query of the dashboard.
fn queries(dashboard: &Value, into: &mut String) {
    match dashboard {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(text) if name == "expr" || name == "query" || name == "definition" => {
                        *into += text;
                        *into += "\n";
                    }
                    other => queries(other, into),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| queries(item, into)),
        _ => {}
    }
}

#[test]
fn the_dashboard_and_the_alerts_name_only_figures_that_the_processes_export() {
    let exported = exported();
    assert!(exported.contains("millrace_jobs_ended_total"), "the sources are read: {exported:?}");
    let mut asked = String::new();
    queries(&serde_json::from_str(&read("ops/grafana/millrace.json")).unwrap(), &mut asked);
    for path in ["ops/prometheus/alerts.yml", "ops/kubernetes/hpa.yaml"] {
        asked += &read(path);
    }
    let own = "millrace_slots_wanted"; // what hpa.yaml calls its own query
    let unknown: Vec<_> = figures_after(&asked, "")
        .into_iter()
        .filter(|name| name != own && !exported.contains(base(name, &exported)))
        .collect();
    assert!(unknown.is_empty(), "no process exports {unknown:?}");
}

#[test]
fn every_figure_is_in_the_operators_table() {
    let told = figures_after(&read("docs/operations.md"), "`");
    let untold: Vec<_> = exported().into_iter().filter(|name| !told.contains(name)).collect();
    assert!(untold.is_empty(), "docs/operations.md doesn't name {untold:?}");
}

#[test]
fn every_pool_with_a_program_has_its_processes_in_every_example() {
    domain_jobs::install_kinds();
    let mut pools = workers::process::WITH_PROGRAMS.to_vec();
    // This one also serves the pools that have none.
    pools.push(Pool::MAINTENANCE);
    assert!(pools.iter().all(|pool| Pool::all().contains(pool)), "a program serves a pool without kinds");
    let (compose, prometheus) = (read("ops/docker/compose.yaml"), read("ops/prometheus/prometheus.yml"));
    let (workers, keda, hpa) = (
        read("ops/kubernetes/workers.yaml"),
        read("ops/kubernetes/keda.yaml"),
        read("ops/kubernetes/hpa.yaml"),
    );
    let procfile = read("Procfile");
    for pool in pools {
        assert!(
            procfile.contains(&format!("\n{pool}: $MILLRACE_BIN/{pool}\n")),
            "the Procfile has no {pool}"
        );
        assert!(compose.contains(&format!("command: [{pool}]")), "compose.yaml has no {pool}");
        assert!(prometheus.contains(pool.name()), "prometheus.yml has no {pool}");
        assert!(workers.contains(&format!("args: [{pool}]")), "workers.yaml has no {pool}");
        assert!(keda.contains(&format!("/ops/pools/{pool}/scaling")), "keda.yaml has no {pool}");
        assert!(hpa.contains(&format!("name: millrace-{pool}")), "hpa.yaml has no {pool}");
    }
}

#[test]
fn a_supervisor_waits_longer_than_a_process_takes_to_leave() {
    let key = format!("k:{}", "0".repeat(64));
    let config = workers::process::Config::read(
        &[
            ("DATABASE_URL", "postgres://x/x"),
            ("REDIS_URL", "redis://x"),
            ("JOB_ENCRYPTION_KEY", key.as_str()),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into_iter()
        .collect(),
        &[],
    );
    let grace = config.expect("the defaults are good").grace.as_secs();
    for (path, name) in [
        ("ops/systemd/millrace-worker@.service", "TimeoutStopSec="),
        ("ops/kubernetes/workers.yaml", "terminationGracePeriodSeconds: "),
        ("ops/docker/compose.yaml", "stop_grace_period: "),
    ] {
        let text = read(path);
        let mut waits = text.match_indices(name).map(|(at, _)| {
            let digits: String = text[at + name.len()..].chars().take_while(char::is_ascii_digit).collect();
            digits.parse::<u64>().expect("seconds")
        });
        assert!(text.contains(name) && waits.all(|wait| wait >= grace + 5), "{path}");
    }
}

/// The variables of an example of `.env`, those left out by a `#` included.
fn variables(example: &str) -> BTreeSet<&str> {
    let is_name = |name: &&str| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    };
    let lines = example.lines().map(|line| line.strip_prefix("# ").unwrap_or(line));
    lines.filter_map(|line| line.split_once('=')).map(|(name, _)| name).filter(is_name).collect()
}

#[test]
fn the_compose_file_passes_every_variable_that_the_processes_read() {
    let (compose, example) = (read("ops/docker/compose.yaml"), read("ops/docker/.env.example"));
    let there = read(".env.example");
    // What the file says by itself,
    let own = ["DATABASE_URL", "REDIS_URL", "STORAGE_URL", "HOST", "LOG_FORMAT", "SHUTDOWN_GRACE_SECONDS"];
    // what would need a file in the containers, or an address of its own for each of them,
    let not_here = ["REDIS_TLS_CA_FILE", "METRICS_LISTEN"];
    // and what only the scripts read.
    let of_scripts = ["MILLRACE_BIN", "MILLRACE_HOME"];
    // Of tracing, what it takes to turn it on: the rest has defaults, and belongs in an override file.
    let of_tracing = |name: &str| name.starts_with("OTEL_") && name != "OTEL_EXPORTER_OTLP_ENDPOINT";

    let variables = variables(&there);
    assert!(variables.contains("TRUSTED_PROXIES") && variables.len() > 40, "it is read: {variables:?}");
    for name in variables {
        if not_here.contains(&name) || of_scripts.contains(&name) || of_tracing(name) {
            continue;
        }
        if own.contains(&name) {
            assert!(compose.contains(&format!(" {name}: ")), "compose.yaml doesn't set {name}");
            continue;
        }
        let is_passed =
            compose.contains(&format!("${{{name}:-")) || compose.contains(&format!("${{{name}:?}}"));
        assert!(is_passed, "compose.yaml doesn't pass {name}");
        let is_told = example.lines().any(|line| line.starts_with(&format!("{name}=")));
        assert!(is_told, "the .env.example of compose.yaml doesn't tell of {name}");
    }
}
