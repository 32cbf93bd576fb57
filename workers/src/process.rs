//! The frame of every worker process: read its configuration, connect, run until
//! SIGTERM or SIGINT, drain.

use std::{
    collections::HashMap, error::Error, net::SocketAddr, ops::RangeInclusive, path::PathBuf,
    process::ExitCode, sync::Arc, time::Duration,
};

use domain::{
    installation::{Probe, wait_until_fit},
    job_kinds::{DELIVERIES, PROVISIONING},
};
use domain_data::job_kinds::{EXPORTS, IMPORTS};
use jobs::{
    ConnectError, Database, PayloadKeys, Pool, Registry,
    dispatch::{DispatchConfig, Leadership, dispatch},
    figures, kinds,
    worker::{BEYOND_GRACE, IsolatedProcess, RUN_ISOLATED, WorkerConfig, run_isolated, work},
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use runtime::{
    mail::{self, Mailer},
    process::{
        Logging, asked_to_stop, cannot_start, end_within, keep_files_private, start_logging, use_small_pages,
    },
    servers::Servers,
    settings::{SettingError, Settings},
    storage::Storage,
    stripe::Payments,
    web_app,
    webhooks::{self, SigningKey, WebhookSender},
};
use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{
    Services,
    listen::{self, Told},
};

/// Maximum number of concurrent jobs of a pool, per process.
const MAX_SLOTS: usize = 10_000;
/// Range of `JOB_MEMORY_LIMIT_MB`: from the minimum of a process for any job, to a TiB.
const MEMORY_LIMITS: RangeInclusive<u64> = 256..=1 << 20;

/// The configuration of a worker or scheduler process.
#[derive(Debug, Clone)]
pub struct Config {
    /// PostgreSQL and Redis; 16 connections unless `DATABASE_CONNECTIONS` is set.
    pub servers: Servers,
    /// `JOB_ENCRYPTION_KEY`: key for encrypting secrets in payloads.
    pub payload_keys: PayloadKeys,
    /// `JOB_LEASE_SECONDS`: maximum age of a worker's heartbeat and of its claims. Default: 15.
    pub lease: Duration,
    /// `SHUTDOWN_GRACE_SECONDS`: grace period of jobs after SIGTERM. Default: 25.
    pub grace: Duration,
    /// `JOB_MEMORY_LIMIT_MB`: address space of a process that runs one job alone, in MiB; unset: no limit.
    pub memory_limit: Option<u64>,
    /// `STORAGE_URL`: location of files' bytes. See [`Storage::from_settings`].
    pub storage: Storage,
    /// `<POOL>_CONCURRENCY`, for example `IMPORTS_CONCURRENCY`: maximum number of concurrent jobs of that pool.
    pub slots: HashMap<Pool, usize>,
    /// `METRICS_LISTEN`: address for Prometheus, for example `127.0.0.1:9101`; unset: none.
    pub metrics_listen: Option<std::net::SocketAddr>,
    /// `MAIL_URL` and `MAIL_FROM`: transport of email.
    pub mailer: Arc<dyn Mailer>,
    /// `WEBHOOK_ALLOWED_NETWORKS`: see [`webhooks::from_settings`].
    pub webhooks: Arc<dyn WebhookSender>,
    /// `MILLRACE_SECRET`: secret for signing webhooks, the same as the API's. Without it none is sent.
    pub signing: Option<SigningKey>,
    /// `STRIPE_…`: access to payments. See [`Payments::from_settings`].
    pub payments: Payments,
    /// `APP_URL`: URL of the web app, for links in emails.
    pub app_url: Url,
}

impl Config {
    /// Reads the variables that concern these pools.
    ///
    /// # Errors
    /// The first variable that is missing or malformed.
    pub fn read(settings: &Settings, pools: &[Pool]) -> Result<Self, SettingError> {
        let mut slots = HashMap::new();
        for &pool in pools {
            let name = concurrency_variable(pool);
            slots.insert(pool, settings.within(name, pool.slots(), 1..=MAX_SLOTS)?);
        }
        Ok(Self {
            servers: Servers::from_settings(settings, 16)?,
            payload_keys: settings.required_as("JOB_ENCRYPTION_KEY")?,
            lease: Duration::from_secs(settings.within("JOB_LEASE_SECONDS", 15, 2..=3600)?),
            grace: Duration::from_secs(settings.within("SHUTDOWN_GRACE_SECONDS", 25, 0..=86_400)?),
            memory_limit: match settings.get("JOB_MEMORY_LIMIT_MB") {
                None => None,
                Some(_) => Some(settings.within("JOB_MEMORY_LIMIT_MB", 0, MEMORY_LIMITS)?),
            },
            storage: Storage::from_settings(settings)?,
            slots,
            mailer: mail::from_settings(settings)?,
            webhooks: webhooks::from_settings(settings)?,
            signing: settings.secret("MILLRACE_SECRET")?.map(SigningKey::new),
            payments: Payments::from_settings(settings)?,
            app_url: web_app::base(settings)?,
            metrics_listen: settings.optional("METRICS_LISTEN")?,
        })
    }

    /// Connects to PostgreSQL and Redis.
    pub async fn connect(&self) -> Result<Database, ConnectError> {
        let database = self.servers.connect(self.lease * 2 / 3, None).await?;
        Ok(database.with_keys(self.payload_keys.clone()))
    }
}

/// The setting of a pool's concurrency. Names of settings have a static lifetime; there are few pools.
fn concurrency_variable(pool: Pool) -> &'static str {
    format!("{}_CONCURRENCY", pool.name().to_uppercase()).leak()
}

