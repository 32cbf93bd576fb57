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
async fn a_variable_that_is_no_text_is_told_by_its_name() {
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
    assert!(one_line(&said).starts_with("STORAGE_URL: the file store can't be written to"), "{said}");

    // Whatever LOG lets through.
    let nobody = format!("redis://127.0.0.1:{}/0", crate::cluster::free_port());
    let (code, said) = cluster.run_to_end("scheduler", &[], &[("LOG", "off"), ("REDIS_URL", &nobody)]);
    assert_eq!(code, 1, "{said}");
    assert!(one_line(&said).starts_with("cannot start: Redis: "), "{said}");
}
