//! A person with a browser: requests with their token and workspace, and what came back.

use reqwest::{Method, RequestBuilder, multipart};
use serde_json::{Value, json};

use crate::{EventReader, documented, events::Seen};

/// Sends requests as one person in one workspace.
#[derive(Clone, Debug)]
pub struct Client {
    base: String,
    /// Base of relative paths.
    root: &'static str,
    http: reqwest::Client,
    /// Their access token.
    pub token: Option<String>,
    /// Their refresh token.
    pub refresh_token: Option<String>,
    /// The workspace that they work in.
    pub workspace: Option<String>,
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: reqwest::header::HeaderMap,
    /// The body.
    pub text: String,
    /// How errors of what was asked look.
    form: Form,
}

/// How errors look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `{"error", "detail"}`, of the Workspace API, the Token API and the operators' routes.
    Plain,
    /// `{"success": false, "error": {"code", "message"}, "request_id"}`, of the Platform API and what belongs to none.
    Envelope,
}

impl Form {
    fn of(path: &str) -> Self {
        let plain = ["/api", "/api/", "/ops", "/ops/"];
        let is_plain =
            plain.iter().any(|root| path == *root || root.ends_with('/') && path.starts_with(root));
        if is_plain || ["/v1/me", "/v1/books"].contains(&path) { Self::Plain } else { Self::Envelope }
    }

    /// The code of an error, if it has this form.
    fn find_code(self, error: &Value) -> Option<&str> {
        match self {
            Self::Plain => error["error"].as_str(),
            Self::Envelope => error["error"]["code"].as_str(),
        }
    }

    /// The code of an error, which has this form and nothing beside it.
    #[track_caller]
    fn code_of(self, error: &Value, status: u16) -> String {
        let (inner, text, allowed) = match self {
            Self::Plain => (error, "detail", ["error", "detail", "fields", "request_id"]),
            Self::Envelope => {
                let members: Vec<_> = error.as_object().expect("an error is an object").keys().collect();
                assert_eq!(members, ["error", "request_id", "success"], "{error}");
                assert_eq!(error["success"], false, "{error}");
                assert!(error["request_id"].is_string(), "{error}");
                (&error["error"], "message", ["code", "message", "fields", "fields"])
            }
        };
        let members = inner.as_object().unwrap_or_else(|| panic!("an error is an object: {error}"));
        assert!(members.keys().all(|member| allowed.contains(&member.as_str())), "{error}");
        assert!(inner[text].as_str().is_some_and(|text| !text.is_empty()), "{error}");
        assert!(inner["fields"].is_null() || status == 422, "only what is invalid has fields: {error}");
        assert!(inner["request_id"].is_null() || status == 500, "only a fault shows its request: {error}");
        let code = inner[allowed[0]].as_str().unwrap_or_else(|| panic!("an error has a code: {error}"));
        code.to_owned()
    }
}

impl Reply {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {} {}", self.status, self.text))
    }

    /// The body, if the status is that.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        if self.text.is_empty() { Value::Null } else { self.json() }
    }

    /// The error's code, if the status is that, in the form of the surface that was asked.
    #[track_caller]
    pub fn error(self, status: u16) -> String {
        let form = self.form;
        form.code_of(&self.expect(status), status)
    }

    /// The code of an error, likewise; none for what is no error.
    #[track_caller]
    pub fn code(&self) -> Option<String> {
        (self.status >= 400).then(|| self.form.code_of(&self.json(), self.status))
    }
}

impl Client {
    /// No credential yet.
    pub fn anonymous(base: &str) -> Self {
        Self {
            base: base.to_owned(),
            root: "/api/v1",
            http: reqwest::Client::new(),
            token: None,
            refresh_token: None,
            workspace: None,
        }
    }

    /// A client with the operator's token; paths are below `/ops`.
    pub fn operator(base: &str, token: &str) -> Self {
        Self { root: "/ops", token: Some(token.to_owned()), ..Self::anonymous(base) }
    }

