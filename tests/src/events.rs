//! A reader of Server-Sent Events that checks the rules of every stream as it reads.

use std::time::Duration;

use futures::StreamExt;
use serde_json::Value;

/// One connection to a stream.
pub struct EventReader {
    /// The status of the answer.
    pub status: u16,
    body: futures::stream::BoxStream<'static, reqwest::Result<Vec<u8>>>,
    buffer: String,
    /// The number of the last event, and its percent.
    pub last: i64,
    /// The id of the last event of a stream with other rules, as it came.
    pub id: String,
    percent: i64,
    told_of_a_gap: bool,
}

/// How far a stream was read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    /// The number of the last event.
    pub last: i64,
    percent: i64,
}

impl EventReader {
    pub(crate) fn new(response: reqwest::Response) -> Self {
        let status = response.status().as_u16();
        let body = response.bytes_stream().map(|piece| piece.map(|bytes| bytes.to_vec())).boxed();
        Self {
            status,
            body,
            buffer: String::new(),
            last: 0,
            id: String::new(),
            percent: 0,
            told_of_a_gap: false,
        }
    }

    /// A further connection of the same reader: what holds between events holds across connections.
    pub(crate) fn going_on(response: reqwest::Response, seen: Seen) -> Self {
        Self { last: seen.last, percent: seen.percent, ..Self::new(response) }
    }

    /// What a further connection has to know.
    pub fn seen(&self) -> Seen {
        Seen { last: self.last, percent: self.percent }
    }

    /// The next event that is not a heartbeat; `None` when the stream has ended.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            while let Some((block, rest)) = self.buffer.split_once("\n\n") {
                let (id, data) = parts(block);
                self.buffer = String::from(rest);
                let Some(data) = data else { continue };
                match data["status"].as_str() {
                    Some("HEARTBEAT") => assert!(id.is_none(), "a heartbeat has no id"),
                    Some("CLOSED") => {
                        assert!(id.is_none(), "what closes a stream has no id: it is no event of the job");
                        return Some(data);
                    }
                    Some("GAP") => {
                        self.told_of_a_gap = true;
                        return Some(data);
                    }
                    _ => {
                        self.check(id, &data);
                        return Some(data);
                    }
                }
            }
            let piece = tokio::time::timeout(Duration::from_secs(60), self.body.next())
                .await
                .expect("a stream says something at least every 15 s")?;
            self.buffer += &String::from_utf8_lossy(&piece.ok()?);
        }
    }

    /// The next event of a stream with other rules: its id and its data.
    pub async fn next_line(&mut self) -> Option<(Option<i64>, Value)> {
        loop {
            while let Some((block, rest)) = self.buffer.split_once("\n\n") {
                let (id, data) = parts(block);
                if let Some(id) = id_of(block) {
                    id.clone_into(&mut self.id);
                }
                self.buffer = String::from(rest);
                if let Some(data) = data.filter(|data| data["status"] != "HEARTBEAT") {
                    return Some((id, data));
                }
            }
            let piece = tokio::time::timeout(Duration::from_secs(60), self.body.next())
                .await
                .expect("a stream says something at least every 15 s")?;
            self.buffer += &String::from_utf8_lossy(&piece.ok()?);
        }
    }

    /// Reads until the stream is closed before its job's end, and answers the reason that it gives.
    pub async fn closed_for(mut self) -> String {
        assert_eq!(self.status, 200);
        let mut last = Value::Null;
        while let Some((id, event)) = self.next_line().await {
            assert!(last["status"] != "CLOSED", "nothing comes after it is closed: {event}");
            assert!(event["status"] != "CLOSED" || id.is_none(), "what closes a stream has no id");
            last = event;
        }
        assert_eq!(last["status"], "CLOSED", "{last}");
        last["reason"].as_str().expect("a stream that is closed says why").to_owned()
    }

    /// Reads to the job's last event.
    pub async fn to_the_end(mut self) -> Value {
        let mut newest = Value::Null;
        while let Some(event) = self.next().await {
            newest = event;
        }
        assert!(is_over(&newest), "the stream ended before the job did: {newest}");
        newest
    }

    fn check(&mut self, id: Option<i64>, event: &Value) {
        let seq = event["seq"].as_i64().expect("an event has a seq");
        assert_eq!(id, Some(seq), "an event's id is its seq");
        assert!(seq > self.last, "seq increases: {seq} after {}", self.last);
        assert!(
            self.last == 0
                || std::mem::take(&mut self.told_of_a_gap)
                || event["prev"].as_i64().expect("an event has prev") <= self.last,
            "nothing is missed without a word: {event} after {}",
            self.last
        );
        let percent = event["progress"].as_i64().expect("an event has a progress");
        if event["status"] == "RUNNING" || event["status"] == "COMPLETED" {
            assert!(percent >= self.percent, "percent goes back: {event}");
            self.percent = percent;
        }
        self.last = seq;
    }
}

/// Whether an event is a job's last.
pub fn is_over(event: &Value) -> bool {
    matches!(event["status"].as_str(), Some("COMPLETED" | "FAILED" | "CANCELLED"))
}

/// Every event, also one that only tells of its stream, has its time in UTC to the millisecond.
fn check_timestamp(event: &Value) {
    let Some(time) = event.get("timestamp") else { return };
    let digits = time.as_str().and_then(|time| time.strip_suffix('Z')).map(|time| time.split_once('.'));
    let is_fine =
        matches!(digits, Some(None)) || matches!(digits, Some(Some((_, digits))) if digits.len() == 3);
    assert!(is_fine, "a timestamp ends in Z and has milliseconds at the most: {event}");
}

/// The id of an event, as it came.
fn id_of(block: &str) -> Option<&str> {
    block.lines().find_map(|line| line.strip_prefix("id: "))
}

/// The number of an event, before the mark of what its reader may view, and its data.
fn parts(block: &str) -> (Option<i64>, Option<Value>) {
    let number = |id: &str| id.split('-').next().and_then(|id| id.parse().ok()).expect("an id has a number");
    let id = id_of(block).map(number);
    let mut data = None;
    for line in block.lines() {
        if let Some(text) = line.strip_prefix("data: ") {
            let event: Value = serde_json::from_str(text).expect("data is JSON");
            check_timestamp(&event);
            data = Some(event);
        }
        assert!(!line.starts_with("event:"), "events are unnamed");
    }
    (id, data)
}
