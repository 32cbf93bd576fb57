//! `/metrics`: the process's own figures, and those of the installation as it is now.

use std::{
    fmt::{Display, Write},
    time::Duration,
};

use api_kit::App;
use jobs::queues::{Figures, Gauge};
use metrics_exporter_prometheus::PrometheusHandle;
use poem::{handler, web::Data};
use tokio::time::timeout;

/// Within what time the ready jobs should be through, for the slots that a pool should have.
const TARGET: Duration = Duration::from_secs(60);

/// How long PostgreSQL may take to tell the installation's figures.
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
    // The process's own figures are told all the same: they say that PostgreSQL is away.
    let mut page = figures.render();
    match timeout(PATIENCE, gauge.read()).await {
        Ok(Ok(standing)) => page += &of_installation(&standing),
        failed => {
            tracing::warn!(failed = ?failed.map(|read| read.map(drop)), "no figures of the installation");
            app.database.reach.doubt();
        }
    }
    Ok(page)
}

/// A page of gauges under construction.
struct Page(String);

impl Page {
    /// A figure with its values by labels.
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
    page.figure("millrace_jobs", "Live jobs", by_kind.collect());
    let oldest = figures.kinds.iter().map(|kind| {
        let labels = format!("{{kind=\"{}\",pool=\"{}\"}}", escaped(&kind.kind), escaped(&kind.pool));
        (labels, format!("{:.3}", kind.oldest_seconds))
    });
    page.figure("millrace_jobs_oldest_due_seconds", "How long the oldest due job has been", oldest.collect());

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
    page.figure("millrace_pool_jobs", "Live jobs of a pool", states.collect());
    let seconds = |of: fn(&jobs::queues::PoolQueue) -> f64| {
        pools().map(|(label, pool)| (format!("{{{label}}}"), format!("{:.3}", of(pool)))).collect()
    };
    page.figure(
        "millrace_pool_oldest_seconds",
        "How long the oldest ready job has been due",
        seconds(|pool| pool.oldest_seconds),
    );
    page.figure(
        "millrace_pool_backlog_seconds",
        "How long the live slots will take for what is ready",
        seconds(|pool| pool.backlog_seconds),
    );
    page.figure(
        "millrace_pool_enqueued_per_minute",
        "Jobs that came in per minute, lately",
        seconds(|pool| pool.enqueued_per_minute),
    );
    page.figure(
        "millrace_pool_ended_per_minute",
        "Jobs that came to an end per minute, lately",
        seconds(|pool| pool.ended_per_minute),
    );
    let numbers = |of: fn(&jobs::queues::PoolQueue) -> i64| {
        pools().map(|(label, pool)| (format!("{{{label}}}"), of(pool))).collect()
    };
    page.figure("millrace_pool_slots", "Slots of live workers that take jobs", numbers(|pool| pool.slots));
    page.figure("millrace_pool_workers", "Live workers that take jobs", numbers(|pool| pool.workers));
    page.figure(
        "millrace_pool_desired_slots",
        "Slots that would be through with what is ready within a minute",
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
    page.figure("millrace_led", "Whether a scheduler leads", vec![("", u8::from(figures.led))]);
    page.0
}

/// A label's value: kinds and pools of a newer release are named by it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
