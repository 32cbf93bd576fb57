//! The proxies' configurations in `ops/proxies`, by real nginx and HAProxy in front of a real API. Run by
//! `script/test-proxies`, which installs both.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use futures::StreamExt;
use jobs::kinds::NoOp;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};

use crate::{TestApp, cluster::wait_until, workspace::sleeper};

/// A proxy in a folder of its own; dropped, it ends.
struct Proxy {
    process: Child,
    folder: tempfile::TempDir,
    port: u16,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The configuration as it is shipped, with the test's ports and certificate.
fn configuration(name: &str, changes: &[(&str, String)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ops/proxies").join(name);
    let mut text = fs::read_to_string(path).unwrap();
    for (shipped, here) in changes {
        assert!(text.contains(shipped), "{name} has no {shipped}");
        text = text.replace(shipped, here);
    }
    text
}

fn run(program: &str, arguments: &[&str]) -> Child {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}: script/test-proxies installs it"))
}

impl Proxy {
    async fn start(name: &str, api: &str) -> Self {
        let (folder, port) = (tempfile::TempDir::new().unwrap(), free_port());
        let at = |file: &str| folder.path().join(file).display().to_string();
        let (key, certificate, config) = (at("key.pem"), at("certificate.pem"), at("proxy.conf"));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
            .args(["-keyout", &key, "-out", &certificate])
            .stderr(Stdio::null())
            .status();
        assert!(made.unwrap().success(), "openssl makes a certificate");
        let api = api.strip_prefix("http://").unwrap().to_owned();
        let process = if name == "nginx" {
            let text = configuration(
                "nginx.conf",
                &[
                    ("127.0.0.1:8080", api),
                    ("listen 443 ", format!("listen 127.0.0.1:{port} ")),
                    ("/etc/nginx/millrace.crt", certificate),
                    ("/etc/nginx/millrace.key", key),
                ],
            );
            fs::write(&config, text).unwrap();
            let settings = format!("daemon off; master_process off; pid {};", at("pid"));
            run("nginx", &["-e", "stderr", "-p", &at(""), "-c", &config, "-g", &settings])
        } else {
            let both = fs::read_to_string(&certificate).unwrap() + &fs::read_to_string(&key).unwrap();
            fs::write(at("both.pem"), both).unwrap();
            let text = configuration(
                "haproxy.cfg",
                &[
                    ("127.0.0.1:8080", api),
                    ("maxconn 8192", "maxconn 200".to_owned()),
                    ("bind :443 ", format!("bind 127.0.0.1:{port} ")),
                    ("/etc/haproxy/millrace.pem", at("both.pem")),
                ],
            );
            fs::write(&config, text).unwrap();
            run("haproxy", &["-db", "-f", &config])
        };
        let proxy = Self { process, folder, port };
        wait_until("the proxy passes requests on", || async {
            proxy.curl(&["--output", "/dev/null", "--fail"], "/ready").status().await.unwrap().success()
        })
        .await;
        proxy
    }

    /// curl by HTTP/2 over TLS, from an address that the proxy doesn't have.
    fn curl(&self, options: &[&str], path: &str) -> tokio::process::Command {
        let mut curl = tokio::process::Command::new("curl");
        curl.args(["--silent", "--no-buffer", "--insecure", "--http2", "--interface", "127.0.0.9"])
            .args(options)
            .arg(format!("https://127.0.0.1:{}{path}", self.port))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        curl
    }

