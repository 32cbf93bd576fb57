//! Publishing events: into the job's history and onto its live channel, in one script.
//!
//! The script assigns no numbers. It refuses an event that is not newer than the history's last, and
//! fills in `prev`, so that readers of the history or the channel can detect a gap.

use std::{
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
    time::Duration,
};

use tokio::{sync::mpsc, task::JoinHandle, time::Instant};

use super::Event;
use crate::{Bus, JobId, bus::lost};

/// Minimum number of entries that a job's history keeps.
const KEPT: usize = 1000;
/// Time for which a history is kept after its last event.
const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);
/// Maximum number of events in one script call.
const BATCH: usize = 256;
/// Time for which a worker keeps trying to send a batch to an unreachable bus, and interval of the tries.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(200);
/// Maximum number of events that wait for the bus meanwhile; beyond it, the oldest are given up.
const QUEUED: usize = 20_000;

static PUBLISH: LazyLock<redis::Script> = LazyLock::new(|| {
    redis::Script::new(
        r"
        local kept = ARGV[1]
        for i = 1, #KEYS, 2 do
            local at = 2 + (i - 1) / 2 * 5
            local key, channel = KEYS[i], KEYS[i + 1]
            local seq, prev, head, expiry = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
            local way = ARGV[at + 4]
            local last = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
            local newest = last and string.match(last[1], '^%d+') or '0'
            if tonumber(newest) < tonumber(seq) then
                if tonumber(newest) > tonumber(prev) then prev = newest end
                local event = head .. prev .. '}'
                if way ~= 'live' or last then
                    redis.call('XADD', key, 'MAXLEN', '~', kept, seq .. '-0', 'e', event)
                    redis.call('EXPIRE', key, expiry)
                end
                if way ~= 'keep' then redis.call('PUBLISH', channel, event) end
            end
        end
        ",
    )
});

/// The destination of an event.
///
/// A job without progress has nothing to keep beyond its ledger row, so a million waiting
/// jobs take no memory in Redis. The first progress begins a job's history, with the event before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// To present watchers. The job has no history: this is its first run, without progress so far.
    First,
    /// To present watchers; into the history only if there is one.
    Live,
    /// To present watchers and into the history.
    Both,
    /// Into the history only: the watchers have received it.
    Keep,
}

impl Way {
    fn of(event: &Event) -> Self {
        if event.is_bare() { Self::Live } else { Self::Both }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::First | Self::Live => "live",
            Self::Both => "both",
            Self::Keep => "keep",
        }
    }
}

/// Publishes the events of a committed transaction. Failures are counted, not returned: polling the
/// ledger finds missed ones.
pub(crate) async fn after_commit(bus: &Bus, events: &[Event]) {
    for batch in events.chunks(BATCH) {
        send(bus, batch).await;
    }
}

/// Notifies watchers that logs have grown, with the newest line of each.
pub(crate) async fn new_lines(bus: &Bus, newest: &HashMap<JobId, i64>) {
    let mut pipe = redis::pipe();
    for (job, line) in newest {
        pipe.publish(bus.log_channel(*job), format!("{job} {line}")).ignore();
    }
    if let Err(error) = pipe.query_async::<()>(&mut bus.connection()).await {
        lost("log", &error);
    }
}

/// Sends a batch of events, oldest first; answers whether the bus accepted it. Repeating it is harmless.
pub(crate) async fn send(bus: &Bus, events: &[Event]) -> bool {
    let events: Vec<_> = events.iter().map(|event| (event, Way::of(event))).collect();
    send_all(bus, &events).await
}

/// Sends a batch: the first events of jobs before all others, which for each job is their order.
async fn send_all(bus: &Bus, events: &[(&Event, Way)]) -> bool {
    let (first, others): (Vec<_>, Vec<_>) = events.iter().copied().partition(|(_, way)| *way == Way::First);
    send_first(bus, &first).await && send_numbered(bus, &others).await
}

/// Those of one channel are sent in one message, a line each: there is nothing to look up or to keep for them.
async fn send_first(bus: &Bus, events: &[(&Event, Way)]) -> bool {
    if events.is_empty() {
        return true;
    }
    let mut messages: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (event, _) in events {
        let message = messages.entry(bus.event_channel(event.job_id)).or_default();
        if !message.is_empty() {
            message.push(b'\n');
        }
        if let Err(error) = serde_json::to_writer(&mut *message, event) {
            tracing::error!(job = %event.job_id, %error, "an event can't be serialised");
            return true;
        }
    }
    let mut pipe = redis::pipe();
    for (channel, message) in messages {
        pipe.publish(channel, message).ignore();
    }
    let sent = pipe.query_async::<()>(&mut bus.connection()).await;
    if let Err(error) = &sent {
        lost("event", error);
    }
    sent.is_ok()
}

