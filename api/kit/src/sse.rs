//! Job streams: Server-Sent Events of one job, by the rules of all such routes.
//!
//! A new client gets the snapshot, or with `since=0` all retained events; a returning one gets the events
//! after its `Last-Event-ID`, or an explicit `gap` and a new snapshot where those are no longer retained. The
//! stream closes after the last event; a client that reconnects after that receives 204.

use std::{collections::VecDeque, marker::PhantomData, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{
    StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use jobs::{
    JobId,
    watch::{Event, Hub, IN_FLIGHT, Snapshot, Subscription},
};
use poem::{Body, IntoResponse, Response, http::StatusCode};
use poem_openapi::{
    ApiResponse,
    registry::{MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry},
    types::ToJSON,
};
use rand::RngExt;
use serde_json::{Value, json};

use crate::{Admitted, ApiError, times};

/// Interval of heartbeats on a quiet stream.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(15);
/// Delay before a browser reconnects, in milliseconds. Random, so that
/// clients whose streams broke off together don't reconnect together.
const RETRY: std::ops::RangeInclusive<u32> = 1000..=4000;

/// Turns an event into the form of this route. None where that is impossible now: the stream ends
/// before the event, and the client reconnects with the id of the one before.
pub type Shape = Arc<dyn Fn(Event) -> BoxFuture<'static, Option<Value>> + Send + Sync>;

/// An event in the form of a surface.
pub trait ShownEvent: From<Event> + ToJSON + 'static {
    /// The job's id in the form of the surface, for control events.
    fn job_id(job: JobId) -> Value;
}

impl ShownEvent for Event {
    fn job_id(job: JobId) -> Value {
        json!(job)
    }
}

/// The start of a client's reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the job's newest event.
    Snapshot,
    /// At the oldest retained event.
    All,
    /// After the event of that number, which the client has received.
    After(i64),
}

impl Start {
    /// The start that a request asks for: `Last-Event-ID` wins over `since`, and an invalid value counts
    /// as none.
    #[must_use]
    pub fn asked(last_event_id: Option<&str>, since: Option<i64>) -> Self {
        match (last_event_id.and_then(|id| id.trim().parse().ok()), since) {
            (Some(seq), _) => Self::After(seq),
            (None, Some(seq)) if seq > 0 => Self::After(seq),
            (None, Some(_)) => Self::All,
            (None, None) => Self::Snapshot,
        }
    }
}

/// The reconnection delay for a browser.
pub(crate) fn retry_hint() -> String {
    format!("retry: {}\n\n", rand::rng().random_range(RETRY))
}

