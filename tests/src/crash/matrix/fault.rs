//! What can strike an installation, and how its supervisors answer.

use crate::cluster::Cluster;

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The process that does the work dies.
    WorkerKilled,
    /// It is asked to leave, as when a release is rolled out.
    WorkerAsked,
    /// The API process dies.
    ApiKilled,
    /// It is asked to leave.
    ApiAsked,
    /// The leader dies.
    SchedulerKilled,
    /// It is asked to leave.
    SchedulerAsked,
    /// Redis dies and comes back as it was.
    RedisKilled,
    /// Redis forgets everything.
    RedisFlushed,
    /// Redis dies and comes back with an empty memory.
    RedisEmptied,
    /// PostgreSQL ends every session where it is, and recovers.
    PostgresCrashed,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::WorkerKilled,
        Self::WorkerAsked,
        Self::ApiKilled,
        Self::ApiAsked,
        Self::SchedulerKilled,
        Self::SchedulerAsked,
        Self::RedisKilled,
        Self::RedisFlushed,
        Self::RedisEmptied,
        Self::PostgresCrashed,
    ];

    /// As the table names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::WorkerKilled => "worker SIGKILL",
            Self::WorkerAsked => "worker SIGTERM",
            Self::ApiKilled => "API SIGKILL",
            Self::ApiAsked => "API SIGTERM",
            Self::SchedulerKilled => "scheduler SIGKILL",
            Self::SchedulerAsked => "scheduler SIGTERM",
            Self::RedisKilled => "Redis SIGKILL",
            Self::RedisFlushed => "Redis FLUSHALL",
            Self::RedisEmptied => "Redis restarted empty",
            Self::PostgresCrashed => "PostgreSQL immediate restart",
        }
    }

    /// Strikes. What ends is restarted as its supervisor would; nothing else is done by hand.
    pub async fn strike(self, cluster: &mut Cluster, worker: &'static str) {
        match self {
            Self::WorkerKilled => kill(cluster, worker),
            Self::WorkerAsked => terminate(cluster, worker),
            Self::ApiKilled => kill(cluster, "api"),
            Self::ApiAsked => terminate(cluster, "api"),
            Self::SchedulerKilled => kill(cluster, "scheduler"),
            Self::SchedulerAsked => terminate(cluster, "scheduler"),
            Self::RedisKilled => cluster.kill_redis().await,
            Self::RedisFlushed => cluster.flush_redis().await,
            Self::RedisEmptied => cluster.restart_redis().await,
            Self::PostgresCrashed => cluster.crash_postgres(),
        }
    }
}

fn kill(cluster: &mut Cluster, name: &'static str) {
    cluster.kill(name);
    cluster.start_process(name);
}

fn terminate(cluster: &mut Cluster, name: &'static str) {
    tokio::task::block_in_place(|| cluster.terminate(name));
    cluster.start_process(name);
}
