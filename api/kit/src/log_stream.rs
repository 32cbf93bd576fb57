//! Log streams: Server-Sent Events of one job's log, oldest line first, each with its id as id.
//!
//! A returning client gets the lines after its `Last-Event-ID`. The ledger is the truth: lines are
//! read from there, once for each notification. After the job's end an event has its status, and the
//! stream closes; a client that reconnects after that receives 204.

use std::fmt::Write;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use jobs::{
    JobId,
    control::{self, LogLine},
    watch::{LogWatch, Status, Subscription},
};
use poem::{IntoResponse, Response};
use poem_openapi::{
    ApiResponse, Object,
    registry::{MetaResponses, Registry},
    types::Type,
};
use serde_json::json;

use crate::{
    Admitted, ApiError, App,
    sse::{HEARTBEAT, meta_of_stream, rendered, respond, retry_hint},
};

/// Number of lines in one read.
const PAGE: i64 = 500;

/// A line of a job's log.
#[derive(Debug, Clone, Object)]
pub struct JobLogLine {
    /// Line id; increasing. The value of `after` for further lines.
    id: i64,
    /// Time of storage.
    at: DateTime<Utc>,
    /// Number of the attempt.
    attempt: i32,
    /// Level: `debug`, `info`, `warn` or `error`.
    level: String,
    /// Text of the line.
    message: String,
}

impl From<LogLine> for JobLogLine {
    fn from(line: LogLine) -> Self {
        let LogLine { id, at, attempt, level, message } = line;
        Self { id, at, attempt, level, message }
    }
}

/// Lines of a job's log.
#[derive(Debug, Clone, Object)]
pub struct JobLog {
    /// Oldest first.
    items: Vec<JobLogLine>,
}

impl JobLog {
    /// These lines.
    pub(crate) fn new(lines: Vec<LogLine>) -> Self {
        Self { items: lines.into_iter().map(JobLogLine::from).collect() }
    }
}

/// The answer of a log stream: lines, or 204 for a client that has received the end.
pub struct LogStream(Option<BoxStream<'static, Bytes>>);

impl LogStream {
    /// Opens the stream of a job's log after the line `after`.
    ///
    /// # Errors
    /// 404 when there is no such job.
    pub(crate) async fn open(
        app: &App,
        admitted: Admitted,
        job: JobId,
        after: Option<i64>,
    ) -> Result<Self, ApiError> {
        // Subscribe first, then read the state, so that no line is missed.
        let (grown, events) = (app.hub.watch_log(job), app.hub.watch(job));
        let status = app.hub.snapshot(job).await?.ok_or_else(ApiError::not_found)?.event.status;
        let last = after.unwrap_or(0);
        let lines = control::logs(&app.database, job, last, PAGE).await?;
        if status.is_terminal() && after.is_some() && lines.is_empty() {
            return Ok(Self(None));
        }
        let mut reader = Reader {
            app: app.clone(),
            admitted,
            job,
            grown,
            events,
            last,
            unread: true,
            end: status.is_terminal().then_some(status),
            over: false,
        };
        let begin = format!("{}{}", retry_hint(), reader.take(lines));
        let pieces = stream::once(async { Bytes::from(begin) }).chain(stream::unfold(reader, Reader::next));
        Ok(Self(Some(pieces.boxed())))
    }
}

/// One client's reading of one log.
struct Reader {
    app: App,
    admitted: Admitted,
    job: JobId,
    grown: LogWatch,
    events: Subscription,
    last: i64,
    /// Whether there may be lines after the last one.
    unread: bool,
    /// Final status of the job. All its lines were written before.
    end: Option<Status>,
    over: bool,
}

impl Reader {
    /// The next piece of the stream; `None` ends it.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        loop {
            if self.over {
                return None;
            }
            if let Some(ended) = self.admitted.why() {
                self.over = true;
                return Some((ended.event(Some(&json!(self.job))).into(), self));
            }
            if self.unread {
                // An error ends the stream: the client reconnects with its last id.
                let lines = control::logs(&self.app.database, self.job, self.last, PAGE).await.ok()?;
                let text = self.take(lines);
                if !text.is_empty() {
                    return Some((text.into(), self));
                }
            } else if let Some(status) = self.end {
                self.over = true;
                let (job, last) = (self.job, self.last);
                let end =
                    json!({ "job_id": job, "status": status, "timestamp": jobs::clock::now_in_millis() });
                return Some((Bytes::from(format!("id: {last}\ndata: {end}\n\n")), self));
            } else if let Some(beat) = self.wait().await {
                return Some((beat, self));
            }
        }
    }

    /// Waits for a notification; sends a heartbeat when there is none.
    async fn wait(&mut self) -> Option<Bytes> {
        tokio::select! {
            () = self.grown.grown() => self.unread = true,
            event = self.events.next() => match event {
                Some(event) => self.see(event.status),
                None => self.begin_again().await,
            },
            // The client receives the reason; without one it reconnects with its last id, to another process.
            () = self.admitted.over() => self.over = self.admitted.why().is_none(),
            () = tokio::time::sleep(HEARTBEAT) => {
                let (job, now) = (self.job, jobs::clock::now_in_millis());
                let beat = json!({ "job_id": job, "status": "HEARTBEAT", "timestamp": now });
                return Some(Bytes::from(format!("data: {beat}\n\n")));
            }
        }
        None
    }

    /// For a reader that has fallen behind its job's events.
    async fn begin_again(&mut self) {
        self.events = self.app.hub.watch(self.job);
        match self.app.hub.snapshot(self.job).await {
            Ok(Some(snapshot)) => self.see(snapshot.event.status),
            // Deleted, or the ledger is unreachable: the client reconnects with its last id.
            Ok(None) | Err(_) => self.over = true,
        }
    }

    fn see(&mut self, status: Status) {
        if status.is_terminal() {
            self.end = Some(status);
            self.unread = true;
        }
    }

    /// Lines as events.
    fn take(&mut self, lines: Vec<LogLine>) -> String {
        self.unread = i64::try_from(lines.len()) == Ok(PAGE);
        let mut text = String::new();
        for line in lines {
            self.last = line.id;
            let json = rendered(&JobLogLine::from(line));
            // Writing to a string doesn't fail.
            let _ = write!(text, "id: {}\ndata: {json}\n\n", self.last);
        }
        text
    }
}

impl IntoResponse for LogStream {
    fn into_response(self) -> Response {
        respond(self.0)
    }
}

impl ApiResponse for LogStream {
    fn meta() -> MetaResponses {
        meta_of_stream(JobLogLine::schema_ref(), "Unnamed events, each a line, until the job ends")
    }

    fn register(registry: &mut Registry) {
        JobLogLine::register(registry);
    }
}