/// Pools with a program of their own. `maintenance` serves all others.
pub const WITH_PROGRAMS: [Pool; 4] = [IMPORTS, EXPORTS, PROVISIONING, DELIVERIES];

/// Serves every pool. The complete `main` of a binary for small installations.
///
/// `--kinds` lists the kinds of job with their pools and policies instead, and needs no configuration.
pub async fn serve_all() -> ExitCode {
    domain_jobs::install_kinds();
    if std::env::args().nth(1).as_deref() == Some("--kinds") {
        print!("{}", kinds::table());
        return ExitCode::SUCCESS;
    }
    serve(Pool::all()).await
}

/// Serves the pools that have no program of their own. The whole of `main` of `maintenance`.
pub async fn serve_others() -> ExitCode {
    domain_jobs::install_kinds();
    let others: Vec<_> = Pool::all().iter().copied().filter(|pool| !WITH_PROGRAMS.contains(pool)).collect();
    serve_as(Pool::MAINTENANCE.name(), &others).await
}

/// Serves pools until the process is signalled to stop. The complete `main` of a worker binary.
///
/// With the argument for it, a binary runs one job instead, which another process of it has claimed.
pub async fn serve(pools: &[Pool]) -> ExitCode {
    let service = match pools {
        [pool] => pool.name(),
        _ => "workers",
    };
    serve_as(service, pools).await
}

/// `service` is what the process is called in traces.
async fn serve_as(service: &str, pools: &[Pool]) -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(RUN_ISOLATED) {
        return serve_one_job().await;
    }
    run(service, pools, None, |database, config, stop| async move {
        let worker = WorkerConfig {
            lease: config.lease,
            grace: config.grace,
            isolated: Some(this_program().map_err(sqlx::Error::Io)?),
            ..WorkerConfig::new(config.slots.clone())
        };
        work(database.clone(), registry(database, &config)?, worker, stop).await
    })
    .await
}

async fn serve_one_job() -> ExitCode {
    run(RUN_ISOLATED, &[], None, |database, config, stop| async move {
        if let Some(megabytes) = config.memory_limit {
            let bytes = Some(megabytes.saturating_mul(1 << 20));
            setrlimit(Resource::As, Rlimit { current: bytes, maximum: bytes })
                .map_err(|error| sqlx::Error::Io(error.into()))?;
        }
        run_isolated(database.clone(), registry(database, &config)?, stop).await
    })
    .await
}

