//! The whole of Millrace in the test's own process: API, scheduler and all workers, over a database
//! and a Redis prefix of the test's own. Dropped with jobs left over, it fails the test.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, OnceLock},
    time::Duration,
};

use api_server::Config;
use jobs::{
    Database, Pool,
    dispatch::{DispatchConfig, dispatch},
    worker::{WorkerConfig, work},
};
use metrics_exporter_prometheus::PrometheusBuilder;
use runtime::{process::Logging, settings::Settings};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    Client,
    cluster::wait_until,
    database::{TestDatabase, variable},
};

/// What opens the operator's routes in tests.
pub const OPERATOR_TOKEN: &str = "an operator's token, for tests and nothing else";

/// Millrace, running.
pub struct TestApp {
    /// Where the API listens.
    pub base: String,
    /// Its database, for looking behind the scenes.
    pub database: Database,
    /// Where files and mail go.
    pub folder: TempDir,
    /// The kinds of job that its workers handle.
    pub kinds_handled: BTreeSet<&'static str>,
    clone: Option<TestDatabase>,
    stop: CancellationToken,
}

impl TestApp {
    /// Starts everything.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts everything with further variables set.
    pub async fn start_with(variables: &[(&str, &str)]) -> Self {
        start_logging();
        let clone = TestDatabase::create().await;
        let folder = TempDir::new().expect("a folder for files");
        let settings = settings(&clone.url, &folder, variables);
        let config = Config::read(&settings).expect("the test's settings are good");
        let app = api_server::start(&config).await.expect("the API starts");
        let database = clone.connect(&config.servers.redis_url, &config.servers.redis_prefix).await;
        let database = database.with_keys(config.payload_keys.clone());
        let stop = CancellationToken::new();

        let listener = api_server::listen(([127, 0, 0, 1], 0).into()).expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let figures = PrometheusBuilder::new().build_recorder().handle();
        let stopped = stop.clone().cancelled_owned();
        let endpoint = api_server::endpoint(app, figures);
        tokio::spawn(api_server::serve(listener, endpoint, config.crowd(), stopped, Duration::ZERO));

        let (scheduler, url, stopped) = (database.clone(), clone.url.clone(), stop.clone());
        tokio::spawn(async move { dispatch(scheduler, &url, DispatchConfig::default(), stopped).await });

        let process = workers::process::Config::read(&settings, Pool::all()).expect("the settings are good");
        let services = Arc::new(workers::Services::new(database.clone(), &process).expect("services"));
        let slots: HashMap<_, _> = Pool::all().iter().copied().map(|pool| (pool, 4)).collect();
        let (registry, connection) = (workers::registry(&services), database.clone());
        let kinds_handled = registry.names().collect();
        tokio::spawn(work(connection, registry, WorkerConfig::new(slots), stop.clone()));

        Self { base, database, folder, clone: Some(clone), stop, kinds_handled }
    }

    /// A client without a credential.
    pub fn anonymous(&self) -> Client {
        Client::anonymous(&self.base)
    }

    /// A client with the operator's token.
    pub fn operator(&self) -> Client {
        Client::operator(&self.base, OPERATOR_TOKEN)
    }

    /// A user who has signed up and verified the address, in a workspace of their own.
    pub async fn owner(&self) -> Client {
        let signup = new_signup();
        let answer = self.anonymous().post("/auth/signup", signup.clone()).await.expect(201);
        self.verify(&signup["email"]).await;
        self.anonymous().signed_in(&answer)
    }

    /// Verifies an address behind the scenes, as its owner does by the mailed link.
    pub async fn verify(&self, email: &Value) {
        sqlx::query("update control.users set email_verified_at = now() where email = $1")
            .bind(email.as_str())
            .execute(&self.database.pool)
            .await
            .expect("an address can be verified");
    }

