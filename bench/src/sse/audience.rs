//! All watchers: one task per stream, which does what a browser's `EventSource` does. It reads,
//! and when the stream breaks off it waits for the given delay and reconnects with the id of the
//! last event.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU16, AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use jobs::JobId;
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, timeout},
};

use super::stream::{Message, Stream};
use crate::{Failure, client::Client};

/// Streams that come from one loopback address: well below the ports that it has.
const PER_ADDRESS: usize = 5000;
/// Streams that are being opened at the same time at first. Who comes back doesn't ask.
const OPENING: usize = 64;

/// The streams, open or broken off.
pub struct Audience {
    shared: Arc<Shared>,
    received: Vec<Arc<Received>>,
    tasks: JoinSet<Result<(), Failure>>,
}

struct Shared {
    /// The API process to talk to.
    port: AtomicU16,
    headers: String,
    opening: Semaphore,
    /// Streams that have been opened, resumed ones counted again.
    opened: AtomicUsize,
    /// Number of answers to a reconnecting client other than a stream.
    refusals: AtomicU32,
}

/// What one stream was sent.
pub struct Received {
    pub job: JobId,
    events: Mutex<Events>,
}

#[derive(Default)]
struct Events {
    /// Number, when it was made, and when it came.
    all: Vec<(i64, DateTime<Utc>, DateTime<Utc>)>,
    /// Events before it was resumed.
    resumed_at: Option<usize>,
    gaps: u32,
    over: bool,
}

impl Audience {
    /// Opens that many streams, evenly over the jobs.
    pub fn of(jobs: &[JobId], streams: usize, port: u16, client: &Client) -> Self {
        let shared = Arc::new(Shared {
            port: AtomicU16::new(port),
            headers: client.headers(),
            opening: Semaphore::new(OPENING),
            opened: AtomicUsize::default(),
            refusals: AtomicU32::default(),
        });
        let received: Vec<_> = (0..streams)
            .map(|n| Arc::new(Received { job: jobs[n % jobs.len()], events: Mutex::default() }))
            .collect();
        let mut tasks = JoinSet::new();
        // 127.0.0.2, 127.0.0.3, …
        for (streams, host) in received.chunks(PER_ADDRESS).zip(2..=u8::MAX) {
            for received in streams {
                let from = Ipv4Addr::new(127, 0, 0, host);
                tasks.spawn(Arc::clone(&shared).watch(from, Arc::clone(received)));
            }
        }
        Self { shared, received, tasks }
    }

    /// Waits until that many streams have been opened.
    pub async fn wait_until(&mut self, opened: usize, patience: Duration) -> Result<(), Failure> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(task) = self.tasks.try_join_next() {
                task??; // it could not open its stream
            }
            let so_far = self.shared.opened.load(Ordering::Relaxed);
            if so_far >= opened {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("{so_far} of {opened} streams were opened in {patience:?}").into());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Redirects reconnecting clients to that port.
    pub fn turn_to(&self, port: u16) {
        self.shared.port.store(port, Ordering::Relaxed);
    }

    /// Number of reconnecting clients that were not given a stream.
    pub fn refusals(&self) -> f64 {
        self.shared.refusals.load(Ordering::Relaxed).into()
    }

    /// Waits until every stream has seen its job's end.
    pub async fn ended(&mut self, patience: Duration) -> Result<&[Arc<Received>], Failure> {
        let all = async {
            while let Some(task) = self.tasks.join_next().await {
                task??;
            }
            Ok::<_, Failure>(())
        };
        if let Ok(result) = timeout(patience, all).await {
            result?;
            return Ok(&self.received);
        }
        Err(format!("{} streams did not see the end of their job in {patience:?}", self.tasks.len()).into())
    }
}

impl Shared {
    /// One client, until it has seen its job's end.
    async fn watch(self: Arc<Self>, address: Ipv4Addr, received: Arc<Received>) -> Result<(), Failure> {
        let mut retry = Duration::from_secs(2);
        let mut before = false;
        loop {
            let permit = if before { None } else { Some(self.opening.acquire().await?) };
            let opened = self.open(address, &received).await;
            drop(permit);
            match opened {
                Ok(mut stream) => {
                    self.opened.fetch_add(1, Ordering::Relaxed);
                    received.opened(before);
                    before = true;
                    // However it ends, the stream has ended or is resumed.
                    let _ = read(&mut stream, &received, &mut retry).await;
                    if received.lock().over {
                        return Ok(());
                    }
                }
                Err(error) if !before => return Err(error),
                Err(_) => {
                    self.refusals.fetch_add(1, Ordering::Relaxed);
                }
            }
            tokio::time::sleep(retry).await;
        }
    }

    async fn open(&self, from: Ipv4Addr, received: &Received) -> Result<Stream, Failure> {
        let last = received.lock().all.last().map(|(seq, ..)| *seq);
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port.load(Ordering::Relaxed)));
        let path = format!("/api/v1/jobs/{}/stream", received.job);
        Stream::open(from, to, &path, &self.headers, last).await
    }
}

async fn read(stream: &mut Stream, received: &Received, retry: &mut Duration) -> Result<(), Failure> {
    loop {
        match stream.next().await? {
            None => return Ok(()),
            Some(Message::Retry(time)) => *retry = time,
            Some(Message::Heartbeat) => {}
            Some(Message::Gap) => received.lock().gaps += 1,
            Some(Message::Event { seq, made, over }) => {
                let mut events = received.lock();
                events.all.push((seq, made, jobs::clock::now()));
                events.over = over;
            }
        }
    }
}

impl Received {
    fn lock(&self) -> MutexGuard<'_, Events> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened(&self, again: bool) {
        let mut events = self.lock();
        if again && events.resumed_at.is_none() {
            events.resumed_at = Some(events.all.len());
        }
    }

    /// Whether it has come back.
    pub fn resumed(&self) -> bool {
        self.lock().resumed_at.is_some()
    }

    /// Milliseconds from the making to the coming of the events that were made in that time.
    pub fn waits(&self, from: DateTime<Utc>, until: DateTime<Utc>) -> Vec<f64> {
        let events = self.lock();
        let timed = events.all.iter().filter(|(_, made, _)| (from..until).contains(made));
        #[allow(clippy::cast_precision_loss)]
        timed
            .map(|(_, made, came)| (*came - *made).num_microseconds().unwrap_or(i64::MAX) as f64 / 1000.0)
            .collect()
    }

    /// How many events it was not sent, or again, or out of turn: up to the last before it was resumed,
    /// and after that.
    pub fn wrong(&self, history: &[i64]) -> (u32, u32) {
        let events = self.lock();
        let numbers: Vec<i64> = events.all.iter().map(|(seq, ..)| *seq).collect();
        let (before, after) = numbers.split_at(events.resumed_at.unwrap_or(numbers.len()));
        let first = numbers.first().copied().unwrap_or(i64::MAX);
        let last = before.last().copied().unwrap_or(i64::MAX);
        let (mut open, mut resumed) = (0, events.gaps);
        for seq in history.iter().filter(|seq| **seq >= first) {
            if !numbers.contains(seq) {
                *(if *seq <= last { &mut open } else { &mut resumed }) += 1;
            }
        }
        let again = |numbers: &[i64]| numbers.windows(2).filter(|pair| pair[1] <= pair[0]).count();
        let at_the_seam = after.first().is_some_and(|seq| *seq <= last);
        open += u32::try_from(again(before)).unwrap_or(u32::MAX);
        resumed += u32::try_from(again(after)).unwrap_or(u32::MAX) + u32::from(at_the_seam);
        (open, resumed)
    }
}
