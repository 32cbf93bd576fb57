//! Migrates every schema of the installation, and exits. Safe at any time, also concurrently.
//!
//! usage: migrate                    after each release, before its processes start
//!        migrate --after-restore    once, after a dump was restored into another cluster

use std::process::ExitCode;

use domain::migrations;
use runtime::{
    process::{Allocator, Logging, start_logging},
    servers,
    settings::{SettingError, Settings},
};
use sqlx::postgres::PgConnectOptions;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let after_restore = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--after-restore"] => true,
        _ => {
            eprintln!("usage: migrate [--after-restore]");
            return ExitCode::from(2);
        }
    };
    let started = Settings::of_process().and_then(|settings| start(&settings));
    let (_logging, server) = match started {
        Ok(started) => started,
        Err(error) => {
            eprintln!("{error}");
            return error.exit_code();
        }
    };
    let migrated = if after_restore {
        migrations::migrate_restored(&server).await
    } else {
        migrations::migrate(&server).await
    };
    match migrated {
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
    let url = servers::database_url(settings)?;
    jobs::server::options(&url, "millrace migrate")
        .map_err(|error| SettingError::malformed("DATABASE_URL", error))
}
