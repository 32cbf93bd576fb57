//! The measurements behind `script/bench`: each prints one JSON line per figure. They drive the real
//! binaries of a release build as processes of their own.
//!
//! usage: bench api|engine|hostile|import|sse...      (`script/bench` sets the environment)

mod api;
mod client;
mod engine;
mod figure;
mod hostile;
mod import;
mod process;
mod sse;

use std::{process::ExitCode, time::Duration};

use jobs::{Connect, Database};
use runtime::settings::Settings;

/// A variable that `script/bench` sets.
fn variable(name: &'static str) -> Result<String, Failure> {
    Ok(Settings::of_process()?.required(name)?.to_owned())
}

/// The servers that the measured processes use.
async fn connect() -> Result<Database, Failure> {
    jobs::kinds::install(&[]);
    Ok(Database::connect(&Connect {
        database_url: &variable("DATABASE_URL")?,
        redis_url: &variable("REDIS_URL")?,
        redis_ca: None,
        redis_prefix: "mr",
        connections: 4,
        silence: Duration::from_secs(30),
        fair_use: None,
    })
    .await?)
}

/// Removes all jobs, and what was set up for them.
async fn clear_ledger(database: &Database) -> Result<(), Failure> {
    sqlx::raw_sql(
        "truncate jobs, finished_jobs, job_claims, job_checkpoints, job_logs, job_keys, job_limits, job_starts, workers",
    )
    .execute(&database.pool)
    .await?;
    Ok(())
}

/// What a measurement may fail with: anything, said once.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Counts requests and refuses none. A process takes up to five seconds to learn of it, so it is said before any starts.
async fn generous_limits(database: &Database) -> Result<(), Failure> {
    sqlx::query("update control.rate_limits set requests = 2000000000").execute(&database.pool).await?;
    Ok(())
}

async fn no_limits() -> Result<(), Failure> {
    generous_limits(&connect().await?).await
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut result = no_limits().await;
    for name in std::env::args().skip(1) {
        if result.is_err() {
            break;
        }
        result = match name.as_str() {
            "api" => api::measure().await,
            "engine" => engine::measure().await,
            "hostile" => hostile::measure().await,
            "import" => import::measure().await,
            "sse" => sse::measure().await,
            other => Err(format!("there is no bench named {other}").into()),
        };
    }
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}
