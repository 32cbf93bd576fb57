//! Workspaces: the doors by which one is made.

mod create;
mod provision;

use reqwest::Method;
use serde_json::Value;

use crate::{Client, Reply, client::send};

/// POST without a key: such a request waits for the workspace.
pub(crate) async fn post_and_wait(client: &Client, path: &str, body: Value) -> Reply {
    send(client.request(Method::POST, path).json(&body)).await
}
