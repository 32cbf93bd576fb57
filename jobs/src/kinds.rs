//! Job kinds: each area declares its own in its `job_kinds.rs`, and every program installs all of them at its
//! start ([`install`]). Here are the engine's own. A payload holds ids and options; the effect of a kill
//! on a kind is in its documentation; its handler is in `workers`.

use std::{sync::OnceLock, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{Act, JobKind, Needs, Pool, Retention, RetryPolicy, batch};

/// A process's description of a job kind.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Name in the ledger.
    pub name: &'static str,
    /// Pool that runs it.
    pub pool: Pool,
    /// Permissions that jobs of the kind need, in addition to those for jobs in general.
    pub needs: Needs,
    /// Row of the [`table`].
    pub row: fn() -> String,
}

impl Kind {
    /// A kind by its type.
    #[must_use]
    pub const fn of<K: JobKind>() -> Self {
        Self { name: K::NAME, pool: K::POOL, needs: K::NEEDS, row: row::<K> }
    }
}

/// The engine's own kinds.
pub const KINDS: &[Kind] = &[Kind::of::<PruneJobs>(), Kind::of::<NoOp>(), Kind::of::<Steps>()];

static INSTALLED: OnceLock<Vec<Kind>> = OnceLock::new();

/// Installs the kinds of the areas in the process, beside the engine's own. Every program does so at its start;
/// a second call changes nothing.
pub fn install(areas: &[&[Kind]]) {
    INSTALLED.get_or_init(|| [KINDS].iter().chain(areas).flat_map(|area| area.iter().copied()).collect());
}

/// All job kinds, of the engine and of the areas.
///
/// # Panics
/// Before [`install`]: an unknown kind would need no permission.
#[must_use]
pub fn all() -> &'static [Kind] {
    INSTALLED.get().expect("the program installs the job kinds at its start")
}

/// The kind of that name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Kind> {
    all().iter().find(|kind| kind.name == name)
}

/// Permission for every operation on jobs of a kind that this release does not know: it is unknown what they
/// show or change.
const OF_UNKNOWN: &[&str] = &["jobs:delete"];

/// The permissions that something done with a job of that kind asks for, beside those of jobs in general.
#[must_use]
pub fn needs(kind: &str, act: Act) -> &'static [&'static str] {
    named(kind).map_or(if kind == batch::KIND { &[] } else { OF_UNKNOWN }, |kind| kind.needs.to(act))
}

/// Whether this release knows a kind of that name. Batches are jobs of no area.
fn is_known(kind: &str) -> bool {
    kind == batch::KIND || named(kind).is_some()
}

/// Whether a selection has all kinds that this release knows.
pub(crate) fn are_all_known(selected: &[String]) -> bool {
    all()
        .iter()
        .map(|kind| kind.name)
        .chain([batch::KIND])
        .all(|kind| selected.iter().any(|name| name == kind))
}

/// The kinds on whose jobs a caller may not perform an operation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Denied {
    known: Vec<String>,
    /// Also those that this release does not know.
    unknown: bool,
}

