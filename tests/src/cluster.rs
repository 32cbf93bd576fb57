//! Millrace as it is deployed: one process per binary, a database of its own, a Redis of its own that
//! may be killed and emptied and, where a test wants that, a PostgreSQL of its own. For tests that kill.

mod link;
mod pgbouncer;
pub(crate) mod postgres;
mod redis_server;

use std::{
    collections::HashMap,
    ffi::OsStr,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use jobs::{Connect, Database};
use reqwest::Url;
use runtime::settings::Settings;
use sqlx::{PgPool, postgres::PgPoolOptions};
use tempfile::TempDir;

use crate::{
    Client,
    app::{OPERATOR_TOKEN, new_signup, settings},
    database::{Server, TestDatabase, variable},
};
pub use link::Link;
use pgbouncer::PgBouncer;
use postgres::Postgres;
use redis_server::RedisServer;

/// The lease of a worker's jobs: short enough for a test.
pub const LEASE: Duration = Duration::from_secs(3);

/// The processes of an installation, apart from what it doesn't need here.
const PROCESSES: [&str; 7] =
    ["api", "scheduler", "imports", "exports", "provisioning", "deliveries", "maintenance"];

/// A "variable" of [`Cluster::start_process_with`]: the process's address space at the most, in KiB.
pub const ADDRESS_SPACE: &str = "TEST_ADDRESS_SPACE";

/// Another: the largest file that it may write, in blocks as `ulimit -f` counts them; writing more fails, as on a disk
/// that is full.
pub const FILE_SIZE: &str = "TEST_FILE_SIZE";

/// Running processes and servers; all of them end with it.
pub struct Cluster {
    /// Where the API listens.
    pub base: String,
    /// Where files and mail go.
    pub folder: TempDir,
    /// The database, for looking behind the scenes.
    pub pool: PgPool,
    variables: Vec<(&'static str, String)>,
    redis: RedisServer,
    processes: HashMap<&'static str, Child>,
    clone: Option<TestDatabase>,
    postgres: Option<Postgres>,
    /// In front of the database, where a test wants that.
    pooler: Option<PgBouncer>,
}

/// A process that was asked to leave.
pub struct Leaving {
    name: &'static str,
    child: Child,
}

impl Leaving {
    /// Waits for it, and fails unless it ends well.
    pub fn wait_for_a_good_end(mut self) {
        let status = self.child.wait().expect("it ends");
        assert!(status.success(), "{} drains and leaves: {status}", self.name);
    }
}

impl Cluster {
    /// Starts everything, on a database of the server that all tests share.
    pub async fn start() -> Self {
        Self::start_on(Server::shared(), None, &[]).await
    }

    /// The same with further variables set.
    pub async fn start_with(variables: &[(&'static str, &str)]) -> Self {
        Self::start_on(Server::shared(), None, variables).await
    }

    /// The same on a PostgreSQL of its own, which may be crashed. The name is that of its folder; two
    /// tests must not share one.
    pub async fn start_with_postgres(name: &str) -> Self {
        let postgres = Postgres::start(name);
        Self::start_on(postgres.server.clone(), Some(postgres), &[]).await
    }

    /// The same with a `PgBouncer` in session mode between the processes and the database.
    pub async fn start_behind_pgbouncer() -> Self {
        let server = Server::shared();
        let pooler = PgBouncer::start(&server.url);
        let mut cluster = Self::prepare(server, None, &[]).await;
        for (name, value) in &mut cluster.variables {
            if *name == "DATABASE_URL" {
                *value = pooler.url(value);
            }
        }
        cluster.pooler = Some(pooler);
        cluster.start_processes().await;
        cluster
    }

    async fn start_on(
        server: Server,
        postgres: Option<Postgres>,
        variables: &[(&'static str, &str)],
    ) -> Self {
        let mut cluster = Self::prepare(server, postgres, variables).await;
        cluster.start_processes().await;
        cluster
    }

    /// Starts everything that an installation has, and waits until it is ready.
    pub async fn start_processes(&mut self) {
        for name in PROCESSES {
            self.start_process(name);
        }
        self.wait_until_ready().await;
    }

    /// Everything but the processes.
    pub async fn prepare_only() -> Self {
        Self::prepare(Server::shared(), None, &[]).await
    }

    async fn prepare(server: Server, postgres: Option<Postgres>, variables: &[(&'static str, &str)]) -> Self {
        let clone = TestDatabase::create_on(server).await;
        let folder = TempDir::new().expect("a folder for files");
        let redis = RedisServer::start(folder.path().join("redis")).await;
        let port = free_port();
        let own = [
            ("REDIS_URL", redis.url()),
            ("JOB_LEASE_SECONDS", LEASE.as_secs().to_string()),
            ("PORT", port.to_string()),
            ("SHUTDOWN_DELAY_SECONDS", "0".to_owned()),
            ("LOG", "warn,apalis_core=off".to_owned()),
        ];
        let own: Vec<_> = own.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut exported = exported(&settings(&clone.url, &folder, &own));
        exported.extend(variables.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let pool = PgPoolOptions::new().max_connections(4).connect_lazy(&clone.url).expect("a URL");
        Self {
            base: format!("http://127.0.0.1:{port}"),
            pool,
            folder,
            variables: exported,
            redis,
            processes: HashMap::new(),
            clone: Some(clone),
            postgres,
            pooler: None,
        }
    }

    /// Runs a binary to its end; returns its exit code and stderr.
    pub fn run_to_end<V: AsRef<OsStr>>(
        &self,
        name: &str,
        arguments: &[&str],
        variables: &[(&str, V)],
    ) -> (i32, String) {
        let output = Command::new(PathBuf::from(variable("MILLRACE_BIN")).join(name))
            .args(arguments)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .output()
            .expect("the binary can be run");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().expect("it ends by itself"), said)
    }

    /// Asks every running process to leave, and waits.
    pub fn terminate_all(&mut self) {
        for name in PROCESSES {
            if self.processes.contains_key(name) {
                self.terminate(name);
            }
        }
    }

    /// A link to its Redis.
    pub async fn link_to_redis(&self) -> Link {
        Link::to(self.redis.port()).await
    }

    /// Another Redis, empty, which no process knows.
    pub async fn another_redis(&self) -> RedisServer {
        RedisServer::start(self.folder.path().join("another-redis")).await
    }

    /// A link to its PostgreSQL.
    pub async fn link_to_postgres(&self) -> Link {
        Link::to(self.postgres_url().port().expect("the test's URL has a port")).await
    }

    fn postgres_url(&self) -> Url {
        self.variable("DATABASE_URL").parse().expect("the test's URL is one")
    }

    /// A handle like that of a process, for enqueueing behind the scenes.
    pub async fn database(&self) -> Database {
        self.database_by(&self.redis.url(), self.variable("DATABASE_URL")).await
    }

    /// The same by a link to Redis.
    pub async fn database_behind(&self, redis: &Link) -> Database {
        self.database_by(&url_behind(redis), self.variable("DATABASE_URL")).await
    }

    /// The same by links to both servers.
    pub async fn database_behind_both(&self, redis: &Link, postgres: &Link) -> Database {
        let mut url = self.postgres_url();
        url.set_port(Some(postgres.port())).expect("such a URL has a port");
        self.database_by(&url_behind(redis), url.as_str()).await
    }

    /// What every process has as that variable.
    fn variable(&self, name: &str) -> &str {
        &self.variables.iter().find(|(known, _)| *known == name).expect("every process has it").1
    }

    async fn database_by(&self, redis_url: &str, database_url: &str) -> Database {
        Database::connect(&Connect {
            database_url,
            redis_url,
            redis_ca: None,
            redis_prefix: self.variable("REDIS_PREFIX"),
            connections: 4,
            silence: Duration::from_secs(10),
            fair_use: None,
        })
        .await
        .expect("the test's servers answer")
        .with_keys(self.variable("JOB_ENCRYPTION_KEY").parse().expect("the test's key is one"))
    }

    /// Where its database is.
    pub fn database_url(&self) -> String {
        self.clone.as_ref().expect("it is removed with the cluster").url.clone()
    }

    /// A user who has just signed up, in a workspace of their own.
    pub async fn owner(&self) -> Client {
        let anonymous = Client::anonymous(&self.base);
        let answer = anonymous.post("/auth/signup", new_signup()).await.expect(201);
        anonymous.signed_in(&answer)
    }

    /// A client with the operator's token.
    pub fn operator(&self) -> Client {
        Client::operator(&self.base, OPERATOR_TOKEN)
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
        if let Some((_, blocks)) = variables.iter().find(|(name, _)| *name == FILE_SIZE) {
            command = Command::new("sh");
            command.args(["-c", "trap '' XFSZ && ulimit -f \"$0\" && exec \"$1\"", blocks]).arg(&binary);
        }
        let child = command
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", binary.display()));
        self.processes.insert(name, child);
    }

    /// Starts a process with these variables and nothing else of the test's environment, but what names a server, a
    /// folder or a port of the test's; `further` are the test's own.
    pub fn start_process_from(
        &mut self,
        name: &'static str,
        variables: &[(String, String)],
        further: &[(&str, &str)],
    ) {
        const PLACES: [&str; 6] =
            ["DATABASE_URL", "REDIS_URL", "REDIS_PREFIX", "STORAGE_URL", "PORT", "JOB_LEASE_SECONDS"];
        let child = Command::new(PathBuf::from(variable("MILLRACE_BIN")).join(name))
            .env_clear()
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .envs(
                self.variables
                    .iter()
                    .filter(|(name, _)| PLACES.contains(name))
                    .map(|(name, value)| (name, value)),
            )
            .envs(further.iter().copied())
            .stdin(Stdio::null())
            .spawn()
            .expect("the binary can be run");
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

    /// Asks a process to leave, without waiting for it.
    pub fn ask_to_leave(&mut self, name: &'static str) -> Leaving {
        let child = self.processes.remove(name).expect("it runs");
        Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("it can be asked");
        Leaving { name, child }
    }

    /// Restarts the processes that have exited, as a supervisor would, and returns their names.
    pub fn restart_the_fallen(&mut self) -> Vec<&'static str> {
        let fallen: Vec<_> = self
            .processes
            .iter_mut()
            .filter_map(|(name, child)| child.try_wait().expect("a child can be asked").map(|_| *name))
            .collect();
        for name in &fallen {
            self.start_process(name);
        }
        fallen
    }

    /// Waits until a process has left by itself, and well.
    pub fn wait_for_exit(&mut self, name: &'static str) {
        let mut child = self.processes.remove(name).expect("it runs");
        let status = child.wait().expect("it ends");
        assert!(status.success(), "{name} leaves in good order: {status}");
    }

    /// Makes Redis forget everything.
    pub async fn flush_redis(&self) {
        self.redis.flush().await;
    }

    /// Kills Redis and starts it again with an empty memory, after a while without any.
    pub async fn restart_redis(&mut self) {
        self.redis.restart(true).await;
    }

    /// Ends Redis; [`Cluster::restart_redis`] starts it again.
    pub fn stop_redis(&mut self) {
        self.redis.kill();
    }

    /// Kills Redis and starts it again with the memory that it had, after a while without any.
    pub async fn kill_redis(&mut self) {
        self.redis.restart(false).await;
    }

    /// Ends PostgreSQL at once, with whatever its sessions were doing, and starts it again.
    pub fn crash_postgres(&self) {
        tokio::task::block_in_place(|| self.postgres().crash());
    }

    /// Ends PostgreSQL; [`Cluster::start_postgres`] starts it again.
    pub fn stop_postgres(&self) {
        tokio::task::block_in_place(|| self.postgres().stop());
    }

    /// Starts PostgreSQL again.
    pub fn start_postgres(&self) {
        tokio::task::block_in_place(|| self.postgres().start_again());
    }

    /// Changes a setting of PostgreSQL, at once.
    pub async fn alter_postgres(&self, sql: &'static str) {
        self.postgres().alter(sql).await;
    }

    fn postgres(&self) -> &Postgres {
        self.postgres.as_ref().expect("a PostgreSQL of its own: start_with_postgres")
    }

    /// Sends Redis a command; empty words are left out.
    pub async fn redis(&self, command: &[&str]) {
        self.redis.send(command).await;
    }

    /// A number that a query of the database answers.
    pub async fn number(&self, query: &str) -> i64 {
        self.number_if_up(query).await.unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    /// The same, unless the database is down just now.
    pub async fn number_if_up(&self, query: &str) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar(sqlx::AssertSqlSafe(query.to_owned())).fetch_one(&self.pool).await
    }

    /// Whether the API is ready.
    pub async fn is_ready(&self) -> bool {
        let answer = reqwest::get(format!("{}/ready", self.base)).await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// Waits until it does.
    pub async fn wait_until_ready(&self) {
        wait_until("the API is ready", || self.is_ready()).await;
    }
}

fn url_behind(redis: &Link) -> String {
    format!("redis://127.0.0.1:{}/0", redis.port())
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

/// A port on which no process listens now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

fn exported(settings: &Settings) -> Vec<(&'static str, String)> {
    [
        "DATABASE_URL",
        "REDIS_URL",
        "REDIS_PREFIX",
        "MILLRACE_SECRET",
        "JOB_ENCRYPTION_KEY",
        "OPERATOR_TOKEN",
        "STORAGE_URL",
        "MAIL_URL",
        "JOB_LEASE_SECONDS",
        "PORT",
        "SHUTDOWN_DELAY_SECONDS",
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
        let Some(clone) = self.clone.take() else { return };
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(clone.remove());
        })
        .join()
        .expect("the test's database can be removed");
    }
}