    async fn answer(&self, options: &[&str], path: &str) -> String {
        let output = self.curl(options, path).output().await.unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

/// The next event's data; none at the end.
async fn next(lines: &mut Lines<BufReader<tokio::process::ChildStdout>>) -> Option<Value> {
    while let Some(line) = lines.next_line().await.unwrap() {
        if let Some(data) = line.strip_prefix("data: ") {
            return Some(serde_json::from_str(data).unwrap());
        }
    }
    None
}

async fn serves(name: &str) {
    let app = TestApp::start_with(&[("TRUSTED_PROXIES", "127.0.0.1/32")]).await;
    let owner = app.owner().await;
    let proxy = Proxy::start(name, &app.base).await;
    assert!(proxy.folder.path().exists());

    // An event comes when it is made, although the stream goes on: the job waits for the test.
    let job = sleeper(&app, &owner, NoOp { sleep_ms: 600_000, ..NoOp::default() }).await;
    let url = owner.get(&format!("/jobs/{job}")).await.expect(200)["stream_url"].as_str().unwrap().to_owned();
    let options = ["--dump-header", "/dev/stderr"];
    let mut stream =
        proxy.curl(&options, &url).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(stream.stdout.take().unwrap()).lines();
    while next(&mut lines).await.expect("the job begins")["status"] != "RUNNING" {}
    // Twice nothing but a heartbeat: half a minute without an event of the job.
    for _ in 0..2 {
        assert_eq!(next(&mut lines).await.expect("the stream goes on")["status"], "HEARTBEAT");
    }
    owner.post(&format!("/jobs/{job}/cancel"), json!({})).await.expect(200);
    let mut end = Value::Null;
    while let Some(event) = next(&mut lines).await {
        end = event;
    }
    assert_eq!(end["status"], "CANCELLED");
    let output = stream.wait_with_output().await.unwrap();
    let head = String::from_utf8_lossy(&output.stderr).to_lowercase();
    assert!(output.status.success() && head.starts_with("http/2 200"), "{head}");

    // More streams than a browser opens connections, all on the air together.
    let job = sleeper(&app, &owner, NoOp { sleep_ms: 600_000, ..NoOp::default() }).await;
    let url = owner.get(&format!("/jobs/{job}")).await.expect(200)["stream_url"].as_str().unwrap().to_owned();
    let mut open = Vec::new();
    for _ in 0..20 {
        let mut stream = proxy.curl(&[], &url).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(stream.stdout.take().unwrap()).lines();
        open.push((stream, lines));
    }
    futures::stream::iter(&mut open)
        .for_each_concurrent(None, |(_, lines)| async move {
            while next(lines).await.expect("each stream begins")["status"] != "RUNNING" {}
        })
        .await;
    drop(open);
    owner.post(&format!("/jobs/{job}/cancel"), json!({})).await.expect(200);

    // The client's address is its own, whatever it claims.
    let token = format!("Authorization: Bearer {}", owner.token.as_deref().unwrap());
    let login = json!({ "email": owner.get("/auth/me").await.expect(200)["email"],
                        "password": "correct horse battery staple" });
    let options = ["--json", &login.to_string(), "--header", "X-Forwarded-For: 203.0.113.7"];
    let signed_in: Value = serde_json::from_str(&proxy.answer(&options, "/api/v1/auth/login").await).unwrap();
    assert!(signed_in["access_token"].is_string(), "{signed_in}");
    let sessions = proxy.answer(&["--header", &token], "/api/v1/auth/sessions").await;
    let sessions: Value = serde_json::from_str(&sessions).unwrap();
    let addresses: Vec<_> = sessions["items"].as_array().unwrap().iter().map(|it| it["ip"].clone()).collect();
    assert!(
        addresses.contains(&json!("127.0.0.9")) && !addresses.contains(&json!("203.0.113.7")),
        "{addresses:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nginx: script/test-proxies"]
async fn nginx_passes_events_on_as_they_come_and_outlasts_half_a_minute_of_silence() {
    tokio::time::timeout(Duration::from_secs(180), serves("nginx")).await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs HAProxy: script/test-proxies"]
async fn haproxy_passes_events_on_as_they_come_and_outlasts_half_a_minute_of_silence() {
    tokio::time::timeout(Duration::from_secs(180), serves("haproxy")).await.expect("it ends");
}
