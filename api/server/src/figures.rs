//! `/metrics`: the process's own figures, and those of the ledger as it is now.

use std::fmt::Write;

use api_kit::App;
use jobs::control;
use metrics_exporter_prometheus::PrometheusHandle;
use poem::{handler, web::Data};

/// Prometheus' text format.
#[handler]
#[allow(clippy::cast_precision_loss)] // counts, for graphs
pub(crate) async fn render(app: Data<&App>, figures: Data<&PrometheusHandle>) -> poem::Result<String> {
    let kinds = control::count_live(&app.database).await.map_err(api_kit::ApiError::from)?;
    let mut text = String::new();
    for kind in &kinds {
        let labels = format!("kind=\"{}\",pool=\"{}\"", kind.kind, kind.pool);
        for (state, count) in [("waiting", kind.later), ("due", kind.due), ("running", kind.running)] {
            let _ = writeln!(text, "millrace_jobs{{{labels},state=\"{state}\"}} {count}");
        }
        let _ = writeln!(text, "millrace_jobs_oldest_due_seconds{{{labels}}} {:.3}", kind.oldest_due_seconds);
    }
    let (jobs, watchers) = app.hub.size();
    metrics::gauge!("millrace_watched_jobs").set(jobs as f64);
    metrics::gauge!("millrace_watchers").set(watchers as f64);
    Ok(figures.render() + &text)
}
