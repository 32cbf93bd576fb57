//! Our side: an API process of its own, a user with a workspace, and a recordset of a few columns.

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, StatusCode};
use jobs::Database;
use serde_json::{Value, json};
use uuid::Uuid;

use super::load::Target;
use crate::{
    Failure,
    client::{self, Client, PASSWORD},
    connect, generous_limits,
    process::Process,
    variable,
};

/// Who one is. Nothing is cheaper that needs a caller.
const ME: &str = "/v1/me";

/// Millrace, running.
pub struct Millrace {
    /// The database, for what is set up behind the API's back.
    pub database: Database,
    address: SocketAddr,
    client: Client,
    recordset: String,
    record: String,
    /// None while it starts again.
    api: Option<Process>,
    others: Vec<Process>,
}

/// An item of either side.
pub fn item() -> Value {
    json!({
        "name": "Ada Lovelace", "email": "ada@example.com", "city": "Reykjavík", "amount": "1234.50",
        "quantity": 7, "joined": "2026-11-22",
    })
}

impl Millrace {
    /// Starts it, signs up and creates a record. No request exceeds a limit.
    pub async fn start() -> Result<Self, Failure> {
        let database = connect().await?;
        generous_limits(&database).await?;
        let api = Process::start("api", &[])?;
        let others = ["scheduler", "provisioning", "deliveries"].map(|name| Process::start(name, &[]));
        let client = Client::sign_up().await?;
        let fields = [
            ("name", "text"),
            ("email", "email"),
            ("city", "text"),
            ("amount", "decimal"),
            ("quantity", "integer"),
            ("joined", "date"),
        ]
        .map(|(key, kind)| json!({ "key": key, "label": key, "field_type": kind }));
        let recordset = client.post("/recordsets", json!({ "name": "People", "fields": fields })).await?;
        let recordset = recordset["id"].as_str().ok_or("a recordset without an id")?.to_owned();
        let record = client.post("/records", json!({ "recordset_id": recordset, "data": item() })).await?;
        let record = record["id"].as_str().ok_or("a record without an id")?.to_owned();
        let port = variable("PORT")?.parse()?;
        let others = others.into_iter().collect::<Result<_, _>>()?;
        Ok(Self {
            database,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            client,
            recordset,
            record,
            api: Some(api),
            others,
        })
    }

    /// Signing in: mostly the hash of a password.
    pub fn login(&self) -> Target {
        let body = json!({ "email": self.client.email, "password": PASSWORD });
        self.target(Method::POST, "/api/v1/auth/login".to_owned(), StatusCode::OK, Some(body), Headers::None)
    }

    pub fn me(&self) -> Target {
        self.target(Method::GET, ME.to_owned(), StatusCode::OK, None, Headers::Own)
    }

    /// Reading one record.
    pub fn read(&self) -> Target {
        let path = format!("/api/v1/records/{}", self.record);
        self.target(Method::GET, path, StatusCode::OK, None, Headers::Own)
    }

    /// Writing one record.
    pub fn write(&self) -> Target {
        self.write_with(Headers::Own)
    }

    /// The same under a new `Idempotency-Key` each time.
    pub fn write_once(&self) -> Target {
        self.write_with(Headers::OwnAndKey)
    }

    fn write_with(&self, headers: Headers) -> Target {
        let body = json!({ "recordset_id": self.recordset, "data": item() });
        self.target(Method::POST, "/api/v1/records".to_owned(), StatusCode::CREATED, Some(body), headers)
    }

    /// A request that is refused as soon as it is known who calls: its path names no record.
    pub fn refused_when_known(&self) -> Target {
        let path = "/api/v1/records/none".to_owned();
        self.target(Method::GET, path, StatusCode::NOT_FOUND, None, Headers::Own)
    }

    /// The same without a valid credential, refused before anything is looked up.
    pub fn refused_when_unknown(&self) -> Target {
        let path = "/api/v1/records/none".to_owned();
        self.target(Method::GET, path, StatusCode::UNAUTHORIZED, None, Headers::None)
    }

    /// Starts the API process again, so that it reads its settings in the database at once.
    pub async fn restart_api(&mut self) -> Result<(), Failure> {
        self.api.take().map(Process::stop).transpose()?;
        self.api = Some(Process::start("api", &[])?);
        client::ready_at(&variable("PORT")?).await
    }

    /// Stops all processes.
    pub fn stop(self) -> Result<(), Failure> {
        self.others.into_iter().chain(self.api).try_for_each(Process::stop)
    }

    fn target(
        &self,
        method: Method,
        path: String,
        answer: StatusCode,
        body: Option<Value>,
        headers: Headers,
    ) -> Target {
        let own = match headers {
            Headers::None => vec![],
            Headers::Own | Headers::OwnAndKey => self.client.header_list(),
        };
        let body = Bytes::from(body.map(|body| body.to_string()).unwrap_or_default());
        Target::new(self.address, answer, move || {
            let mut request = Request::builder().method(&method).uri(&path).header("Host", "localhost");
            if !body.is_empty() {
                request = request.header("Content-Type", "application/json");
            }
            for (name, value) in &own {
                request = request.header(*name, value);
            }
            if matches!(headers, Headers::OwnAndKey) {
                request = request.header("Idempotency-Key", Uuid::now_v7().to_string());
            }
            request.body(Full::new(body.clone())).expect("the parts are good")
        })
    }
}

#[derive(Clone, Copy)]
enum Headers {
    None,
    Own,
    OwnAndKey,
}
