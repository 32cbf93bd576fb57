//! The stream of all jobs of a workspace: Server-Sent Events, by the rules of the stream of one job.
//!
//! A new client receives the newest unfinished jobs, then all further events. A returning client
//! receives the events after its `Last-Event-ID`, or a gap and then the same as a new client. Each
//! event shows its complete job, with the job's own `seq`, by which repeated events are recognised. The stream
//! never ends by itself. It follows the permissions of its reader: when they change, it sends a gap and
//! continues as for a new client.

mod start;

use std::{collections::VecDeque, marker::PhantomData, sync::Arc};

use bytes::Bytes;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use jobs::watch::{Event, FeedWatch, Hub, Status, Told};
use poem::{IntoResponse, Response};
use poem_openapi::{
    ApiResponse,
    registry::{MetaResponses, Registry},
    types::{ToJSON, Type},
};
use serde_json::json;
use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    Admitted, ApiError, Start,
    admissions::KindsDenied,
    sse::{HEARTBEAT, meta_of_stream, rendered, respond, retry_hint},
};
use start::View;

pub use start::JobsStart;

/// A job's event in the form of a surface.
pub trait ShownJobEvent: Type + ToJSON + 'static {
    /// An event of a job of that kind.
    fn of(kind: &str, event: Event) -> Self;
}

/// The filter of a client: events that match all that is set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobsFilter {
    /// Kind filter.
    pub kind: Option<String>,
    /// Status filter.
    pub status: Option<Status>,
}

impl JobsFilter {
    fn wants(&self, told: &Told) -> bool {
        self.kind.as_ref().is_none_or(|kind| **kind == *told.kind)
            && self.status.is_none_or(|status| status == told.event.status)
    }
}

/// The answer of the stream.
pub struct JobsStream<E>(BoxStream<'static, Bytes>, PhantomData<fn() -> E>);

impl<E: ShownJobEvent> JobsStream<E> {
    /// Opens the stream of a workspace for an admitted caller.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub(crate) async fn open(
        hub: &Hub,
        admitted: Admitted,
        workspace: Uuid,
        JobsStart { start, view }: JobsStart,
        filter: JobsFilter,
    ) -> Result<Self, ApiError> {
        let mut denied = admitted.kinds_denied();
        let own = View::without(denied.borrow_and_update().known());
        // Watch first, then look: nothing falls between.
        let mut reader = Reader {
            watch: hub.watch_workspace(workspace),
            hub: hub.clone(),
            denied,
            view: own,
            admitted,
            workspace,
            filter: (filter != JobsFilter::default()).then(|| Box::new(filter)),
            retry: true,
            gap: false,
            pending: VecDeque::new(),
            last: 0,
            render: |told| rendered(&E::of(&told.kind, told.event.clone())),
            over: false,
        };
        match start {
            Start::Snapshot => reader.begin().await?,
            Start::All => reader.resume(0, false).await?,
            Start::After(id) if view == own => reader.resume(id, false).await?,
            Start::After(id) => {
                reader.last = id;
                reader.begin_again().await?;
            }
        }
        Ok(Self(stream::unfold(reader, Reader::next).boxed(), PhantomData))
    }
}

/// One client's reading of one workspace. Kept small, since thousands may be open.
struct Reader {
    hub: Hub,
    admitted: Admitted,
    /// Job kinds that this client may not view.
    denied: watch::Receiver<KindsDenied>,
    /// Kinds that it could view at the last snapshot.
    view: View,
    workspace: Uuid,
    watch: FeedWatch,
    filter: Option<Box<JobsFilter>>,
    /// Whether the next thing to send is the delay before reconnecting.
    retry: bool,
    /// Whether missed events are no longer retained, which is sent before the rest.
    gap: bool,
    /// Events to send before live ones.
    pending: VecDeque<Arc<Told>>,
    last: i64,
    render: fn(&Told) -> String,
    over: bool,
}

impl Reader {
    /// Queues the unfinished jobs.
    async fn begin(&mut self) -> Result<(), ApiError> {
        self.pending = self.hub.live(self.workspace).await?.into();
        Ok(())
    }

    /// Continues as for a new client: it may view other jobs now, and must no longer show some of those that it has
    /// shown.
    async fn begin_again(&mut self) -> Result<(), ApiError> {
        self.gap = true;
        self.view = View::without(self.denied.borrow_and_update().known());
        self.begin().await
    }

    /// Queues the events after the given one, or a gap.
    async fn resume(&mut self, id: i64, of_this_process: bool) -> Result<(), ApiError> {
        self.last = id;
        if let Some(kept) = self.watch.kept_after(id, of_this_process) {
            self.pending = kept.into();
            return Ok(());
        }
        self.gap = true;
        self.begin().await
    }

    /// The next piece of the stream; `None` ends it.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        if self.over {
            return None;
        }
        if std::mem::take(&mut self.retry) {
            return Some((Bytes::from(retry_hint()), self));
        }
        loop {
            if let Some(ended) = self.admitted.why() {
                self.over = true;
                return Some((Bytes::from(ended.event(None)), self));
            }
            if std::mem::take(&mut self.gap) {
                let gap = json!({ "status": "GAP", "after": self.last });
                return Some((Bytes::from(format!("data: {gap}\n\n")), self));
            }
            while let Some(told) = self.pending.pop_front() {
                if let Some(piece) = self.piece(&told) {
                    return Some((piece, self));
                }
            }
            self.pending = VecDeque::new(); // gives its room back
            let next = tokio::select! {
                next = tokio::time::timeout(HEARTBEAT, self.watch.next()) => next,
                () = self.admitted.over() => {
                    // The client receives the reason; without one it reconnects with its last id, to another process.
                    self.admitted.why()?;
                    continue;
                }
                // The sender lives as long as the admission.
                Ok(()) = self.denied.changed() => {
                    // If the ledger is unreachable, the client reconnects with its last id.
                    Box::pin(self.begin_again()).await.ok()?;
                    continue;
                }
            };
            match next {
                Err(_) => {
                    let beat = json!({ "status": "HEARTBEAT", "timestamp": jobs::clock::now_in_millis() });
                    return Some((Bytes::from(format!("data: {beat}\n\n")), self));
                }
                Ok(Some(told)) => self.pending.push_back(told),
                // Fallen behind, or the bus was unreachable: resume at this client's position.
                Ok(None) => {
                    self.watch = self.hub.watch_workspace(self.workspace);
                    let last = self.last;
                    // If the ledger is unreachable, the client reconnects with its last id.
                    Box::pin(self.resume(last, true)).await.ok()?;
                }
            }
        }
    }

    /// An event on the wire, if it matches this client's filter.
    fn piece(&mut self, told: &Told) -> Option<Bytes> {
        self.last = told.id;
        let is_denied = self.denied.borrow().has(&told.kind);
        if is_denied || self.filter.as_ref().is_some_and(|filter| !filter.wants(told)) {
            return None;
        }
        Some(Bytes::from(format!("id: {}{}\ndata: {}\n\n", told.id, self.view, (self.render)(told))))
    }
}

impl<E: Send> IntoResponse for JobsStream<E> {
    fn into_response(self) -> Response {
        respond(Some(self.0))
    }
}

impl<E: ShownJobEvent + Send> ApiResponse for JobsStream<E> {
    fn meta() -> MetaResponses {
        let mut meta = meta_of_stream(E::schema_ref(), "Unnamed events, until either side closes it");
        meta.responses.truncate(1); // it has no end, so there is no 204
        meta
    }

    fn register(registry: &mut Registry) {
        E::register(registry);
    }
}
