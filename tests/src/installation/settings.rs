//! Settings that can't be right: one line that names the variable, and the code by which a supervisor knows whether
//! another start would help.

use std::{ffi::OsString, os::unix::ffi::OsStringExt};

use super::one_line;
use crate::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_makes_no_sense_is_one_line_and_code_2() {
    let cluster = Cluster::prepare_only().await;
    for (binary, name, value) in [
        ("scheduler", "DATABASE_URL", "postgres://user:hunter2@host:port/db"),
        ("scheduler", "DATABASE_URL", "host=localhost password=hunter2"),
        ("migrate", "DATABASE_URL", "hunter2"),
        ("scheduler", "REDIS_URL", "hunter2"),
        ("api", "REDIS_URL", "http://localhost"),
        ("api", "REDIS_PREFIX", "a b"),
        ("api", "DATABASE_CONNECTIONS", "0"),
        ("imports", "DATABASE_CONNECTIONS", "-1"),
        ("imports", "IMPORTS_CONCURRENCY", "0"),
        ("scheduler", "JOB_LEASE_SECONDS", "1"),
        ("imports", "SHUTDOWN_GRACE_SECONDS", "99999999999"),
        ("scheduler", "LOG", "warning"),
        ("api", "LOG", "verbose"),
        ("api", "LOG", "info,jobs=loud"),
        ("scheduler", "LOG_FORMAT", "xml"),
        ("scheduler", "METRICS_LISTEN", "9101"),
        ("api", "MILLRACE_SECRET", "short"),
    ] {
        let (code, said) = cluster.run_to_end(binary, &[], &[(name, value)]);
        let line = one_line(&said);
        assert!(line.starts_with(&format!("{name} is malformed: ")), "{binary} {name}={value}: {line}");
        assert!(!line.contains("hunter2"), "{line}");
        assert_eq!(code, 2, "{binary} {name}={value}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_that_is_not_unicode_is_refused_by_name() {
    let cluster = Cluster::prepare_only().await;
    let (code, said) = cluster.run_to_end("scheduler", &[], &[("LOG", OsString::from_vec(vec![b'i', 0xff]))]);
    assert_eq!((code, one_line(&said)), (2, "LOG is malformed: it is not UTF-8"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_there_at_the_next_start_is_code_1() {
    let cluster = Cluster::prepare_only().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, said) = cluster.run_to_end("scheduler", &[], &[("METRICS_LISTEN", &address)]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("METRICS_LISTEN: "), "{said}");

    let no_folder = format!("file://{}/not/there", cluster.folder.path().join("file").display());
    std::fs::write(cluster.folder.path().join("file"), "a file, and no folder").unwrap();
    let (code, said) = cluster.run_to_end("imports", &[], &[("STORAGE_URL", &no_folder)]);
    assert_eq!(code, 1, "{said}");
    assert!(one_line(&said).starts_with("STORAGE_URL: the file storage can't be written to"), "{said}");

    // With any value of LOG.
    let closed_port = format!("redis://127.0.0.1:{}/0", crate::cluster::free_port());
    let (code, said) = cluster.run_to_end("scheduler", &[], &[("LOG", "off"), ("REDIS_URL", &closed_port)]);
    assert_eq!(code, 1, "{said}");
    assert!(one_line(&said).starts_with("cannot start: Redis: "), "{said}");
}

/// A variable and its value.
type Set = (&'static str, &'static str);

/// Each setting, a process that reads it, a value that makes no sense, and what else must be set for it to count.
#[rustfmt::skip]
const NONSENSE: &[(&str, &str, &str, &[Set])] = &[
    ("DATABASE_URL", "api", "mysql://host/db", &[]),
    ("REDIS_URL", "api", "http://host", &[]),
    ("REDIS_TLS_CA_FILE", "api", "/no/such/file", &[]),
    ("REDIS_PREFIX", "api", "a b", &[]),
    ("DATABASE_CONNECTIONS", "api", "0", &[]),
    ("WORKSPACE_CONNECTIONS", "api", "21", &[]),
    ("LONG_READS", "api", "21", &[]),
    ("STORAGE_URL", "api", "a folder", &[]),
    ("JOB_ENCRYPTION_KEY", "api", "short", &[]),
    ("LOG", "api", "loud", &[]),
    ("LOG_FORMAT", "api", "xml", &[]),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "api", "collector", &[]),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "api", "ftp://collector", &[]),
    ("OTEL_EXPORTER_OTLP_HEADERS", "api", "name", OTLP),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", "api", "0", OTLP),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "api", "grpc", OTLP),
    ("OTEL_BSP_SCHEDULE_DELAY", "api", "0", OTLP),
    ("OTEL_TRACES_SAMPLER", "api", "sometimes", OTLP),
    ("OTEL_TRACES_SAMPLER_ARG", "api", "2", &[OTLP[0], ("OTEL_TRACES_SAMPLER", "traceidratio")]),
    ("OTEL_RESOURCE_ATTRIBUTES", "api", "name", OTLP),
    ("OTEL_TRACES_EXPORTER", "api", "zipkin", &[]),
    ("OTEL_SDK_DISABLED", "api", "maybe", &[]),
    ("MILLRACE_SECRET", "deliveries", "short", &[]),
    ("HOST", "api", "localhost:80", &[]),
    ("PORT", "api", "0", &[]),
    ("SHUTDOWN_DELAY_SECONDS", "api", "86400", &[]),
    ("OPERATOR_TOKEN", "api", "short", &[]),
    ("CLERK_SECRET", "api", "short", &[]),
    ("REGION", "api", "here and there", &[]),
    ("CORS_ORIGINS", "api", "*", &[]),
    ("APP_URL", "scheduler", "app.example.com", &[]),
    ("MAX_OWNED_WORKSPACES", "api", "-1", &[]),
    ("STRIPE_SECRET_KEY", "api", "key", &[("STRIPE_PRICES", "starter=price_1")]),
    ("STRIPE_PRICES", "api", "starter", &[]),
    ("STRIPE_TRIAL_DAYS", "api", "1000", &[]),
    ("STRIPE_WEBHOOK_SECRET", "api", "secret", &[]),
    ("STRIPE_API_URL", "api", "api.stripe.com", &[]),
    ("TRUSTED_PROXIES", "api", "10.0.0.0/33", &[]),
    ("MAX_CONNECTIONS_PER_ADDRESS", "api", "-1", &[]),
    ("MAX_UPLOAD_BYTES", "api", "0", &[]),
    ("JOB_LEASE_SECONDS", "scheduler", "1", &[]),
    ("SHUTDOWN_GRACE_SECONDS", "scheduler", "-1", &[]),
    ("JOB_MEMORY_LIMIT_MB", "imports", "1", &[]),
    ("METRICS_LISTEN", "scheduler", "9101", &[]),
    ("IMPORTS_CONCURRENCY", "imports", "0", &[]),
    ("EXPORTS_CONCURRENCY", "exports", "0", &[]),
    ("PROVISIONING_CONCURRENCY", "provisioning", "0", &[]),
    ("DELIVERIES_CONCURRENCY", "deliveries", "0", &[]),
    ("MAINTENANCE_CONCURRENCY", "maintenance", "0", &[]),
    ("MAIL_URL", "deliveries", "mail.example.com", &[]),
    ("MAIL_FROM", "deliveries", "no address", &[]),
    ("WEBHOOK_ALLOWED_NETWORKS", "deliveries", "10.0.0.0/33", &[]),
];
const OTLP: &[Set] = &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")];
/// Any text makes sense, or no process reads it.
const ANYTHING: [&str; 3] = ["OTEL_SERVICE_NAME", "MILLRACE_BIN", "MILLRACE_HOME"];

/// The settings that are described for operators.
fn described() -> Vec<&'static str> {
    let is_name = |name: &&str| !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    include_str!("../../../.env.example")
        .lines()
        .filter_map(|line| line.trim_start_matches(['#', ' ']).split_once('='))
        .map(|(name, _)| name)
        .filter(is_name)
        .collect()
}

#[test]
fn every_setting_that_is_described_has_values_that_are_refused() {
    for name in described() {
        let is_tried = NONSENSE.iter().any(|(tried, ..)| *tried == name);
        assert!(is_tried || ANYTHING.contains(&name), "{name} takes any value");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_setting_refuses_nonsense_by_its_name() {
    let cluster = Cluster::prepare_only().await;
    // One that takes the value ends at once, too.
    let no_redis = format!("redis://127.0.0.1:{}/0", crate::cluster::free_port());
    for (name, binary, value, further) in NONSENSE {
        let mut variables = vec![("REDIS_URL", no_redis.as_str())];
        variables.extend(further.iter().copied());
        variables.push((name, value));
        let (code, said) = cluster.run_to_end(binary, &[], &variables);
        let line = one_line(&said);
        assert!(line.starts_with(&format!("{name} is malformed: ")), "{binary} {name}={value}: {line}");
        assert_eq!(code, 2, "{binary} {name}={value}");
    }
}
