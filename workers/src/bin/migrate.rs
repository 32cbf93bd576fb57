//! Brings every schema of the installation up to date, and ends. Safe at any time, many at once.

use std::{process::ExitCode, str::FromStr};

use domain::{
    migrations,
    process::{Logging, start_logging},
    settings::{SettingError, Settings},
};
use sqlx::postgres::PgConnectOptions;

#[tokio::main]
async fn main() -> ExitCode {
    let settings = Settings::of_process();
    let (_logging, server) = match start(&settings) {
        Ok(started) => started,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    match migrations::migrate(&server).await {
        Ok(behind) => {
            tracing::info!(workspaces = behind.len(), "all schemas are up to date");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn start(settings: &Settings) -> Result<(Logging, PgConnectOptions), SettingError> {
    Ok((start_logging(settings, "migrate")?, server(settings)?))
}

fn server(settings: &Settings) -> Result<PgConnectOptions, SettingError> {
    PgConnectOptions::from_str(settings.required("DATABASE_URL")?)
        .map_err(|error| SettingError::malformed("DATABASE_URL", error))
}
