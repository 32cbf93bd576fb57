//! Properties of the ledger's state machine: whatever two dispatchers, three workers and the people who
//! watch them do, in whatever order, no job runs without a lease, is done twice, or waits without end.
//!
//! A sequence is made of single statements, as processes issue them. What a process believes (ids it was
//! delivered, jobs it holds) stays with it while the ledger moves on, so stale beliefs are acted upon,
//! too. Once by hand of one, in the order given; once with each process as a task of its own.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::future::join_all;
use jobs::{
    Database, JobId, NewJob, Origin, Owner, Pool,
    control::{self, Retry},
    kinds::NoOp,
    testing::steps::{self, Held, Worker},
};
use proptest::{
    prelude::{Just, Strategy, any, prop_oneof},
    test_runner::{Config, TestRunner},
};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::database::{TestDatabase, variable};

const LEASE: Duration = Duration::from_secs(60);
const CRASH_LIMIT: i32 = 3;
const WORKERS: usize = 3;
const DISPATCHERS: usize = 2;

/// A step of a user or a process. Numbers choose among what there is, whatever that is by then.
#[derive(Debug, Clone)]
enum Step {
    Enqueue { jobs: usize, tenant: u8 },
    Dispatch { dispatcher: usize },
    Claim { worker: usize, dispatcher: usize },
    Renew { worker: usize },
    End { worker: usize, which: usize, state: &'static str },
    PutBack { worker: usize, which: usize, counts: bool },
    Checkpoint { worker: usize, which: usize },
    Expire { worker: usize },
    Crash { worker: usize },
    Rescue,
    Cancel { which: usize },
    Retry { which: usize },
    Pause { on: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let (worker, dispatcher) = (0..WORKERS, 0..DISPATCHERS);
    let state = prop_oneof![3 => Just("completed"), 1 => Just("failed"), 1 => Just("cancelled")];
    prop_oneof![
        3 => (1usize..6, 0u8..3).prop_map(|(jobs, tenant)| Step::Enqueue { jobs, tenant }),
        4 => dispatcher.clone().prop_map(|dispatcher| Step::Dispatch { dispatcher }),
        6 => (worker.clone(), dispatcher).prop_map(|(worker, dispatcher)| Step::Claim { worker, dispatcher }),
        2 => worker.clone().prop_map(|worker| Step::Renew { worker }),
        5 => (worker.clone(), any::<usize>(), state)
            .prop_map(|(worker, which, state)| Step::End { worker, which, state }),
        3 => (worker.clone(), any::<usize>(), any::<bool>())
            .prop_map(|(worker, which, counts)| Step::PutBack { worker, which, counts }),
        3 => (worker.clone(), any::<usize>()).prop_map(|(worker, which)| Step::Checkpoint { worker, which }),
        2 => worker.clone().prop_map(|worker| Step::Expire { worker }),
        1 => worker.prop_map(|worker| Step::Crash { worker }),
        3 => Just(Step::Rescue),
        2 => any::<usize>().prop_map(|which| Step::Cancel { which }),
        2 => any::<usize>().prop_map(|which| Step::Retry { which }),
        1 => any::<bool>().prop_map(|on| Step::Pause { on }),
    ]
}

/// What a worker process believes.
struct Process {
    worker: Worker,
    held: Vec<Held>,
}

/// The installation, and what everyone believes of it.
struct World {
    database: Database,
    jobs: Mutex<Vec<JobId>>,
    /// How often each job's success was taken.
    completed: Mutex<HashMap<JobId, usize>>,
    /// The fence of each job's newest claim.
    newest: Mutex<HashMap<JobId, i64>>,
    /// Whether one step ends before the next begins, so that the newest claim is known.
    in_order: bool,
    delivered: Vec<Mutex<Vec<JobId>>>,
    processes: Vec<Mutex<Process>>,
}

impl World {
    async fn new(database: &Database, in_order: bool) -> Self {
        let empty = "truncate shard.jobs, shard.finished_jobs, shard.job_claims, shard.job_checkpoints, shard.workers, shard.job_pauses";
        sqlx::raw_sql(empty).execute(&database.pool).await.unwrap();
        let mut processes = Vec::new();
        for _ in 0..WORKERS {
            let worker = Worker::sign_on(database, LEASE).await;
            processes.push(Mutex::new(Process { worker, held: Vec::new() }));
        }
        Self {
            database: database.clone(),
            jobs: Mutex::default(),
            completed: Mutex::default(),
            newest: Mutex::default(),
            in_order,
            delivered: (0..DISPATCHERS).map(|_| Mutex::default()).collect(),
            processes,
        }
    }

    async fn take(&self, step: &Step) {
        match *step {
            Step::Enqueue { jobs, tenant } => self.enqueue(jobs, tenant).await,
            Step::Dispatch { dispatcher } => {
                let due = steps::due(&self.database, Pool::MAINTENANCE, 3).await;
                *self.delivered[dispatcher].lock().await = due;
            }
            Step::Claim { worker, dispatcher } => {
                let delivered = self.delivered[dispatcher].lock().await.clone();
                let mut process = self.processes[worker].lock().await;
                let claimed = process.worker.claim(&delivered).await;
                for held in &claimed {
                    self.note_claim(*held).await;
                }
                process.held.extend(claimed);
            }
            Step::Renew { worker } => {
                let process = self.processes[worker].lock().await;
                process.worker.renew(&process.held).await;
            }
            Step::End { worker, which, state } => self.end(worker, which, state).await,
            Step::PutBack { worker, which, counts } => {
                let mut process = self.processes[worker].lock().await;
                if let Some(held) = pick(&mut process.held, which)
                    && process.worker.put_back(held, counts).await
                {
                    self.expect_newest(held, "puts a job back").await;
                }
            }
            Step::Checkpoint { worker, which } => {
                let process = self.processes[worker].lock().await;
                if !process.held.is_empty() {
                    let held = process.held[which % process.held.len()];
                    if self.checkpoint(held).await {
                        self.expect_newest(held, "commits").await;
                    }
                }
            }
            Step::Expire { worker } => {
                let id = self.processes[worker].lock().await.worker.id();
                steps::expire(&self.database, Some(id)).await;
            }
            Step::Crash { worker } => {
                let mut process = self.processes[worker].lock().await;
                process.worker.crash().await;
                // Another takes its place. What it held is not forgotten: a zombie acts on it later.
                let worker = Worker::sign_on(&self.database, LEASE).await;
                process.worker = worker;
            }
            Step::Rescue => steps::rescue_all(&self.database, LEASE, CRASH_LIMIT).await,
            Step::Cancel { which } => {
                if let Some(job) = self.any_job(which).await {
                    let owner = self.owner_of(job).await;
                    jobs::testing::cancel(&self.database, owner, job).await;
                }
            }
            Step::Retry { which } => self.retry(which).await,
            Step::Pause { on: true } => {
                let pause = "insert into shard.job_pauses (id, pool) values ($1, 'maintenance') on conflict do nothing";
                sqlx::query(pause).bind(Uuid::now_v7()).execute(&self.database.pool).await.unwrap();
            }
            Step::Pause { on: false } => {
                sqlx::query("delete from shard.job_pauses").execute(&self.database.pool).await.unwrap();
            }
        }
    }

    async fn enqueue(&self, count: usize, tenant: u8) {
        let no_op = NoOp::default();
        let mut tx = self.database.begin().await.unwrap();
        let workspace = (tenant > 0).then(|| Uuid::from_u128(u128::from(tenant)));
        let mut ids = Vec::new();
        for _ in 0..count {
            let job = NewJob::new(&no_op).workspace(workspace);
            ids.push(jobs::enqueue(&mut tx, job).await.unwrap().id());
        }
        tx.commit().await.unwrap();
        self.jobs.lock().await.extend(ids);
    }

    async fn end(&self, worker: usize, which: usize, state: &'static str) {
        let mut process = self.processes[worker].lock().await;
        let Some(held) = pick(&mut process.held, which) else { return };
        if process.worker.end(held, state).await {
            self.expect_newest(held, "ends a job").await;
            if state == "completed" {
                *self.completed.lock().await.entry(held.job).or_default() += 1;
            }
        }
    }

    async fn note_claim(&self, held: Held) {
        let before = self.newest.lock().await.insert(held.job, held.fence);
        assert!(
            !self.in_order || before.is_none_or(|before| before < held.fence),
            "a fence comes twice: {held:?}"
        );
    }

    /// An accepted worker must be the last that has claimed the job.
    async fn expect_newest(&self, held: Held, what: &str) {
        let newest = self.newest.lock().await[&held.job];
        assert!(
            !self.in_order || newest == held.fence,
            "a former holder {what}: {held:?}, the newest is {newest}"
        );
    }

    /// Takes over the job's effects and commits a batch of them, as a handler does.
    async fn checkpoint(&self, held: Held) -> bool {
        let mut tx = self.database.begin().await.unwrap();
        sqlx::query("select * from resume_job($1, $2)")
            .bind(held.job.0)
            .bind(held.fence)
            .execute(tx.conn())
            .await
            .unwrap();
        tx.commit().await.unwrap();
        let mut tx = self.database.begin().await.unwrap();
        let held = sqlx::query_scalar("select checkpoint_job($1, $2, '1', 1, 0, 0)")
            .bind(held.job.0)
            .bind(held.fence)
            .fetch_one(tx.conn())
            .await
            .unwrap();
        tx.commit().await.unwrap();
        held
    }

    async fn retry(&self, which: usize) {
        let Some(job) = self.any_job(which).await else { return };
        let owner = self.owner_of(job).await;
        let done = self.completed.lock().await.contains_key(&job);
        let mut tx = self.database.begin().await.unwrap();
        let answer = control::retry(&mut tx, owner, job, &Origin::default()).await.unwrap();
        tx.commit().await.unwrap();
        assert!(!(done && answer == Retry::Queued), "a job that is done runs again");
    }

    async fn any_job(&self, which: usize) -> Option<JobId> {
        let jobs = self.jobs.lock().await;
        if jobs.is_empty() { None } else { Some(jobs[which % jobs.len()]) }
    }

    async fn owner_of(&self, job: JobId) -> Owner {
        let workspace: Option<Uuid> =
            sqlx::query_scalar("select workspace_id from shard.all_jobs where id = $1")
                .bind(job.0)
                .fetch_one(&self.database.pool)
                .await
                .unwrap();
        workspace.map_or(Owner::Installation, Owner::Workspace)
    }

    /// What must hold at any time.
    async fn check(&self) {
        let count = async |sql: &str| -> i64 {
            sqlx::query_scalar(sqlx::AssertSqlSafe(sql.to_owned()))
                .fetch_one(&self.database.pool)
                .await
                .unwrap()
        };
        let adrift = "select count(*) from shard.jobs where state = 'running' and (lease_until is null or worker is null)";
        assert_eq!(count(adrift).await, 0, "a job runs without a lease");
        let unnoted = "select count(*) from shard.jobs j where state = 'running'
                          and (select count(*) from shard.running_jobs r where r.id = j.id) <> 1";
        assert_eq!(count(unnoted).await, 0, "a job that runs would not be found, or would be counted twice");
        let idle = "select count(*) from shard.jobs where state = 'waiting' and (lease_until is not null or worker is not null)";
        assert_eq!(count(idle).await, 0, "a waiting job has a holder");
        let negative = "select count(*) from shard.all_jobs where attempt < 0";
        assert_eq!(count(negative).await, 0, "no attempt is given back twice");
        let jobs = self.jobs.lock().await.len();
        assert_eq!(
            count("select count(*) from shard.all_jobs").await,
            i64::try_from(jobs).unwrap(),
            "none is lost"
        );
        assert_eq!(
            count("select count(distinct id) from shard.all_jobs").await,
            i64::try_from(jobs).unwrap()
        );
        let twice: Vec<_> =
            self.completed.lock().await.iter().filter(|(_, n)| **n > 1).map(|(job, _)| *job).collect();
        assert!(twice.is_empty(), "done twice: {twice:?}");
    }

    /// Left alone, with workers that do their work, every job comes to its end.
    async fn come_to_rest(&self) {
        self.take(&Step::Pause { on: false }).await;
        for process in &self.processes {
            process.lock().await.held.clear();
        }
        steps::expire(&self.database, None).await;
        for _ in 0..200 {
            self.take(&Step::Rescue).await;
            let due = steps::due(&self.database, Pool::MAINTENANCE, 50).await;
            let process = self.processes[0].lock().await;
            for held in process.worker.claim(&due).await {
                self.note_claim(held).await;
                assert!(process.worker.end(held, "completed").await, "the newest holder may end its job");
                *self.completed.lock().await.entry(held.job).or_default() += 1;
            }
            drop(process);
            let left: i64 = sqlx::query_scalar("select count(*) from shard.jobs")
                .fetch_one(&self.database.pool)
                .await
                .unwrap();
            if left == 0 {
                steps::due(&self.database, Pool::MAINTENANCE, 1).await;
                let notes: i64 = sqlx::query_scalar("select count(*) from shard.job_claims")
                    .fetch_one(&self.database.pool)
                    .await
                    .unwrap();
                assert_eq!(notes, 0, "a note of claims outlives its jobs");
                return self.check().await;
            }
        }
        panic!("jobs wait without end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_on_from_where_a_walk_ended_sees_each_of_the_other_jobs_once() {
    let clone = TestDatabase::create().await;
    let prefix = format!("t{}", Uuid::now_v7().simple());
    let database = clone.connect(&variable("REDIS_URL"), &prefix).await;
    let world = World::new(&database, true).await;
    for tenant in 0..3 {
        world.enqueue(4, tenant).await;
        world.enqueue(7, tenant).await;
    }
    let claimed = world.processes[0].lock().await.worker.claim(&world.jobs.lock().await[..3]).await;
    assert_eq!(claimed.len(), 3);

    let mut seen = steps::due(&database, Pool::MAINTENANCE, 2).await;
    assert_eq!(seen.len(), 6, "two of each lane, and what runs is passed over");
    seen.extend(steps::due_beyond(&database, Pool::MAINTENANCE, 2).await);
    seen.extend(claimed.iter().map(|held| held.job));
    seen.sort();
    let mut all = world.jobs.lock().await.clone();
    all.sort();
    assert_eq!(seen, all);
    drop(world);
    database.pool.close().await;
    clone.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_lane_that_a_limit_holds_back_a_walk_shows_what_there_is_room_for_and_one_more() {
    let clone = TestDatabase::create().await;
    let prefix = format!("t{}", Uuid::now_v7().simple());
    let database = clone.connect(&variable("REDIS_URL"), &prefix).await;
    let world = World::new(&database, true).await;
    sqlx::query("insert into shard.job_limits (id, scope, tenant, max_running) values ($1, 'tenant', $2, 2)")
        .bind(Uuid::now_v7())
        .bind(Uuid::from_u128(1))
        .execute(&database.pool)
        .await
        .unwrap();
    world.enqueue(9, 1).await;

    assert_eq!(steps::due(&database, Pool::MAINTENANCE, 5).await.len(), 3);
    let jobs = world.jobs.lock().await.clone();
    assert_eq!(world.processes[0].lock().await.worker.claim(&jobs).await.len(), 2);
    assert_eq!(steps::due(&database, Pool::MAINTENANCE, 5).await.len(), 1);
    world.enqueue(9, 2).await;
    assert_eq!(steps::due(&database, Pool::MAINTENANCE, 5).await.len(), 6, "the others are not held back");
    drop(world);
    database.pool.close().await;
    clone.remove().await;
}

fn pick(held: &mut Vec<Held>, which: usize) -> Option<Held> {
    if held.is_empty() { None } else { Some(held.swap_remove(which % held.len())) }
}

/// Runs a property over sequences of steps, each in an empty ledger of the same database.
fn over_sequences<F, Fut>(cases: u32, property: F)
where
    F: Fn(Database, Vec<Step>) -> Fut,
    Fut: Future<Output = ()>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (database, clone) = runtime.block_on(async {
        let clone = TestDatabase::create().await;
        let prefix = format!("t{}", Uuid::now_v7().simple());
        (clone.connect(&variable("REDIS_URL"), &prefix).await, clone)
    });
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&proptest::collection::vec(step(), 1..60), |sequence| {
        runtime.block_on(property(database.clone(), sequence));
        Ok(())
    });
    runtime.block_on(async {
        database.pool.close().await;
        clone.remove().await;
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

#[test]
fn no_order_of_statements_loses_a_job_does_one_twice_or_leaves_one_waiting() {
    over_sequences(150, |database, sequence| async move {
        let world = World::new(&database, true).await;
        for step in &sequence {
            world.take(step).await;
            world.check().await;
        }
        world.come_to_rest().await;
    });
}

#[test]
fn nor_does_any_interleaving_of_two_dispatchers_and_three_workers() {
    over_sequences(150, |database, sequence| async move {
        let world = Arc::new(World::new(&database, false).await);
        // Each process takes its own steps in order; people take theirs at any time.
        let mut lines: Vec<Vec<Step>> = vec![Vec::new(); WORKERS + DISPATCHERS + 2];
        for (n, step) in sequence.into_iter().enumerate() {
            let line = match step {
                Step::Claim { worker, .. }
                | Step::Renew { worker }
                | Step::End { worker, .. }
                | Step::PutBack { worker, .. }
                | Step::Checkpoint { worker, .. }
                | Step::Expire { worker }
                | Step::Crash { worker } => worker,
                Step::Dispatch { dispatcher } => WORKERS + dispatcher,
                Step::Rescue => WORKERS + n % DISPATCHERS,
                _ => WORKERS + DISPATCHERS + n % 2,
            };
            lines[line].push(step);
        }
        let running = lines.into_iter().map(|line| {
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                for step in &line {
                    world.take(step).await;
                }
            })
        });
        for line in join_all(running).await {
            line.expect("every process takes its steps");
        }
        world.check().await;
        world.come_to_rest().await;
    });
}