/// The answer of a stream route: events, or 204 for a client that has received the end.
pub struct JobStream<E = Event>(Option<BoxStream<'static, Bytes>>, PhantomData<fn() -> E>);

impl<E: ShownEvent> JobStream<E> {
    /// Opens the stream of a job, if this client may see its snapshot.
    ///
    /// # Errors
    /// 404 when there is no such job, and what `may_see` answers.
    pub async fn open(
        hub: &Hub,
        job: JobId,
        start: Start,
        shape: Option<Shape>,
        may_see: impl FnOnce(&Snapshot) -> Result<(), ApiError> + Send,
    ) -> Result<Self, ApiError> {
        let may_see = |job: &Snapshot| may_see(job).map(|()| None);
        Self::begin(hub, job, E::job_id(job), start, shape, may_see).await
    }

    /// The same, of a job that has another id here, which all events of the stream use.
    ///
    /// # Errors
    /// As of [`JobStream::open`].
    pub async fn open_as(
        hub: &Hub,
        job: JobId,
        name: Value,
        start: Start,
        shape: Option<Shape>,
        may_see: impl FnOnce(&Snapshot) -> Result<(), ApiError> + Send,
    ) -> Result<Self, ApiError> {
        let may_see = |job: &Snapshot| may_see(job).map(|()| None);
        Self::begin(hub, job, name, start, shape, may_see).await
    }

    /// The same for a caller who is admitted to the content of the snapshot, for as long as the admission lasts.
    pub(crate) async fn open_for(
        hub: &Hub,
        job: JobId,
        start: Start,
        admit: impl FnOnce(&Snapshot) -> Result<Admitted, ApiError> + Send,
    ) -> Result<Self, ApiError> {
        Self::begin(hub, job, E::job_id(job), start, None, |job| admit(job).map(Some)).await
    }

    async fn begin(
        hub: &Hub,
        job: JobId,
        name: Value,
        start: Start,
        shape: Option<Shape>,
        admit: impl FnOnce(&Snapshot) -> Result<Option<Admitted>, ApiError> + Send,
    ) -> Result<Self, ApiError> {
        // Subscribe first, then read the state, so that no event is missed.
        let watch = hub.watch(job);
        let snapshot = hub.snapshot(job).await?.ok_or_else(ApiError::not_found)?;
        let admitted = admit(&snapshot)?;
        let snapshot = snapshot.event;
        if let Start::After(seq) = start
            && snapshot.status.is_terminal()
            && seq >= snapshot.seq
        {
            return Ok(Self(None, PhantomData));
        }
        let mut reader = Reader::new(hub.clone(), job, watch, start, snapshot, shape).await;
        reader.admitted = admitted;
        reader.id = name;
        reader.render = |event| rendered(&E::from(event));
        Ok(Self(Some(stream::unfold(reader, Reader::next).boxed()), PhantomData))
    }
}

/// One client's reading of one job.
///
/// Kept small, with rarely needed parts boxed: thousands are open.
struct Reader {
    hub: Hub,
    job: JobId,
    watch: Subscription,
    /// The right to continue; none where the URL itself is the credential.
    admitted: Option<Admitted>,
    /// Whether the next thing to send is the delay before reconnecting.
    retry: bool,
    /// Events to send before live ones.
    pending: VecDeque<Event>,
    /// Whether a GAP was sent, and the next event follows it.
    gap_sent: bool,
    last: i64,
    shape: Option<Shape>,
    /// The job's id in the form of the surface, and the form of an event without a shape of its own.
    id: Value,
    render: fn(Event) -> String,
    over: bool,
}

impl Reader {
    async fn new(
        hub: Hub,
        job: JobId,
        watch: Subscription,
        start: Start,
        snapshot: Event,
        shape: Option<Shape>,
    ) -> Self {
        let mut reader = Self {
            hub,
            job,
            watch,
            admitted: None,
            retry: true,
            pending: VecDeque::new(),
            gap_sent: false,
            last: 0,
            shape,
            id: json!(job),
            render: |event| rendered(&event),
            over: false,
        };
        match start {
            Start::Snapshot => reader.pending.push_back(snapshot),
            Start::All => {
                let (kept, _) = reader.hub.history(job, 0).await;
                reader.pending.extend(kept);
                reader.end_with(snapshot);
            }
            Start::After(seq) => {
                reader.last = seq;
                reader.catch_up(snapshot).await;
            }
        }
        reader
    }

    /// Queues the events after the last one that was sent, up to the snapshot.
    async fn catch_up(&mut self, snapshot: Event) {
        if snapshot.seq <= self.last {
            return;
        }
        let (mut kept, mut whole) = self.hub.history(self.job, self.last).await;
        let reached = kept.last().map_or(self.last, |event| event.seq);
        if whole && reached < snapshot.prev {
            // The ledger knows more events than the history has: those between the two may be in flight.
            tokio::time::sleep(IN_FLIGHT).await;
            (kept, whole) = self.hub.history(self.job, self.last).await;
        }
        if whole {
            self.pending.extend(kept);
        }
        self.end_with(snapshot);
    }

    /// Queues the snapshot, unless the history reaches it.
    fn end_with(&mut self, snapshot: Event) {
        if self.pending.back().is_none_or(|event| event.seq < snapshot.seq) {
            self.pending.push_back(snapshot);
        }
    }

    /// The next piece of the stream; `None` ends it.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        if self.over {
            return None;
        }
        if std::mem::take(&mut self.retry) {
            return Some((Bytes::from(retry_hint()), self));
        }
        if let Some(ended) = self.admitted.as_ref().and_then(Admitted::why) {
            self.over = true;
            return Some((Bytes::from(ended.event(Some(&self.id))), self));
        }
        loop {
            while let Some(event) = self.pending.pop_front() {
                if event.seq <= self.last {
                    continue;
                }
                if self.misses_some_before(&event) && !std::mem::replace(&mut self.gap_sent, true) {
                    self.pending.push_front(event);
                    let gap = json!({ "job_id": self.id, "status": "GAP", "after": self.last });
                    return Some((Bytes::from(format!("data: {gap}\n\n")), self));
                }
                return self.send(event).await;
            }
            self.pending = VecDeque::new(); // gives its room back
            let next = tokio::select! {
                next = tokio::time::timeout(HEARTBEAT, self.watch.next()) => next,
                () = dismissed(&self.hub, self.admitted.as_ref()) => {
                    let ended = self.admitted.as_ref().and_then(Admitted::why);
                    self.over = true;
                    // Without a reason, the client reconnects with its last id, to another process.
                    return ended.map(|ended| (Bytes::from(ended.event(Some(&self.id))), self));
                }
            };
            match next {
                Err(_) => {
                    let beat = json!({ "job_id": self.id, "status": "HEARTBEAT", "timestamp": jobs::clock::now_in_millis() });
                    return Some((Bytes::from(format!("data: {beat}\n\n")), self));
                }
                Ok(Some(event)) if event.seq <= self.last => {}
                // A gap before this event: read the retained events, which include it.
                Ok(Some(event)) if event.prev > self.last && self.last > 0 => {
                    Box::pin(self.catch_up(Arc::unwrap_or_clone(event))).await;
                }
                Ok(Some(event)) => self.pending.push_back(Arc::unwrap_or_clone(event)),
                // Fallen behind: resume at this client's position.
                Ok(None) => {
                    self.watch = self.hub.watch(self.job);
                    match Box::pin(self.hub.snapshot(self.job)).await {
                        Ok(Some(snapshot)) => Box::pin(self.catch_up(snapshot.event)).await,
                        // Deleted, or the ledger is unreachable: the client reconnects with its last id.
                        Ok(None) | Err(_) => return None,
                    }
                }
            }
        }
    }

    /// Whether events between the last that the client has received and this one are lost: no history has them,
    /// not even after a wait for those in flight.
    fn misses_some_before(&self, event: &Event) -> bool {
        self.last > 0 && (event.prev > self.last || event.prev == 0)
    }

    async fn send(mut self, event: Event) -> Option<(Bytes, Self)> {
        self.last = event.seq;
        self.gap_sent = false;
        self.over = event.status.is_terminal();
        let seq = event.seq;
        let data = match &self.shape {
            Some(shape) => rendered(&shape(event).await?),
            None => (self.render)(event),
        };
        Some((Bytes::from(format!("id: {seq}\ndata: {data}\n\n")), self))
    }
}