    /// The same person with the tokens and workspace of an answer that has them.
    #[must_use]
    pub fn signed_in(mut self, answer: &Value) -> Self {
        let text = |name: &str| answer[name].as_str().map(str::to_owned);
        self.token = text("access_token");
        self.refresh_token = text("refresh_token");
        self.workspace = text("workspace_id").or(self.workspace);
        self
    }

    /// The same person with another token, or none.
    #[must_use]
    pub fn with_token(&self, token: Option<&str>) -> Self {
        Self { token: token.map(str::to_owned), ..self.clone() }
    }

    /// The same person, naming another workspace, or none.
    #[must_use]
    pub fn in_workspace(&self, workspace: Option<&str>) -> Self {
        Self { workspace: workspace.map(str::to_owned), ..self.clone() }
    }

    /// A request; paths are below `/api/v1` (the operator's: `/ops`) unless they begin with it or are the
    /// Platform API's.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let elsewhere = ["/api/", "/v1", "/docs", "/health", "/ready", "/metrics", "/ops/", "/webhooks/"];
        let path = if path == "/" || elsewhere.iter().any(|prefix| path.starts_with(prefix)) {
            path.to_owned()
        } else {
            format!("{}{path}", self.root)
        };
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(workspace) = &self.workspace {
            request = request.header("X-Workspace-Id", workspace);
        }
        request
    }

    /// GET
    pub async fn get(&self, path: &str) -> Reply {
        send(self.request(Method::GET, path)).await
    }

    /// The items of a list.
    pub async fn items(&self, path: &str) -> Value {
        let list = self.get(path).await.expect(200);
        assert!(list["items"].is_array(), "{path} is a list: {list}");
        list["items"].clone()
    }

    /// POST with JSON, and with a key of its own, as careful clients send it.
    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.post_with_key(path, body, &uuid::Uuid::now_v7().to_string()).await
    }

    /// POST with JSON and no key.
    pub async fn post_without_key(&self, path: &str, body: Value) -> Reply {
        send(self.request(Method::POST, path).json(&body)).await
    }

    /// POST with JSON and that `Idempotency-Key`.
    pub async fn post_with_key(&self, path: &str, body: Value, key: &str) -> Reply {
        send(self.request(Method::POST, path).header("Idempotency-Key", key).json(&body)).await
    }

    /// The same, where the API may be away: none when it doesn't answer.
    pub async fn try_post_with_key(&self, path: &str, body: &Value, key: &str) -> Option<Reply> {
        let request = self.request(Method::POST, path).header("Idempotency-Key", key).json(body);
        let response = request.send().await.ok()?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let form = Form::of(response.url().path());
        Some(Reply { status, headers, text: response.text().await.ok()?, form })
    }

    /// PUT with JSON.
    pub async fn put(&self, path: &str, body: Value) -> Reply {
        send(self.request(Method::PUT, path).json(&body)).await
    }

    /// PATCH with JSON.
    pub async fn patch(&self, path: &str, body: Value) -> Reply {
        send(self.request(Method::PATCH, path).json(&body)).await
    }

    /// DELETE
    pub async fn delete(&self, path: &str) -> Reply {
        send(self.request(Method::DELETE, path)).await
    }

    /// Creates something in a collection, and answers its path and what it is.
    pub async fn create(&self, collection: &str, body: Value) -> (String, Value) {
        let created = self.post(collection, body).await.expect(201);
        let id = created["id"].as_str().expect("what is created has an id");
        (format!("{collection}/{id}"), created)
    }

    /// Checks that to this person nothing is there, whatever they try: looking, deleting, or changing it by a
    /// valid body (by PUT or PATCH, whichever the path takes).
    pub async fn finds_nothing_at(&self, path: &str, body: Value) {
        assert_eq!(self.get(path).await.error(404), "record_not_found", "GET {path}");
        let (put, patch) = (self.put(path, body.clone()).await, self.patch(path, body).await);
        let changes: Vec<_> = [put, patch].into_iter().filter(|reply| reply.status != 405).collect();
        assert_eq!(changes.len(), 1, "PUT or PATCH {path}");
        for reply in changes.into_iter().chain([self.delete(path).await]) {
            assert_eq!(reply.error(404), "record_not_found", "{path}");
        }
    }

    /// POST of a file as a multipart form.
    pub async fn upload(&self, path: &str, name: &str, bytes: impl Into<Vec<u8>>) -> Reply {
        let part = multipart::Part::bytes(bytes.into()).file_name(name.to_owned());
        let form = multipart::Form::new().part("file", part);
        send(self.request(Method::POST, path).multipart(form)).await
    }

    /// Opens a stream of events; `last_event_id` resumes.
    pub async fn events(&self, path: &str, last_event_id: Option<i64>) -> EventReader {
        let mut request = self.request(Method::GET, path);
        if let Some(id) = last_event_id {
            request = request.header("Last-Event-ID", id);
        }
        EventReader::new(request.send().await.expect("the API answers"))
    }

    /// Goes on with a stream after an id, as it came.
    pub async fn events_after(&self, path: &str, id: &str) -> EventReader {
        let request = self.request(Method::GET, path).header("Last-Event-ID", id);
        EventReader::new(request.send().await.expect("the API answers"))
    }

    /// Goes on reading a stream after what was seen of it, unless the API is down just now.
    pub async fn events_if_up(&self, path: &str, seen: Seen) -> Option<EventReader> {
        let mut request = self.request(Method::GET, path);
        if seen.last > 0 {
            request = request.header("Last-Event-ID", seen.last);
        }
        let answer = request.send().await.ok().filter(|answer| answer.status() == 200)?;
        Some(EventReader::going_on(answer, seen))
    }

    /// Follows a job to its end by its stream, checking the rules of every stream on the way.
    pub async fn follow(&self, started: &Value) -> Value {
        let url = started["stream_url"].as_str().expect("an answer that starts a job has a stream_url");
        self.events(url, None).await.to_the_end().await
    }

    /// Uploads a CSV, imports it into a new recordset, and follows the job to its end.
    pub async fn import(&self, name: &str, csv: impl Into<Vec<u8>>) -> (Value, Value) {
        let upload = self.upload("/recordsets/import/upload", "data.csv", csv).await.expect(201);
        let started = self
            .post("/recordsets/import", json!({ "file_uri": upload["file_uri"], "name": name }))
            .await
            .expect(202);
        let end = self.follow(&started).await;
        (started["recordset"].clone(), end)
    }
}

/// Sends a request as it is.
pub async fn send(request: RequestBuilder) -> Reply {
    let (http, request) = request.build_split();
    let request = request.expect("a request can be made");
    let method = request.method().clone();
    let mut response = http.execute(request).await.expect("the API answers");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let path = response.url().path().to_owned();
    let form = Form::of(&path);
    let is_stream = headers.get("Content-Type").is_some_and(|kind| kind == "text/event-stream");
    if !is_stream {
        let reply = Reply { status, headers, text: response.text().await.expect("a body can be read"), form };
        let error = serde_json::from_str(&reply.text).ok().filter(|_| status >= 400);
        if let Some(code) = error.as_ref().and_then(|error| form.find_code(error)) {
            documented::check(&method, &path, status, code);
        }
        return reply;
    }
    // A stream may have no end: what comes without a pause is its body.
    let mut body = Vec::new();
    let pause = std::time::Duration::from_secs(2);
    while let Ok(Some(piece)) =
        tokio::time::timeout(pause, response.chunk()).await.map(|piece| piece.expect("a body can be read"))
    {
        body.extend_from_slice(&piece);
    }
    Reply { status, headers, text: String::from_utf8(body).expect("a stream is text"), form }
}
