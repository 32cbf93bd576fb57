//! A job whose worker crashed with it runs alone: in a child process that does nothing else. Here are both
//! ends of that, the worker's ([`mod@run`]) and the child's ([`run_isolated`]).
//!
//! The child works under the worker's claim and writes the job's end to the ledger itself, under the
//! fence; its answer is for the worker's figures only. So there is no moment at which an
//! end is known to one of them and written by neither. The child records its start first:
//! a death after that is a crash of the job, one before it is not. A worker that dies takes its
//! children along, which see the end of their stdin.

use std::{
    collections::HashMap,
    io::{BufRead, Write},
    path::PathBuf,
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, Command},
    sync::{Semaphore, oneshot},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Shared, WorkerConfig, run,
    running::{self, Aborted, RunningJob},
};
use crate::{
    Database, Registry,
    handler::Entry,
    ledger::{self, Claimed},
    progress::Progress,
};
use run::Verdict;

/// The argument that makes a worker's binary run one job, by [`run_isolated`].
pub const RUN_ISOLATED: &str = "run-isolated";

/// Maximum number of a worker's children. A job that has crashed alone before takes all places, so that it has no
/// company that a machine short of memory could end with it.
const PLACES: u32 = 4;
/// Additional time of a child beyond its kind's timeout; it ends the attempt itself unless it hangs.
const SLACK: Duration = Duration::from_secs(10);
/// Delay before the retry of a job for which no child could be started.
const LATER: Duration = Duration::from_secs(5);
/// Maximum time for a child's last events to be sent.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// The worker's message to a child that has to hand back.
const HAND_BACK: &str = "hand back";
/// The outcomes of a job in a child's answer.
const OUTCOMES: [&str; 6] = ["completed", "failed", "cancelled", "retried", "returned", "fenced"];

/// The command with which a worker starts the process that runs one job: usually itself again.
#[derive(Debug, Clone)]
pub struct IsolatedProcess {
    /// Program; it is started with [`RUN_ISOLATED`] as its only argument.
    pub program: PathBuf,
    /// Environment variables that differ from the worker's.
    pub variables: Vec<(&'static str, String)>,
}

/// The worker's end.
pub(crate) struct Isolation {
    process: IsolatedProcess,
    lease: Duration,
    places: Semaphore,
}

/// The child's order: the first line of its stdin.
#[derive(Serialize, Deserialize)]
struct Order {
    worker: Uuid,
    lease: Duration,
    job: Claimed,
}

/// How a child ended.
enum Ended {
    /// It has written the job's outcome.
    Said(&'static str),
    /// It died without an answer.
    Died(String),
    /// It exceeded its time, and was killed.
    Hung,
    /// It could not be started.
    NotStarted(std::io::Error),
    /// It was not started, since the worker is stopping.
    Leaving,
}

impl Isolation {
    pub(crate) fn new(process: IsolatedProcess, lease: Duration) -> Self {
        Self { process, lease, places: Semaphore::new(PLACES as usize) }
    }