    /// Lets the test take a workspace's last owner away by SQL, which no request can.
    pub async fn without_owners(&self) {
        sqlx::query("alter table control.memberships disable trigger workspace_keeps_an_owner")
            .execute(&self.database.pool)
            .await
            .expect("a trigger can be disabled");
    }

    /// Waits until a job of any workspace has ended; returns the operator's view of it.
    pub async fn wait_for_end(&self, job: jobs::JobId) -> Value {
        let operator = self.operator();
        let path = format!("/jobs/{job}");
        wait_until("the job has ended", || async {
            operator.get(&path).await.expect(200)["finished_at"].is_string()
        })
        .await;
        operator.get(&path).await.expect(200)
    }

    /// How many rows a query counts, behind the scenes.
    pub async fn count(&self, query: &str) -> i64 {
        sqlx::query_scalar(sqlx::AssertSqlSafe(query.to_owned()))
            .fetch_one(&self.database.pool)
            .await
            .unwrap_or_else(|error| panic!("{query}: {error}"))
    }
}

/// What handlers log goes to their jobs' logs; nothing goes to stderr.
fn start_logging() {
    static LOGGING: OnceLock<Logging> = OnceLock::new();
    LOGGING.get_or_init(|| {
        let quiet = [("LOG".to_owned(), "off".to_owned())].into_iter().collect();
        runtime::process::start_logging(&quiet, "tests").expect("logging can be started")
    });
}

/// A sign-up with an unused address.
pub fn new_signup() -> Value {
    json!({
        "email": format!("ada.{}@example.com", Uuid::now_v7().simple()),
        "password": "correct horse battery staple",
        "full_name": "Ada Lovelace",
        "company_name": "Analytical Engines",
        "skip_seed": true,
    })
}

/// The settings of a test's processes.
pub fn settings(database_url: &str, folder: &TempDir, variables: &[(&str, &str)]) -> Settings {
    let path = folder.path().display();
    let redis_prefix = format!("t{}", Uuid::now_v7().simple());
    [
        ("DATABASE_URL", database_url.to_owned()),
        ("REDIS_URL", variable("REDIS_URL")),
        ("REDIS_PREFIX", redis_prefix),
        ("MILLRACE_SECRET", "a secret for tests, and for nothing else".to_owned()),
        ("JOB_ENCRYPTION_KEY", format!("test:{}", "7e".repeat(32))),
        ("OPERATOR_TOKEN", OPERATOR_TOKEN.to_owned()),
        ("STORAGE_URL", format!("file://{path}/files")),
        ("MAIL_URL", format!("file://{path}/mail")),
    ]
    .into_iter()
    .chain(variables.iter().map(|(name, value)| (*name, (*value).to_owned())))
    .map(|(name, value)| (name.to_owned(), value))
    // A variable set to nothing takes the default away.
    .collect::<HashMap<String, String>>()
    .into_iter()
    .collect()
}

impl Drop for TestApp {
    fn drop(&mut self) {
        let Some(clone) = self.clone.take() else { return };
        let (url, stop) = (clone.url.clone(), self.stop.clone());
        // A runtime of its own: the test's may be single-threaded and busy dropping us.
        let left = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let left = jobs_left(&url).await;
                stop.cancel();
                clone.remove().await;
                left
            })
        })
        .join()
        .expect("the test's database can be removed");
        if !std::thread::panicking() {
            assert!(left.is_empty(), "jobs are left over: {left:?}");
        }
    }
}

/// The live jobs that don't end by themselves soon.
async fn jobs_left(url: &str) -> Vec<String> {
    let pool = sqlx::PgPool::connect(url).await.expect("PostgreSQL answers");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        let left: Vec<String> = sqlx::query_scalar("select kind || ' ' || state from shard.jobs")
            .fetch_all(&pool)
            .await
            .expect("jobs can be listed");
        if left.is_empty() || tokio::time::Instant::now() > deadline {
            pool.close().await;
            return left;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