/// Resolves when the stream of a client must end.
async fn dismissed(hub: &Hub, admitted: Option<&Admitted>) {
    match admitted {
        Some(admitted) => admitted.over().await,
        None => hub.closing().await,
    }
}

/// The JSON of an event, with times in the common form.
pub(crate) fn rendered(event: &impl ToJSON) -> String {
    let mut event = event.to_json().unwrap_or_default();
    times::tidy_event(&mut event);
    event.to_string()
}

impl<E: Send> IntoResponse for JobStream<E> {
    fn into_response(self) -> Response {
        respond(self.0)
    }
}

/// The answer with these pieces, or 204 if there will be no more.
pub(crate) fn respond(pieces: Option<BoxStream<'static, Bytes>>) -> Response {
    let Some(pieces) = pieces else {
        return StatusCode::NO_CONTENT.into_response();
    };
    Response::builder()
        .content_type("text/event-stream")
        .header("Cache-Control", "no-cache, no-transform")
        // nginx and similar proxies buffer the response otherwise.
        .header("X-Accel-Buffering", "no")
        .body(Body::from_bytes_stream(pieces.map(Ok::<_, std::io::Error>)))
}

impl<E: ShownEvent + Send> ApiResponse for JobStream<E> {
    fn meta() -> MetaResponses {
        meta_of_stream(E::schema_ref(), "Unnamed events, until the job's last")
    }

    fn register(registry: &mut Registry) {
        E::register(registry);
    }
}

/// The documentation of a stream of such events.
pub(crate) fn meta_of_stream(event: MetaSchemaRef, description: &'static str) -> MetaResponses {
    let events = MetaMediaType {
        content_type: "text/event-stream",
        schema: MetaSchemaRef::Inline(Box::new(MetaSchema {
            items: Some(Box::new(event)),
            ..MetaSchema::new_with_format("array", "event-stream")
        })),
    };
    let answer = |status: StatusCode, description, content| MetaResponse {
        description,
        status: Some(status.as_u16()),
        status_range: None,
        content,
        headers: vec![],
    };
    MetaResponses {
        responses: vec![
            answer(StatusCode::OK, description, vec![events]),
            answer(StatusCode::NO_CONTENT, "The client has received the last event", vec![]),
        ],
    }
}