impl Denied {
    /// The kinds that need a permission for which `holds` is false.
    #[must_use]
    pub fn of(act: Act, holds: impl Fn(&'static str) -> bool) -> Self {
        let lacks = |needs: &[&'static str]| !needs.iter().all(|permission| holds(permission));
        let known = all().iter().filter(|kind| lacks(kind.needs.to(act)));
        Self { known: known.map(|kind| kind.name.to_owned()).collect(), unknown: lacks(OF_UNKNOWN) }
    }

    /// Whether a kind is among them.
    #[must_use]
    pub fn has(&self, kind: &str) -> bool {
        self.known.iter().any(|denied| denied == kind) || self.unknown && !is_known(kind)
    }

    /// Kinds that this release knows.
    #[must_use]
    pub fn known(&self) -> &[String] {
        &self.known
    }

    /// Removes them from a selection of kinds, in which none stands for all. Returns the kinds of the selection that stay
    /// denied.
    #[must_use]
    pub(crate) fn narrow(&self, selected: &mut Vec<String>) -> Vec<String> {
        if self.unknown && selected.is_empty() {
            let known = all().iter().map(|kind| kind.name).chain([batch::KIND]);
            selected.extend(known.map(str::to_owned));
        }
        let unknown = selected.iter().filter(|kind| self.unknown && !is_known(kind));
        self.known.iter().chain(unknown).cloned().collect()
    }
}

/// All kinds with their pools and policies, as a table in Markdown.
///
/// # Panics
/// Before [`install`].
#[must_use]
pub fn table() -> String {
    let head = "| kind | pool | attempts | waits | timeout | checkpoints | priority | secrets |\n|---|---|---|---|---|---|---|---|\n";
    all().iter().fold(head.to_owned(), |table, kind| table + &(kind.row)() + "\n")
}

fn row<K: JobKind>() -> String {
    let RetryPolicy { attempts, base, cap } = K::RETRY;
    let waits = if attempts == 1 {
        "–".to_owned()
    } else {
        format!("{} s, doubling to {} s", base.as_secs(), cap.as_secs())
    };
    let (timeout, checkpoints) = (K::TIMEOUT.as_secs(), if K::CHECKPOINTS { "yes" } else { "no" });
    let secrets =
        if K::SECRETS.is_empty() { "–".to_owned() } else { format!("`{}`", K::SECRETS.join("`, `")) };
    format!(
        "| `{}` | {} | {attempts} | {waits} | {timeout} s | {checkpoints} | {} | {secrets} |",
        K::NAME,
        K::POOL.name(),
        K::PRIORITY
    )
}

/// Removes jobs from the history that are beyond the retention of their kind, or of the table `job_retention`.
/// Killed at any line: each batch is removed or not, and the next run finds the rest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PruneJobs {}

impl JobKind for PruneJobs {
    const NAME: &'static str = "jobs.prune";
    const POOL: Pool = Pool::MAINTENANCE;
    const RETRY: RetryPolicy = RetryPolicy::NEVER;
    const TIMEOUT: Duration = Duration::from_secs(3600);
    const RETENTION: Retention = Retention::of_days(1, 30);
}

/// Does nothing, or sleeps: for measuring the engine and for trying out an installation.
/// Killed at any line: nothing to lose.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct NoOp {
    /// Duration of the handler's sleep, in milliseconds.
    #[serde(default)]
    pub sleep_ms: u64,
    /// Interval of progress reports during the sleep, in milliseconds; 0: never.
    #[serde(default)]
    pub report_ms: u64,
    /// Number of failed attempts before it completes.
    #[serde(default)]
    pub failures: i32,
    /// Whether it fails finally.
    #[serde(default)]
    pub fails: bool,
    /// Whether it ignores cancel requests.
    #[serde(default)]
    pub ignore_cancel: bool,
    /// Kills the process that it runs in after its sleep, for trying out the quarantine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crash: Option<Crash>,
    /// Number of lines that it writes to its log first.
    #[serde(default)]
    pub lines: u32,
}

/// The way in which a [`NoOp`] kills its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Crash {
    /// By abort, as a failed assertion in foreign code does.
    Abort,
    /// By allocating all memory. Without a limit for the process, this takes the machine's.
    ExhaustMemory,
}

impl JobKind for NoOp {
    const NAME: &'static str = "engine.no_op";
    const POOL: Pool = Pool::MAINTENANCE;
    // For trying the engine out, long waits are of no use.
    const RETRY: RetryPolicy = RetryPolicy { base: Duration::from_secs(1), ..RetryPolicy::DEFAULT };
    const PRIORITY: i16 = 9;
}

/// Sleeps step by step, with a checkpoint after each: for trying out long work that can be handed back.
/// Killed at any line: the next holder continues after the last checkpoint.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Steps {
    /// Number of steps.
    pub steps: i64,
    /// Duration of each step, in milliseconds.
    pub step_ms: u64,
}

impl JobKind for Steps {
    const NAME: &'static str = "engine.steps";
    const POOL: Pool = Pool::MAINTENANCE;
    const TIMEOUT: Duration = Duration::from_secs(6 * 3600);
    const CHECKPOINTS: bool = true;
    const PRIORITY: i16 = 9;
}
