//! Job streams: Server-Sent Events of one job, by the rules that hold for every such route.
//!
//! A new client gets the snapshot, or with `since=0` all that is kept; one that comes back gets what
//! came after its `Last-Event-ID`, or an explicit `gap` and a fresh snapshot where that is gone. The
//! stream closes after the last event; whoever comes back after that is told so by 204.

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

/// How often a quiet stream says that it is alive.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a browser waits before it connects again, in milliseconds. Each is told another time, so
/// that those whose streams broke off together don't come back together.
const RETRY: std::ops::RangeInclusive<u32> = 1000..=4000;

/// Turns an event into what this route's clients see. None where that can't be said now: the stream ends
/// before the event, and the client comes back for it with the id of the one before.
pub type Shape = Arc<dyn Fn(Event) -> BoxFuture<'static, Option<Value>> + Send + Sync>;

/// An event as a surface shows it.
pub trait ShownEvent: From<Event> + ToJSON + 'static {
    /// The job's id as the surface shows it, for what is no event.
    fn job_id(job: JobId) -> Value;
}

impl ShownEvent for Event {
    fn job_id(job: JobId) -> Value {
        json!(job)
    }
}

/// Where a client's reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the job's newest event.
    Snapshot,
    /// At the oldest event that is kept.
    All,
    /// After the event of that number, which the client has seen.
    After(i64),
}

impl Start {
    /// What a request asks for: `Last-Event-ID` wins over `since`, and a value that is not ours counts
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

/// What tells a browser how long to wait.
pub(crate) fn retry_hint() -> String {
    format!("retry: {}\n\n", rand::rng().random_range(RETRY))
}

/// The answer of a stream route: events, or 204 for a client that has seen the end.
pub struct JobStream<E = Event>(Option<BoxStream<'static, Bytes>>, PhantomData<fn() -> E>);

impl<E: ShownEvent> JobStream<E> {
    /// Opens the stream of a job, if its snapshot shows one that this client may see.
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

    /// The same, of a job that goes by another name here: all that the stream says names it by that.
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

    /// The same for a caller who is admitted to what the snapshot shows, for as long as they may stay.
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
        // Watch first, then look: nothing falls between.
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
/// It is as small as it can be, and what it needs only now and then is boxed: thousands are open.
struct Reader {
    hub: Hub,
    job: JobId,
    watch: Subscription,
    /// The right to go on; none where the URL itself is the right.
    admitted: Option<Admitted>,
    /// The next thing to be said is how long to wait before coming back.
    retry: bool,
    /// What is to be sent before anything live.
    pending: VecDeque<Event>,
    /// The client has had a GAP, and the next event follows it.
    gap_sent: bool,
    last: i64,
    shape: Option<Shape>,
    /// How the surface shows the job's id, and an event that has no shape of its own.
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

    /// Queues what came after the last event that was sent, up to the snapshot.
    async fn catch_up(&mut self, snapshot: Event) {
        if snapshot.seq <= self.last {
            return;
        }
        let (mut kept, mut whole) = self.hub.history(self.job, self.last).await;
        let reached = kept.last().map_or(self.last, |event| event.seq);
        if whole && reached < snapshot.prev {
            // The ledger tells of more than the history has: events between the two may be on their way.
            tokio::time::sleep(IN_FLIGHT).await;
            (kept, whole) = self.hub.history(self.job, self.last).await;
        }
        if whole {
            self.pending.extend(kept);
        }
        self.end_with(snapshot);
    }

    /// Queues the snapshot, unless the history already reaches it.
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
                    // Without a reason, the client comes back with its last id, to another process.
                    return ended.map(|ended| (Bytes::from(ended.event(Some(&self.id))), self));
                }
            };
            match next {
                Err(_) => {
                    let beat = json!({ "job_id": self.id, "status": "HEARTBEAT", "timestamp": jobs::clock::now_in_millis() });
                    return Some((Bytes::from(format!("data: {beat}\n\n")), self));
                }
                Ok(Some(event)) if event.seq <= self.last => {}
                // A hole before this event: read what is kept, which includes it.
                Ok(Some(event)) if event.prev > self.last && self.last > 0 => {
                    Box::pin(self.catch_up(Arc::unwrap_or_clone(event))).await;
                }
                Ok(Some(event)) => self.pending.push_back(Arc::unwrap_or_clone(event)),
                // Fallen behind: begin again where this client is.
                Ok(None) => {
                    self.watch = self.hub.watch(self.job);
                    match Box::pin(self.hub.snapshot(self.job)).await {
                        Ok(Some(snapshot)) => Box::pin(self.catch_up(snapshot.event)).await,
                        // Gone, or the ledger is away: the client comes back with its last id.
                        Ok(None) | Err(_) => return None,
                    }
                }
            }
        }
    }

    /// Whether events between the last that the client has seen and this one are gone: no history has them, not even after
    /// a wait for those on their way.
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

/// Resolves when a client is to leave.
async fn dismissed(hub: &Hub, admitted: Option<&Admitted>) {
    match admitted {
        Some(admitted) => admitted.over().await,
        None => hub.closing().await,
    }
}

/// The JSON of an event, with its times as everywhere.
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

/// The answer that carries these pieces, or says that there will be no more.
pub(crate) fn respond(pieces: Option<BoxStream<'static, Bytes>>) -> Response {
    let Some(pieces) = pieces else {
        return StatusCode::NO_CONTENT.into_response();
    };
    Response::builder()
        .content_type("text/event-stream")
        .header("Cache-Control", "no-cache, no-transform")
        // nginx and its kin hold small pieces back otherwise.
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

/// How the documents describe a stream of such events.
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
            answer(StatusCode::NO_CONTENT, "The client has seen the last event", vec![]),
        ],
    }
}
