//! `/metrics`: the metrics of this process, and the present ones of the installation.

use std::{
    fmt::{Display, Write},
    time::Duration,
};

use api_kit::App;
use jobs::queues::{Figures, Gauge};
use metrics_exporter_prometheus::PrometheusHandle;
use poem::{handler, web::Data};
use tokio::time::timeout;

/// Target time for working off the ready jobs, from which the desired slots of a pool follow.
const TARGET: Duration = Duration::from_secs(60);

/// Timeout of PostgreSQL for the metrics of the installation.
const PATIENCE: Duration = Duration::from_secs(3);

/// Prometheus' text format.
#[handler]
#[allow(clippy::cast_precision_loss)] // counts, for graphs
pub(crate) async fn render(
    app: Data<&App>,
    gauge: Data<&Gauge>,
    figures: Data<&PrometheusHandle>,
) -> poem::Result<String> {
    let (jobs, watchers) = app.hub.size();
    metrics::gauge!("millrace_watched_jobs").set(jobs as f64);
    metrics::gauge!("millrace_watchers").set(watchers as f64);
    // The process's own metrics are rendered all the same: they show that PostgreSQL is unreachable.
    let mut page = figures.render();
    match timeout(PATIENCE, gauge.read()).await {
        Ok(Ok(standing)) => page += &of_installation(&standing),
        failed => {
            tracing::warn!(failed = ?failed.map(|read| read.map(drop)), "could not read the metrics of the installation");
            app.database.reach.doubt();
        }
    }
    Ok(page)
}

/// A page of gauges under construction.
struct Page(String);

impl Page {
    /// A metric with its values by labels.
    fn figure<L: Display, V: Display>(&mut self, name: &str, help: &str, values: Vec<(L, V)>) {
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} gauge\n");
        for (labels, value) in values {
            let _ = writeln!(self.0, "{name}{labels} {value}");
        }
        self.0.push('\n');
    }
}

fn of_installation(figures: &Figures) -> String {
    let mut page = Page(String::new());
    let by_kind = figures.kinds.iter().flat_map(|kind| {
        let labels = format!("kind=\"{}\",pool=\"{}\"", escaped(&kind.kind), escaped(&kind.pool));
        let states = [
            ("waiting", kind.scheduled),
            ("due", kind.ready),
            ("paused", kind.paused),
            ("running", kind.running),
        ];
        states.map(|(state, count)| (format!("{{{labels},state=\"{state}\"}}"), count))
    });
    page.figure("millrace_jobs", "Unfinished jobs", by_kind.collect());
    let oldest = figures.kinds.iter().map(|kind| {
        let labels = format!("{{kind=\"{}\",pool=\"{}\"}}", escaped(&kind.kind), escaped(&kind.pool));
        (labels, format!("{:.3}", kind.oldest_seconds))
    });
    page.figure("millrace_jobs_oldest_due_seconds", "Delay of the oldest due job so far", oldest.collect());

    let pools = || figures.pools.iter().map(|pool| (format!("pool=\"{}\"", escaped(&pool.pool)), pool));
    let states = pools().flat_map(|(label, pool)| {
        let states = [
            ("ready", pool.ready),
            ("paused", pool.paused),
            ("scheduled", pool.scheduled),
            ("running", pool.running),
        ];
        states.map(|(state, count)| (format!("{{{label},state=\"{state}\"}}"), count))
    });
    page.figure("millrace_pool_jobs", "Unfinished jobs of a pool", states.collect());
    let seconds = |of: fn(&jobs::queues::PoolQueue) -> f64| {
        pools().map(|(label, pool)| (format!("{{{label}}}"), format!("{:.3}", of(pool)))).collect()
    };
    page.figure(
        "millrace_pool_oldest_seconds",
        "Delay of the oldest ready job so far",
        seconds(|pool| pool.oldest_seconds),
    );
    page.figure(
        "millrace_pool_backlog_seconds",
        "Estimated time for the live slots to work off the ready jobs",
        seconds(|pool| pool.backlog_seconds),
    );
    page.figure(
        "millrace_pool_enqueued_per_minute",
        "Recent rate of new jobs per minute",
        seconds(|pool| pool.enqueued_per_minute),
    );
    page.figure(
        "millrace_pool_ended_per_minute",
        "Recent rate of finished jobs per minute",
        seconds(|pool| pool.ended_per_minute),
    );
    let numbers = |of: fn(&jobs::queues::PoolQueue) -> i64| {
        pools().map(|(label, pool)| (format!("{{{label}}}"), of(pool))).collect()
    };
    page.figure("millrace_pool_slots", "Slots of live workers that accept jobs", numbers(|pool| pool.slots));
    page.figure("millrace_pool_workers", "Live workers that accept jobs", numbers(|pool| pool.workers));
    page.figure(
        "millrace_pool_desired_slots",
        "Slots that would work off the ready jobs within a minute",
        numbers(|pool| pool.desired(TARGET)),
    );
    let workers = figures.workers;
    let workers = [
        ("taking", workers.taking),
        ("paused", workers.paused),
        ("leaving", workers.leaving),
        ("silent", workers.silent),
    ];
    let workers = workers.map(|(state, count)| (format!("{{state=\"{state}\"}}"), count));
    page.figure("millrace_workers", "Worker processes", workers.into());
    page.figure("millrace_pauses", "Pauses in force", vec![("", figures.pauses)]);
    page.figure("millrace_led", "Whether a scheduler is active", vec![("", u8::from(figures.led))]);
    page.0
}

/// The value of a label, escaped: kinds and pools may be those of a newer release.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
