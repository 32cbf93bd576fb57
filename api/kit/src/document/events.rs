//! Streams as they are sent. A media type has one schema, so `text/event-stream` has that of the JSON in one event's
//! `data:`: an event of the stream's subject, or one of the control events, distinguished by `status`.

use serde_json::{Map, Value, json};

const STREAM: &str = "text/event-stream";
const SCHEMAS: &str = "#/components/schemas/";

/// Replaces each list of events by one event.
pub(super) fn describe(document: &mut Value) {
    let mut made = Map::new();
    for operation in super::operations_mut(document) {
        let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
        for (_, response) in operation["responses"].as_object_mut().into_iter().flatten() {
            let Some(media) = response.get_mut("content").and_then(|content| content.get_mut(STREAM)) else {
                continue;
            };
            let items = media["schema"]["items"].clone();
            let Some(event) = items["$ref"].as_str().and_then(|target| target.strip_prefix(SCHEMAS)) else {
                continue;
            };
            let name = format!("{event}Message");
            let is_log = event.contains("LogLine");
            let second = if is_log { "LogEnd" } else { "StreamGap" };
            let ways: Vec<_> = [event, "StreamHeartbeat", second, "StreamClosed"]
                .iter()
                .map(|way| json!({ "$ref": format!("{SCHEMAS}{way}") }))
                .collect();
            made.insert(
                name.clone(),
                json!({ "description": "JSON of one event's `data:`; `status` distinguishes the kinds.", "oneOf": ways }),
            );
            made.extend(notices(is_log));
            *media = json!({ "schema": { "$ref": format!("{SCHEMAS}{name}") }, "examples": examples(&id, is_log) });
        }
    }
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        schemas.extend(made);
    }
}

fn notices(is_log: bool) -> Map<String, Value> {
    let job = json!({
        "type": "string",
        "description": "Job id, as the stream's events show it; absent in a stream of several jobs.",
    });
    let time = json!({ "type": "string", "format": "date-time", "description": "Time of sending." });
    let status = |value: &str, description: &str| json!({ "type": "string", "enum": [value], "description": description });
    let mut all = Map::new();
    all.insert(
        "StreamHeartbeat".to_owned(),
        json!({
            "type": "object",
            "description": "Heartbeat after 15 s without an event; has no `id:`.",
            "required": ["status", "timestamp"],
            "properties": {
                "job_id": job, "status": status("HEARTBEAT", "Always `HEARTBEAT`."), "timestamp": time,
            },
        }),
    );
    all.insert(
        "StreamClosed".to_owned(),
        json!({
            "type": "object",
            "description": "Last event of a stream that the server ends because the caller may read it no longer: \
                            close the `EventSource`, which would connect again.",
            "required": ["status", "reason"],
            "properties": {
                "job_id": job, "status": status("CLOSED", "Always `CLOSED`."),
                "reason": { "type": "string", "description": "Reason for the end of the stream." },
                "timestamp": time,
            },
        }),
    );
    if is_log {
        all.insert(
            "LogEnd".to_owned(),
            json!({
                "type": "object",
                "description": "Last event of a log: the job has ended. Its `id:` is that of the last line.",
                "required": ["job_id", "status", "timestamp"],
                "properties": {
                    "job_id": job,
                    "status": { "$ref": format!("{SCHEMAS}JobStatus"), "description": "Final status of the job." },
                    "timestamp": time,
                },
            }),
        );
    } else {
        all.insert(
            "StreamGap".to_owned(),
            json!({
                "type": "object",
                "description": "Events after `after` are no longer retained; the newest event follows.",
                "required": ["status", "after"],
                "properties": {
                    "job_id": job, "status": status("GAP", "Always `GAP`."),
                    "after": {
                        "type": "integer", "format": "int64", "description": "Last `seq` that the client has received.",
                    },
                },
            }),
        );
    }
    all
}

/// Two example events of a stream.
fn examples(operation: &str, is_log: bool) -> Value {
    let job = "01a20189-3c1e-7510-aa72-0a8fa32945d6";
    let at = "2026-11-29T12:00:00.000Z";
    let heartbeat = json!({ "value": { "job_id": job, "status": "HEARTBEAT", "timestamp": at } });
    if is_log {
        let line = json!({ "id": 17, "at": at, "attempt": 1, "level": "info", "message": "1,000 rows read" });
        return json!({ "line": { "value": line }, "heartbeat": heartbeat });
    }
    // Events of other streams have more members than a job's event.
    if !operation.ends_with("stream_job") {
        return json!({ "heartbeat": heartbeat });
    }
    let event = json!({
        "job_id": job, "status": "RUNNING", "progress": 42, "current_step": "Writing records", "attempt": 1,
        "counts": { "done": 420, "failed": 0, "skipped": 0, "total": 1000 }, "rate": 210.5, "eta_seconds": 3,
        "cancel_requested": false, "timestamp": at, "seq": 2_097_155, "prev": 2_097_154,
    });
    json!({ "running": { "value": event }, "heartbeat": heartbeat })
}