async fn send_numbered(bus: &Bus, events: &[(&Event, Way)]) -> bool {
    if events.is_empty() {
        return true;
    }
    let mut call = PUBLISH.prepare_invoke();
    call.arg(KEPT);
    for (event, way) in events {
        let Some(head) = without_prev(event) else { continue };
        call.key(bus.history_key(event.job_id)).key(bus.event_channel(event.job_id));
        call.arg(event.seq).arg(event.prev).arg(head).arg(KEPT_FOR.as_secs()).arg(way.name());
    }
    let sent = call.invoke_async::<()>(&mut bus.connection()).await;
    if let Err(error) = &sent {
        lost("event", error);
    }
    sent.is_ok()
}

/// The event's JSON up to the value of `prev`, which is its last field.
fn without_prev(event: &Event) -> Option<String> {
    let mut json = serde_json::to_string(event).ok()?;
    let at = json.rfind("\"prev\":")?;
    json.truncate(at + "\"prev\":".len());
    Some(json)
}

/// Of a job that started and ended within one batch, only the end is sent: the event before it has no more
/// than a poll of the ledger, and it has not been seen.
fn leave_out_superseded(batch: &mut Vec<(Event, Way)>) {
    let mut later: HashMap<JobId, usize> = HashMap::with_capacity(batch.len());
    let mut out = vec![false; batch.len()];
    for at in (0..batch.len()).rev() {
        let (event, way) = &batch[at];
        let (job, seq, prev) = (event.job_id, event.seq, event.prev);
        if matches!(way, Way::First | Way::Live)
            && let Some(&next) = later.get(&job)
            && batch[next].0.prev == seq
        {
            batch[next].0.prev = prev;
            out[at] = true;
        } else {
            later.insert(job, at);
        }
    }
    let mut at = 0;
    batch.retain(|_| {
        at += 1;
        !out[at - 1]
    });
}

/// A task that sends events in the order in which they were queued, many at a time, so that a
/// job never waits for Redis.
#[derive(Clone, Debug)]
pub(crate) struct Publisher(mpsc::UnboundedSender<(Event, Way)>);

impl Publisher {
    /// Starts the task; it ends when the last handle is dropped and all has been sent.
    pub(crate) fn start(bus: Bus) -> (Self, JoinHandle<()>) {
        let (sender, mut receiver) = mpsc::unbounded_channel::<(Event, Way)>();
        let sending = tokio::spawn(async move {
            let mut batch = Vec::with_capacity(BATCH);
            while receiver.recv_many(&mut batch, BATCH).await > 0 {
                leave_out_superseded(&mut batch);
                let patience = Instant::now() + PATIENCE;
                while !send_all(&bus, &batch.iter().map(|(event, way)| (event, *way)).collect::<Vec<_>>())
                    .await
                    && Instant::now() < patience
                    && receiver.len() < QUEUED
                {
                    tokio::time::sleep(PAUSE).await;
                }
                batch.clear();
            }
        });
        (Self(sender), sending)
    }

    /// Queues an event.
    pub(crate) fn publish(&self, event: Event) {
        let way = Way::of(&event);
        self.hand_over(event, way);
    }

    /// Queues an event of a job that runs for the first time and has sent only such events so far.
    pub(crate) fn publish_first(&self, event: Event) {
        let way = if event.is_bare() { Way::First } else { Way::Both };
        self.hand_over(event, way);
    }

    /// Queues an event that was sent live already, for the history only.
    pub(crate) fn keep(&self, event: Event) {
        self.hand_over(event, Way::Keep);
    }

    fn hand_over(&self, event: Event, way: Way) {
        // The task lives as long as this handle, so there is always a receiver.
        let _ = self.0.send((event, way));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock, watch::Status};

    #[test]
    fn an_event_that_another_follows_in_the_batch_is_left_out_without_leaving_a_hole() {
        let (short, other) = (JobId::new(), JobId::new());
        let event = |job, status, epoch| Event::transition(job, status, epoch, clock::now());
        let mut batch = vec![
            (event(short, Status::Running, 2), Way::Live),
            (event(other, Status::Running, 2), Way::Live),
            (event(short, Status::Completed, 3), Way::Live),
        ];
        leave_out_superseded(&mut batch);

        assert_eq!(batch.iter().map(|(event, _)| event.job_id).collect::<Vec<_>>(), [other, short]);
        assert_eq!(batch[1].0.prev, event(short, Status::Running, 2).prev);
    }

    #[test]
    fn progress_is_never_left_out() {
        let job = JobId::new();
        let event = |status, epoch| Event::transition(job, status, epoch, clock::now());
        let mut batch =
            vec![(event(Status::Running, 2), Way::Both), (event(Status::Completed, 3), Way::Both)];
        leave_out_superseded(&mut batch);
        assert_eq!(batch.len(), 2);
    }
}