fn registry(database: Database, config: &Config) -> Result<Registry, sqlx::Error> {
    let services =
        Services::new(database, config).map_err(|error| sqlx::Error::Configuration(error.into()))?;
    Ok(crate::registry(&Arc::new(services)))
}

/// This very program, also when its file has been replaced since.
fn this_program() -> std::io::Result<IsolatedProcess> {
    let itself = PathBuf::from("/proc/self/exe");
    let program = if itself.exists() { itself } else { std::env::current_exe()? };
    // One job needs few connections, and the metrics are exported by the worker.
    let variables = vec![
        ("DATABASE_CONNECTIONS", "6".to_owned()),
        ("METRICS_LISTEN", String::new()),
        // The allocator reserves addresses ahead, in KiB. They count towards the limit of its memory.
        ("MIMALLOC_ARENA_RESERVE", (32 << 10).to_string()),
    ];
    Ok(IsolatedProcess { program, variables })
}

/// Dispatches until the process is signalled to stop. The complete `main` of the scheduler.
pub async fn schedule() -> ExitCode {
    let leadership = Leadership::default();
    run("scheduler", &[], Some(leadership.clone()), |database, config, stop| async move {
        let recurring = crate::recurring().map_err(|error| sqlx::Error::Encode(error.into()))?;
        let dispatching = DispatchConfig {
            lease: config.lease,
            recurring,
            disable_refused: Some(domain::makers::disable_refused_when_due),
            leadership,
            ..DispatchConfig::default()
        };
        dispatch(database, &config.servers.database_url, dispatching, stop).await;
        Ok(())
    })
    .await
}

fn start(settings: &Settings, service: &str, pools: &[Pool]) -> Result<(Logging, Config), SettingError> {
    use_small_pages();
    keep_files_private();
    Ok((start_logging(settings, service)?, Config::read(settings, pools)?))
}

async fn run<F, Fut>(service: &str, pools: &[Pool], leadership: Option<Leadership>, body: F) -> ExitCode
where
    F: FnOnce(Database, Config, CancellationToken) -> Fut,
    Fut: Future<Output = Result<(), sqlx::Error>>,
{
    domain_jobs::install_kinds();
    let started = Settings::of_process().and_then(|settings| start(&settings, service, pools));
    let (_logging, config) = match started {
        Ok(started) => started,
        Err(error) => {
            eprintln!("{error}");
            return error.exit_code();
        }
    };
    let listening = match config.metrics_listen {
        Some(address) => match open(address).await {
            Ok(listening) => Some(listening),
            Err(error) => return cannot_start(&format_args!("METRICS_LISTEN: {error}")),
        },
        None => None,
    };
    if !pools.is_empty()
        && let Err(error) = config.storage.probe().await
    {
        return cannot_start(&format_args!("STORAGE_URL: {error}"));
    }
    let database = match config.connect().await {
        Ok(database) => database,
        Err(error) => return cannot_start(&error),
    };
    if let Err(error) = wait_until_fit(&database.pool).await {
        return cannot_start(&error);
    }
    // Earlier connections are accepted, and answered from here on: a process that waits for migrations is not ready.
    if let Some((listener, figures)) = listening {
        let probe = Arc::new(Probe::new(database.clone()));
        let state = Told { figures, probe, bus: database.bus.clone(), leadership };
        tokio::spawn(listen::listen(listener, state));
    }
    let stop = CancellationToken::new();
    let (asked, limit) = (stop.clone(), config.grace + BEYOND_GRACE);
    tokio::spawn(async move {
        asked_to_stop().await;
        end_within(limit);
        asked.cancel();
    });
    match body(database, config, stop).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "stopped");
            ExitCode::FAILURE
        }
    }
}

/// Opens the port of the process's metrics, and starts to record them.
async fn open(address: SocketAddr) -> Result<(TcpListener, PrometheusHandle), Box<dyn Error>> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &figures::SECONDS)?
        .install_recorder()?;
    figures::begin();
    Ok((listen::bind(address).await?, handle))
}
