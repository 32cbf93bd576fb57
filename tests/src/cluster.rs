//! Millrace as it is deployed: one process per binary, a database of its own, a Redis of its own that
//! may be killed and emptied. For tests that kill.

use std::{
    collections::HashMap,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use domain::settings::Settings;
use jobs::{Connect, Database};
use tempfile::TempDir;

use crate::{
    Client,
    app::{new_signup, settings},
    database::{TestDatabase, variable},
};

/// The processes of an installation, apart from what it doesn't need here.
const PROCESSES: [&str; 6] = ["api", "scheduler", "imports", "exports", "provisioning", "deliveries"];

/// A "variable" of [`Cluster::start_process_with`]: the process's address space at the most, in KiB.
pub const ADDRESS_SPACE: &str = "TEST_ADDRESS_SPACE";

/// Running processes and servers; all of them end with it.
pub struct Cluster {
    /// Where the API listens.
    pub base: String,
    /// The database's URL, for looking behind the scenes.
    pub database_url: String,
    /// Where files and mail go.
    pub folder: TempDir,
    variables: Vec<(&'static str, String)>,
    redis: Redis,
    processes: HashMap<&'static str, Child>,
    clone: Option<TestDatabase>,
}

/// A Redis server of the test's own.
struct Redis {
    port: u16,
    process: Child,
}

impl Redis {
    fn start(port: u16) -> Child {
        Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed")
    }
}

impl Cluster {
    /// Starts everything, with leases short enough for a test.
    pub async fn start() -> Self {
        let clone = TestDatabase::create().await;
        let folder = TempDir::new().expect("a folder for files");
        let (redis_port, port) = (free_port(), free_port());
        let redis = Redis { port: redis_port, process: Redis::start(redis_port) };
        let redis_url = format!("redis://127.0.0.1:{redis_port}/0");
        let own = [
            ("REDIS_URL", redis_url.as_str()),
            ("JOB_LEASE_SECONDS", "3"),
            ("PORT", &port.to_string()),
            ("LOG", "warn,apalis_core=off"),
        ];
        let variables = exported(&settings(&clone.url, &folder, &own));
        let mut cluster = Self {
            base: format!("http://127.0.0.1:{port}"),
            database_url: clone.url.clone(),
            folder,
            variables,
            redis,
            processes: HashMap::new(),
            clone: Some(clone),
        };
        cluster.wait_for_redis().await;
        for name in PROCESSES {
            cluster.start_process(name);
        }
        cluster.wait_until_ready().await;
        cluster
    }

    /// Someone who has just signed up, in a workspace of their own.
    pub async fn owner(&self) -> Client {
        let anonymous = Client::anonymous(&self.base);
        let answer = anonymous.post("/auth/signup", new_signup()).await.expect(201);
        anonymous.signed_in(&answer)
    }

    /// A handle like that of a process, for enqueueing behind the scenes.
    pub async fn database(&self) -> Database {
        let variable = |name: &str| {
            &self.variables.iter().find(|(known, _)| *known == name).expect("every process has it").1
        };
        Database::connect(&Connect {
            database_url: variable("DATABASE_URL"),
            redis_url: variable("REDIS_URL"),
            redis_prefix: variable("REDIS_PREFIX"),
            connections: 4,
            idle_in_transaction: Duration::from_secs(10),
        })
        .await
        .expect("the test's servers answer")
    }

    /// Starts a binary, as its supervisor would.
    pub fn start_process(&mut self, name: &'static str) {
        self.start_process_with(name, &[]);
    }

    /// The same with further variables, in place of one that runs.
    pub fn start_process_with(&mut self, name: &'static str, variables: &[(&str, &str)]) {
        if self.is_running(name) {
            self.terminate(name);
        }
        let binary = PathBuf::from(variable("MILLRACE_BIN")).join(name);
        let mut command = Command::new(&binary);
        // Limits the process from outside, as the system it runs on would.
        if let Some((_, kibibytes)) = variables.iter().find(|(name, _)| *name == ADDRESS_SPACE) {
            command = Command::new("sh");
            command.args(["-c", "ulimit -v \"$0\" && exec \"$1\"", kibibytes]).arg(&binary);
        }
        let child = command
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", binary.display()));
        self.processes.insert(name, child);
    }

    /// Whether a process has been started and has not ended, by itself or by our hand.
    pub fn is_running(&mut self, name: &str) -> bool {
        let child = self.processes.get_mut(name);
        child.is_some_and(|child| child.try_wait().expect("a child can be asked").is_none())
    }

    /// The id of a running process.
    pub fn pid(&self, name: &str) -> u32 {
        self.processes.get(name).expect("it runs").id()
    }

    /// Ends a process as a crash would: at once.
    pub fn kill(&mut self, name: &'static str) {
        let mut child = self.processes.remove(name).expect("it runs");
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
    }

    /// Asks a process to leave, and waits for it.
    pub fn terminate(&mut self, name: &'static str) {
        let mut child = self.processes.remove(name).expect("it runs");
        let pid = child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().expect("it can be asked");
        let status = child.wait().expect("it ends");
        assert!(status.success(), "{name} drains and leaves: {status}");
    }

    /// Makes Redis forget everything.
    pub async fn flush_redis(&self) {
        let client = redis::Client::open(self.redis_url()).expect("a URL");
        let mut connection = client.get_multiplexed_async_connection().await.expect("Redis answers");
        redis::cmd("FLUSHALL").query_async::<()>(&mut connection).await.expect("it forgets");
    }

    /// Kills Redis and starts it again with an empty memory, after a while without any.
    pub async fn restart_redis(&mut self) {
        self.redis.process.kill().expect("Redis can be killed");
        self.redis.process.wait().expect("Redis ends");
        tokio::time::sleep(Duration::from_millis(500)).await;
        self.redis.process = Redis::start(self.redis.port);
        self.wait_for_redis().await;
    }

    /// A number that a query of the database answers.
    pub async fn number(&self, query: &str) -> i64 {
        let pool = sqlx::PgPool::connect(&self.database_url).await.expect("PostgreSQL answers");
        let number = sqlx::query_scalar(sqlx::AssertSqlSafe(query.to_owned())).fetch_one(&pool).await;
        pool.close().await;
        number.unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    fn redis_url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.redis.port)
    }

    async fn wait_for_redis(&self) {
        let client = redis::Client::open(self.redis_url()).expect("a URL");
        wait_until("Redis answers", || async { client.get_multiplexed_async_connection().await.is_ok() })
            .await;
    }

    async fn wait_until_ready(&self) {
        let http = reqwest::Client::new();
        let url = format!("{}/ready", self.base);
        wait_until("the API is ready", || async {
            http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
    }
}

/// Asks until the answer is yes, for half a minute.
pub async fn wait_until<F, Fut>(what: &str, ask: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = bool>,
{
    for _ in 0..600 {
        if ask().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not within 30 s: {what}");
}

/// How many entries all keys of a Redis have together. The histories of events are left out, which expire,
/// and the signals, which come and go.
pub async fn entries_in_redis(database: &Database) -> usize {
    let mut redis = database.bus.connection();
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut redis).await.expect("Redis answers");
    let mut entries = 0;
    for key in keys.iter().filter(|key| !key.ends_with(":signal")) {
        let kind: String =
            redis::cmd("TYPE").arg(key).query_async(&mut redis).await.expect("a key has a type");
        let length = match kind.as_str() {
            "hash" => "HLEN",
            "list" => "LLEN",
            "set" => "SCARD",
            "zset" => "ZCARD",
            "string" => "EXISTS",
            _ => continue,
        };
        entries += redis::cmd(length).arg(key).query_async::<usize>(&mut redis).await.expect("a length");
    }
    entries
}

/// A port that nobody listens on just now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

fn exported(settings: &Settings) -> Vec<(&'static str, String)> {
    [
        "DATABASE_URL",
        "REDIS_URL",
        "REDIS_PREFIX",
        "MILLRACE_SECRET",
        "JOB_ENCRYPTION_KEY",
        "STORAGE_URL",
        "MAIL_URL",
        "JOB_LEASE_SECONDS",
        "PORT",
        "LOG",
    ]
    .into_iter()
    .filter_map(|name| Some((name, settings.get(name)?.to_owned())))
    .collect()
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.processes.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = self.redis.process.kill();
        let _ = self.redis.process.wait();
        let Some(clone) = self.clone.take() else { return };
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(clone.remove());
        })
        .join()
        .expect("the test's database can be removed");
    }
}