    fn spawn(&self) -> std::io::Result<Child> {
        Command::new(&self.process.program)
            .arg(RUN_ISOLATED)
            .envs(self.process.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
    }
}

/// Runs a claimed job in a child; answers its outcome.
pub(super) async fn run(
    shared: &Arc<Shared>,
    isolation: &Isolation,
    entry: &Entry,
    job: &Claimed,
) -> &'static str {
    let order = Order { worker: shared.id, lease: isolation.lease, job: job.clone() };
    let (parent, timeout) = (Arc::clone(shared), entry.timeout);
    let task = tokio::spawn(async move { attend(&parent, order, timeout).await });
    shared.running.insert(
        job.id,
        RunningJob {
            fence: job.fence,
            progress: None,
            cancel: CancellationToken::new(),
            hand_back: CancellationToken::new(),
            task: Some(task.abort_handle()),
            aborted: None,
        },
    );
    let joined = task.await; // aborted, it drops the child, which is killed by that
    let aborted = shared.running.returned(job.id);
    let verdict = match joined {
        Ok(Ended::Said(outcome)) => return outcome,
        Ok(Ended::Died(how)) => match let_go(shared, job, &how).await {
            Ok(true) => return "crashed",
            Ok(false) => Verdict::again(LATER),
            // Its lease expires, and the leader finds the same then.
            Err(error) => {
                tracing::warn!(job = %job.id, %error, "could not release a job");
                return "crashed";
            }
        },
        Ok(Ended::Hung) => {
            let message = format!("took longer than {} s", timeout.as_secs());
            run::failed(entry, job, run::EXHAUSTED, message)
        }
        Ok(Ended::NotStarted(error)) => {
            tracing::error!(job = %job.id, %error, "could not start a process for a job that has to run alone");
            Verdict::again(LATER)
        }
        Err(_) if aborted == Some(Aborted::Cancelled) => Verdict::Cancelled,
        Ok(Ended::Leaving) | Err(_) => Verdict::again(Duration::ZERO),
    };
    let progress = Progress::new(run::beginning(shared, job).await, shared.publisher.clone());
    let log = shared.logs.of(job.id, job.attempt);
    run::settle(shared, job, &progress, &log, verdict).await
}

/// From waiting for a place to the child's end.
async fn attend(shared: &Shared, order: Order, timeout: Duration) -> Ended {
    let Some(isolation) = &shared.isolation else { return Ended::Leaving };
    let wanted = if order.job.crashes > 0 { PLACES } else { 1 };
    let place = tokio::select! {
        place = isolation.places.acquire_many(wanted) => place,
        () = shared.hand_back.cancelled() => return Ended::Leaving,
    };
    let mut child = match isolation.spawn() {
        Ok(child) => child,
        Err(error) => return Ended::NotStarted(error),
    };
    tracing::info!(job = %order.job.id, kind = order.job.kind, pid = child.id(), "a worker crashed with it: runs alone");
    let stdin = child.stdin.take();
    let ended = tokio::select! {
        ended = tokio::time::timeout(timeout + SLACK, listen(&mut child)) => ended.unwrap_or(Ended::Hung),
        never = tell(stdin, order, &shared.hand_back) => match never {},
    };
    drop(place);
    ended
}

/// Reads the child's answer to its end.
async fn listen(child: &mut Child) -> Ended {
    if let Some(stdout) = child.stdout.take() {
        let mut lines = BufReader::new(stdout).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if let Some(outcome) = OUTCOMES.into_iter().find(|outcome| *outcome == line) {
                return Ended::Said(outcome);
            }
        }
    }
    match child.wait().await {
        Ok(status) => Ended::Died(status.to_string()),
        Err(error) => Ended::Died(error.to_string()),
    }
}

/// Sends the child its order, and the request to hand back. It never returns: for a child, the end of its stdin means
/// that the worker is dead.
async fn tell(
    stdin: Option<ChildStdin>,
    order: Order,
    hand_back: &CancellationToken,
) -> std::convert::Infallible {
    if let Some(mut stdin) = stdin {
        let told = async {
            let mut line = serde_json::to_vec(&order)?;
            line.push(b'\n');
            stdin.write_all(&line).await?;
            hand_back.cancelled().await;
            stdin.write_all(format!("{HAND_BACK}\n").as_bytes()).await
        };
        if let Err(error) = told.await {
            tracing::debug!(%error, "a child does not listen"); // its end will say why
        }
        return std::future::pending().await;
    }
    std::future::pending().await
}

async fn let_go(shared: &Shared, job: &Claimed, how: &str) -> Result<bool, sqlx::Error> {
    tracing::warn!(job = %job.id, kind = job.kind, how, "the process that ran a job alone has died");
    let line = format!("the process that ran this job alone has died: {how}");
    shared.logs.of(job.id, job.attempt).write(tracing::Level::ERROR, &line);
    ledger::let_go(&shared.database.pool, job.id, job.fence).await
}

/// The child's main function: reads the job that its worker has claimed from stdin, runs it as the worker
/// would, and writes its outcome to stdout. `hand_back` is cancelled when the worker requests that.
///
/// # Errors
/// When the order can't be read, or the job's start can't be recorded in the ledger.
pub async fn run_isolated(
    database: Database,
    registry: Registry,
    hand_back: CancellationToken,
) -> Result<(), sqlx::Error> {
    let (sender, order) = oneshot::channel();
    let leave = hand_back.clone();
    std::thread::spawn(move || obey(sender, &leave));
    let order = order.await.map_err(|_| sqlx::Error::Configuration("no order on stdin".into()))?;
    let Order { worker, lease, mut job } =
        serde_json::from_str(&order).map_err(|error| sqlx::Error::Decode(error.into()))?;

    let outcome = if ledger::begin_alone(&database.pool, job.id, job.fence).await? {
        let config = WorkerConfig { lease, ..WorkerConfig::new(HashMap::new()) };
        let registration = super::registration(worker, &config);
        let (shared, last_words) = Shared::start_with(registration, &database, registry, hand_back, None);
        let shared = Arc::new(shared);
        let stop = CancellationToken::new();
        let keepers = [
            tokio::spawn(running::keep_leases(Arc::clone(&shared), false, stop.clone())),
            tokio::spawn(running::watch_for_cancels(Arc::clone(&shared), stop.clone())),
        ];
        shared.running.claimed(job.id, job.fence);
        let outcome = run::carry_out(&shared, &mut job).await;
        shared.running.remove(job.id);
        stop.cancel();
        for keeper in keepers {
            let _ = keeper.await;
        }
        drop(shared);
        if tokio::time::timeout(LAST_WORDS, last_words).await.is_err() {
            tracing::warn!(job = %job.id, "the last events were not sent");
        }
        outcome
    } else {
        "fenced"
    };
    writeln!(std::io::stdout(), "{outcome}").map_err(sqlx::Error::Io)
}

/// Listens to the worker, on a thread of its own, so that a hanging handler ends with it all the same.
fn obey(order: oneshot::Sender<String>, hand_back: &CancellationToken) {
    let mut lines = std::io::stdin().lock().lines().map_while(Result::ok);
    if let Some(line) = lines.next() {
        let _ = order.send(line);
        for line in lines {
            if line == HAND_BACK {
                hand_back.cancel();
            }
        }
    }
    // The worker is dead, and with it its claim to the work done here.
    std::process::exit(1);
}
