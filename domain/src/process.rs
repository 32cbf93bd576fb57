//! What every process does around its work: logs to stderr, and stops when it is asked to.

use std::io::IsTerminal;

use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::settings::Settings;

/// Logs to stderr: `LOG` filters (`info`), `LOG_FORMAT=json` for machines.
pub fn start_logging(settings: &Settings) {
    let filter = EnvFilter::new(settings.get("LOG").unwrap_or("info,sqlx=warn,apalis_core=error"));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    if settings.get("LOG_FORMAT") == Some("json") {
        logs.json().init();
    } else {
        logs.init();
    }
}

/// Resolves when the process is asked to stop, by SIGTERM or SIGINT.
pub async fn asked_to_stop() {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("cannot listen for signals; only SIGKILL will stop this process");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("asked to stop");
}
