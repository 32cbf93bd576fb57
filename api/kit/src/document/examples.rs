//! Example request bodies, by operation. Linters check them against their schemas.

use serde_json::{Value, json};

const BODIES: &str = include_str!("examples.json");

/// Adds the example of each operation that has one.
///
/// # Errors
/// When the examples are not JSON, which a test detects.
pub(super) fn show(document: &mut Value) -> serde_json::Result<()> {
    let bodies: Value = serde_json::from_str(BODIES)?;
    for operation in super::operations_mut(document) {
        let id = operation["operationId"].as_str().unwrap_or_default();
        let Some(body) = bodies.get(id) else { continue };
        let content = operation.get_mut("requestBody").and_then(|request| request.get_mut("content"));
        if let Some(media) = content.and_then(|content| content.get_mut("application/json")) {
            media["examples"] = json!({ "usual": { "value": body } });
        }
    }
    Ok(())
}
