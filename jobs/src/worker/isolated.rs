//! A job whose worker died with it runs alone: in a child process that does nothing else. Here are both
//! ends of that, the worker's ([`mod@run`]) and the child's ([`run_isolated`]).
//!
//! The child works under the worker's claim and writes the job's end to the ledger itself, under the
//! fence; what it says afterwards is for the worker's figures only. So there is no moment at which an
//! end is known to one of them and written by neither. The child notes that it begins before it does:
//! a death after that is a crash of the job, one before it is not. A worker that dies takes its
//! children along, which see their stdin end.

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

/// Children of a worker at once. A job that has crashed alone before takes all places, so that it has no
/// company that a machine short of memory could end with it.
const PLACES: u32 = 4;
/// How much longer than its kind's timeout a child may take; it ends the attempt itself unless it hangs.
const SLACK: Duration = Duration::from_secs(10);
/// When a job that no child could be started for is tried again.
const LATER: Duration = Duration::from_secs(5);
/// How long a child's last events may take to leave it.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// What the worker tells a child that is to leave.
const HAND_BACK: &str = "hand back";
/// What may become of a job, as a child says it.
const OUTCOMES: [&str; 6] = ["completed", "failed", "cancelled", "retried", "returned", "fenced"];

/// How a worker starts the process that runs one job: usually itself again.
#[derive(Debug, Clone)]
pub struct IsolatedProcess {
    /// The program; it is started with [`RUN_ISOLATED`] as its only argument.
    pub program: PathBuf,
    /// Variables that it has otherwise than the worker.
    pub variables: Vec<(&'static str, String)>,
}

/// The worker's end.
pub(crate) struct Isolation {
    process: IsolatedProcess,
    lease: Duration,
    places: Semaphore,
}

/// What the child is to do: the first line of its stdin.
#[derive(Serialize, Deserialize)]
struct Order {
    worker: Uuid,
    lease: Duration,
    job: Claimed,
}

/// How a child ended.
enum Ended {
    /// It has written what became of the job.
    Said(&'static str),
    /// It did not say.
    Died(String),
    /// It went on after its time, and was killed.
    Hung,
    /// There was none.
    NotStarted(std::io::Error),
    /// There was none, since the worker is leaving.
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

/// Has a claimed job run by a child; answers with what became of it.
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
            // Its lease runs out, and the leader finds the same then.
            Err(error) => {
                tracing::warn!(job = %job.id, %error, "could not let go of a job");
                return "crashed";
            }
        },
        Ok(Ended::Hung) => {
            let message = format!("took longer than {} s", timeout.as_secs());
            run::failed(entry, job, run::EXHAUSTED, message)
        }
        Ok(Ended::NotStarted(error)) => {
            tracing::error!(job = %job.id, %error, "could not start a process for a job that is to run alone");
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
    tracing::info!(job = %order.job.id, kind = order.job.kind, pid = child.id(), "a worker died with it: runs alone");
    let stdin = child.stdin.take();
    let ended = tokio::select! {
        ended = tokio::time::timeout(timeout + SLACK, listen(&mut child)) => ended.unwrap_or(Ended::Hung),
        never = tell(stdin, order, &shared.hand_back) => match never {},
    };
    drop(place);
    ended
}

/// Reads what the child says, until it has said it all.
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

/// Tells the child its order, and when to leave. It never returns: a child whose stdin ends thinks that
/// the worker is gone.
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

/// The child's whole life: reads from stdin which job its worker has claimed, runs it as the worker
/// would, and says on stdout what became of it. `hand_back` is cancelled when the worker asks for that.
///
/// # Errors
/// When the order can't be read, or the ledger can't be told that the job begins.
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

/// Listens to the worker, on a thread of its own, so that a handler that hangs ends with it all the same.
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
    // The worker is gone, and with it its claim to what is done here.
    std::process::exit(1);
}
