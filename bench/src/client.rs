//! A client of the API, as far as the measurements need one.

use std::{path::Path, time::Duration};

use reqwest::{RequestBuilder, multipart};
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{Failure, variable};

/// Password of all users.
pub const PASSWORD: &str = "correct horse battery staple";

/// A user with a workspace.
pub struct Client {
    base: String,
    http: reqwest::Client,
    token: String,
    /// Email address.
    pub email: String,
    /// Workspace id.
    pub workspace: String,
}

impl Client {
    /// Signs up, once the API is ready. From then on rate limits are not reached.
    pub async fn sign_up() -> Result<Self, Failure> {
        let base = base(&variable("PORT")?);
        let http = reqwest::Client::new();
        ready(&http, &base).await?;
        let email = format!("bench.{}@example.com", Uuid::now_v7().simple());
        let body = json!({
            "email": email,
            "password": PASSWORD,
            "full_name": "Bench",
            "company_name": "Bench",
        });
        let answer = read(http.post(format!("{base}/api/v1/auth/signup")).json(&body)).await?;
        let text =
            |name: &str| answer[name].as_str().map(str::to_owned).ok_or(format!("no {name} in {answer}"));
        Ok(Self { base, http, token: text("access_token")?, email, workspace: text("workspace_id")? })
    }

    /// The headers of every request of the user.
    pub fn header_list(&self) -> Vec<(&'static str, String)> {
        vec![("Authorization", format!("Bearer {}", self.token)), ("X-Workspace-Id", self.workspace.clone())]
    }

    /// The same, as they go over the wire.
    pub fn headers(&self) -> String {
        self.header_list()
            .iter()
            .fold(String::new(), |lines, (name, value)| lines + name + ": " + value + "\r\n")
    }

    /// POST with JSON.
    pub async fn post(&self, path: &str, body: Value) -> Result<Value, Failure> {
        read(self.prepare(self.http.post(self.url(path))).json(&body)).await
    }

    /// POST of a file as a multipart form.
    pub async fn upload(&self, path: &str, file: &Path) -> Result<Value, Failure> {
        let form = multipart::Form::new().file("file", file).await?;
        read(self.prepare(self.http.post(self.url(path))).multipart(form)).await
    }

    /// Waits for the end of a job by long polls.
    pub async fn wait_for(&self, started: &Value) -> Result<Value, Failure> {
        let url = started["status_url"].as_str().ok_or_else(|| format!("no status_url in {started}"))?;
        let mut seq = 0;
        loop {
            let path = format!("{}{url}?since={seq}&wait=30", self.base);
            let job = read(self.prepare(self.http.get(path))).await?;
            match job["status"].as_str() {
                Some("COMPLETED") => return Ok(job),
                Some("FAILED" | "CANCELLED") => return Err(format!("the job ended badly: {job}").into()),
                _ => seq = job["seq"].as_i64().unwrap_or(seq),
            }
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}/api/v1{path}", self.base)
    }

    fn prepare(&self, request: RequestBuilder) -> RequestBuilder {
        request.bearer_auth(&self.token).header("X-Workspace-Id", &self.workspace)
    }
}

fn base(port: &str) -> String {
    format!("http://127.0.0.1:{port}")
}

/// Waits until the API process at that port serves.
pub async fn ready_at(port: &str) -> Result<(), Failure> {
    ready(&reqwest::Client::new(), &base(port)).await
}

async fn ready(http: &reqwest::Client, base: &str) -> Result<(), Failure> {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !http.get(format!("{base}/ready")).send().await.is_ok_and(|answer| answer.status().is_success()) {
        if Instant::now() > deadline {
            return Err("the API is not ready after 30 s".into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// The answer's JSON, if it is a good one.
pub async fn read(request: RequestBuilder) -> Result<Value, Failure> {
    let answer = request.send().await?;
    let (status, text) = (answer.status(), answer.text().await?);
    if !status.is_success() {
        return Err(format!("{status}: {text}").into());
    }
    Ok(serde_json::from_str(&text)?)
}
