//! Processes started from the examples in `ops/`, with what these give them and nothing else.

use std::{
    collections::HashMap,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use poem::{
    Route, Server,
    endpoint::make_sync,
    http::StatusCode,
    listener::{Acceptor, Listener, TcpListener},
};
use serde_json::{Value, json};

use super::{read, root};
use crate::{Cluster, database::variable};

/// Prints a YAML file as JSON, its anchors and merges resolved.
const AS_JSON: &str =
    "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1])), default=str))";

fn yaml(path: &str) -> Value {
    let output = Command::new(variable("MILLRACE_PYTHON"))
        .args(["-c", AS_JSON])
        .arg(root().join(path))
        .output()
        .expect("script/python has made the environment");
    assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("the script prints JSON")
}

/// What Compose puts in place of `${NAME}`, `${NAME:?}` and `${NAME:-default}`.
fn interpolated(text: &str, values: &HashMap<&str, String>) -> String {
    let Some((before, rest)) = text.split_once("${") else { return text.to_owned() };
    let (inner, after) = rest.split_once('}').expect("a closed brace");
    let name = inner.split(':').next().expect("a name");
    let value = match (values.get(name), inner.strip_prefix(name).expect("its beginning")) {
        (Some(value), _) => value.as_str(),
        (None, ":?") => panic!("{name} is needed and not in .env.example"),
        (None, default) => default.strip_prefix(":-").unwrap_or_default(),
    };
    format!("{before}{value}{}", interpolated(after, values))
}

/// Takes webhooks; reports whether the last one was signed.
async fn receiver() -> (String, Arc<AtomicBool>) {
    let signed = Arc::new(AtomicBool::new(false));
    let seen = signed.clone();
    let endpoint = make_sync(move |request| {
        seen.store(request.header("webhook-signature").is_some(), Ordering::SeqCst);
        StatusCode::OK
    });
    let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await.expect("a free port");
    let port = acceptor.local_addr().remove(0).as_socket_addr().expect("an address").port();
    tokio::spawn(Server::new_with_acceptor(acceptor).run(Route::new().at("/hook", endpoint)));
    (format!("http://127.0.0.1:{port}/hook"), signed)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_compose_files_environments_are_enough_for_each_process() {
    let mut cluster = Cluster::prepare_only().await;
    // The values that an operator fills in after copying .env.example.
    let filled: HashMap<&str, String> = HashMap::from([
        ("POSTGRES_PASSWORD", "x".to_owned()),
        ("REDIS_PASSWORD", "x".to_owned()),
        ("MILLRACE_SECRET", "a secret for tests, and for nothing else".to_owned()),
        ("JOB_ENCRYPTION_KEY", format!("test:{}", "7e".repeat(32))),
        ("OPERATOR_TOKEN", String::new()),
        ("MAIL_URL", format!("file://{}/mail", cluster.folder.path().display())),
        ("MAIL_FROM", String::new()),
        ("APP_URL", "https://app.example.com".to_owned()),
    ]);
    let told = read("ops/docker/.env.example");
    for name in filled.keys() {
        assert!(told.contains(&format!("{name}=")), ".env.example has no {name}");
    }
    let compose = yaml("ops/docker/compose.yaml");
    let ours = ["api", "scheduler", "imports", "exports", "provisioning", "deliveries", "maintenance"];
    for process in ours {
        let service = &compose["services"][process];
        assert_eq!(service["command"], json!([process]));
        let variables: Vec<(String, String)> = service["environment"]
            .as_object()
            .expect("variables")
            .iter()
            .map(|(name, value)| (name.clone(), interpolated(value.as_str().expect("text"), &filled)))
            .collect();
        cluster.start_process_from(process, &variables, &[("WEBHOOK_ALLOWED_NETWORKS", "127.0.0.0/8")]);
    }
    cluster.wait_until_ready().await;

    let owner = cluster.owner().await;
    let (_, end) = owner.import("People", "name\nAda\n").await;
    assert_eq!(end["status"], "COMPLETED", "{end}");
    // A webhook is signed with the API's secret: without it the job fails as `signing_not_configured`.
    let (url, signed) = receiver().await;
    let webhook = json!({
        "name": "Ping", "cron_expression": "0 0 1 1 *", "action_type": "webhook",
        "action_config": { "url": url, "payload": {} },
    });
    let made = owner.post("/v1/scheduled-jobs", webhook).await.expect(201);
    let path = format!("/v1/scheduled-jobs/{}/execute", made["data"]["id"].as_str().expect("an id"));
    let run = owner.post(&path, json!({})).await.expect(200);
    let end = owner.follow(&run["data"]).await;
    assert_eq!(end["status"], "COMPLETED", "{end}");
    assert!(signed.load(Ordering::SeqCst), "the receiver found a signature");
    cluster.terminate_all();
}

#[test]
fn an_instance_of_the_workers_unit_is_the_binary_of_its_pool() {
    let unit = read("ops/systemd/millrace-worker@.service");
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("what it starts");
    // As systemd reads it: `$$` and `%%` are one character each.
    let script = line.replace("$$", "$").replace("%%", "%").replace("exec ", "echo ");
    for (instance, binary) in [
        ("imports", "imports"),
        ("imports-2", "imports"),
        ("all-workers", "all-workers"),
        ("all-workers-12", "all-workers"),
    ] {
        let script = script.replace("%i", instance);
        let output = Command::new("sh").args(["-c", &script]).output().expect("sh runs");
        let path = String::from_utf8(output.stdout).expect("text");
        assert_eq!(path.trim(), format!("/usr/local/lib/millrace/{binary}"), "{instance}");
    }
}
