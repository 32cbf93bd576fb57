//! The frame of every process: logs to stderr, spans to a collector where one is configured,
//! handlers' lines to their jobs; and stopping on a signal.

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

/// The allocator, which every binary sets: a worker allocates dozens of small objects for each job, and glibc's
/// allocator costs it a sixth of its time.
pub use mimalloc::MiMalloc as Allocator;

/// Makes the kernel back this process's memory, and that of its children, by small pages. The allocator requests huge
/// ones, which stay resident for the few objects left in them: with them 10,000 open streams take a fifth more, and
/// an import half as much again, at the same speed.
pub fn use_small_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "huge pages stay in use");
    }
}

/// Makes all files that this process writes readable by its own user alone: users' files, and emails in an outbox.
pub fn keep_files_private() {
    #[cfg(unix)]
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
}

/// Our crates, whose spans and events are free of secrets; those of libraries need not be.
const OURS: [&str; 5] = ["api", "domain", "jobs", "tabular", "workers"];

/// Default of `LOG`.
const DEFAULT_LOG: &str = "info,sqlx=warn,apalis_core=error,opentelemetry=warn";

/// A filter of log lines.
///
/// # Errors
/// Also for a word without `=` that is no level: the filter's syntax would read it as a target whose lines are
/// all let through, and no other target's.
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

/// The resources of the process's logging. Dropped at the end of `main`, it sends the last spans.
#[must_use = "the last spans are sent when this is dropped"]
pub struct Logging {
    _traces: Option<Traces>,
}

/// Starts the process's logging. `service` names the process in traces.
///
/// - To stderr: `LOG` filters (`info`), `LOG_FORMAT=json` for machines.
/// - To a job's log: a handler's events at `info` or above, whatever `LOG` is.
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

/// Reports why the process ends before it has started: one line on stderr, regardless of `LOG`. The exit
/// code is that of a process that its supervisor should start again.
pub fn cannot_start(reason: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("cannot start: {reason}");
    ExitCode::FAILURE
}

/// Ends the process after that time, whatever hangs: a server that doesn't answer, or a file system. By a
/// thread of its own, since the runtime itself may hang.
pub fn end_within(limit: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(limit);
        tracing::error!(seconds = limit.as_secs(), "did not stop in time; exiting regardless");
        std::process::exit(1);
    });
}

/// Resolves when the process is signalled to stop, by SIGTERM or SIGINT.
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
    tracing::info!("received a signal to stop");
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
