//! What every process does around its work: logs to stderr, spans to a collector where one is named,
//! handlers' lines to their jobs; and it stops when it is asked to.

use std::{io::IsTerminal, process::ExitCode, time::Duration};

use jobs::JobLogs;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::{
    settings::{SettingError, Settings},
    telemetry::{Export, QuerySpans, Traces},
};

/// The allocator, which every binary sets: a worker makes and drops dozens of small things for each job, and glibc's
/// allocator costs it a sixth of its time.
pub use mimalloc::MiMalloc as Allocator;

/// Has the kernel back this process's memory, and that of its children, by small pages. The allocator asks for huge
/// ones, which stay resident for the little that is left in them: with them 10,000 open streams take a fifth more, and
/// an import half as much again, at the same speed.
pub fn use_small_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "huge pages stay in use");
    }
}

/// Has all that this process writes to disk readable by its own user alone: people's files, and mails in an outbox.
pub fn keep_files_private() {
    #[cfg(unix)]
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
}

/// Our crates: what their spans and events say is ours to keep; libraries may say anything.
const OURS: [&str; 5] = ["api", "domain", "jobs", "tabular", "workers"];

/// `LOG`, where it is not set.
const DEFAULT_LOG: &str = "info,sqlx=warn,apalis_core=error,opentelemetry=warn";

/// A filter of log lines.
///
/// # Errors
/// Also for a word without `=` that is no level: the filter's syntax takes it for a target whose every line is let
/// through, and no other target's.
fn filter(text: &str) -> Result<EnvFilter, SettingError> {
    const NAME: &str = "LOG";
    let is_word =
        |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    for word in text.split(',').map(str::trim).filter(is_word) {
        if word.parse::<LevelFilter>().is_err() {
            return Err(SettingError::malformed(
                NAME,
                "a word by itself must be a level: off, error, warn, info, debug or trace; expected for example info,sqlx=warn",
            ));
        }
    }
    // The filter's own syntax takes no spaces.
    let text: Vec<_> = text.split(',').map(str::trim).collect();
    EnvFilter::try_new(text.join(",")).map_err(|error| SettingError::malformed(NAME, error))
}

/// What the process's logging holds on to. Dropped at the end of `main`, it sends the last spans.
#[must_use = "the last spans go out when this is dropped"]
pub struct Logging {
    _traces: Option<Traces>,
}

/// Starts the process's logging. `service` names the process in traces.
///
/// - To stderr: `LOG` filters (`info`), `LOG_FORMAT=json` for machines.
/// - To a job's log: what a handler says at `info` or above, whatever `LOG` is.
/// - To a collector: spans, those of SQL statements among them, when `OTEL_EXPORTER_OTLP_ENDPOINT` is set.
///
/// # Errors
/// The first of these variables that is malformed.
pub fn start_logging(settings: &Settings, service: &str) -> Result<Logging, SettingError> {
    let traces = Export::from_settings(settings, service)?.map(Export::start).transpose()?;
    let filter = filter(settings.get("LOG").unwrap_or(DEFAULT_LOG))?;
    let is_json = match settings.get("LOG_FORMAT") {
        None | Some("text") => false,
        Some("json") => true,
        Some(_) => return Err(SettingError::malformed("LOG_FORMAT", "expected text or json")),
    };
    let lines = tracing_subscriber::fmt::layer::<Registry>()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let lines = if is_json { lines.json().boxed() } else { lines.boxed() };
    let ours = Targets::new().with_targets(OURS.map(|target| (target, LevelFilter::INFO)));
    let ours_too = ours.clone();
    let spans = traces.as_ref().map(|traces| {
        tracing_opentelemetry::layer()
            .with_tracer(traces.tracer())
            .with_location(false)
            .with_threads(false)
            .with_filter(ours_too)
    });
    let queries = traces.as_ref().map(|traces| QuerySpans(traces.tracer()).with_filter(QuerySpans::filter()));
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(JobLogs.with_filter(ours))
        .with(spans)
        .with(queries)
        .init();
    Ok(Logging { _traces: traces })
}

/// Tells the operator why the process ends before it has begun: one line on stderr, whatever `LOG` lets through. The
/// code is that of a process that its supervisor should start again.
pub fn cannot_start(reason: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("cannot start: {reason}");
    ExitCode::FAILURE
}

/// Ends the process after that time, whatever hangs: a server that doesn't answer, or a file system. By a thread of its
/// own, since what hangs may be the runtime.
pub fn end_within(limit: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(limit);
        tracing::error!(seconds = limit.as_secs(), "did not come to an end in time; leaving all the same");
        std::process::exit(1);
    });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_of_log_lines_is_levels_and_targets_with_levels() {
        for good in
            [DEFAULT_LOG, "warn", "off", "info, jobs::dispatch=trace", "api_kit[request{method=GET}]=debug"]
        {
            assert!(filter(good).is_ok(), "{good}");
        }
        for bad in ["warning", "verbose", "info,verbose", "info,jobs=loud", "jobs=debug=x"] {
            let error = filter(bad).map(|_| ()).unwrap_err().to_string();
            assert!(error.starts_with("LOG is malformed: "), "{error}");
        }
    }
}
