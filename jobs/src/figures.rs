//! The metrics of this crate, each beginning at 0: a counter that doesn't exist until its first event
//! has no increase to alert on at that event.

use crate::Pool;

/// The bounds of durations in seconds, from a request's to a job's.
pub const SECONDS: [f64; 16] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0];

/// Counters without labels.
const COUNTERS: [(&str, &str); 8] = [
    ("millrace_lease_renewals_failed_total", "Renewals of leases that failed"),
    ("millrace_dispatch_started_over_total", "Times that the leader found that Redis had lost its data"),
    ("millrace_dispatch_push_failed_total", "Pushes that Redis did not accept"),
    ("millrace_jobs_rescued_total", "Jobs freed because their lease expired"),
    ("millrace_job_log_lines_lost_total", "Log lines of jobs that were not stored"),
    ("millrace_rate_limits_counted_alone_total", "Requests counted by one process alone, without Redis"),
    ("millrace_http_connections_refused_total", "Connections closed at once: their client had too many"),
    ("millrace_schedule_runs_total", "Jobs enqueued by schedules"),
];
/// Counters by pool.
const BY_POOL: [(&str, &str); 3] = [
    ("millrace_delivery_rebuilds_total", "Times that a worker's delivery was rebuilt"),
    ("millrace_hand_backs_asked_total", "Jobs signalled to hand back because another workspace waited"),
    ("millrace_delivery_swept_total", "Remains of deliveries removed from Redis"),
];

/// Describes all metrics, and starts counters. To be called after the recorder is installed, before any event.
pub fn begin() {
    for (name, help) in COUNTERS {
        metrics::describe_counter!(name, help);
        metrics::counter!(name).absolute(0);
    }
    for (name, help) in BY_POOL {
        metrics::describe_counter!(name, help);
        for &pool in Pool::all() {
            metrics::counter!(name, "pool" => pool.name()).absolute(0);
        }
    }
    metrics::describe_counter!("millrace_bus_lost_total", "Messages that Redis did not accept, by type");
    for what in ["wake", "event", "log"] {
        metrics::counter!("millrace_bus_lost_total", "what" => what).absolute(0);
    }
    metrics::describe_counter!("millrace_jobs_started_total", "Started attempts, by kind");
    metrics::describe_counter!("millrace_jobs_ended_total", "Ended attempts, by kind and outcome");
    metrics::describe_counter!("millrace_import_rows_total", "Rows of imports, by outcome");
    metrics::describe_histogram!("millrace_job_seconds", "Duration of attempts, by kind");
    metrics::describe_counter!("millrace_http_requests_total", "Requests answered");
    metrics::describe_histogram!(
        "millrace_http_request_duration_seconds",
        "Duration of answers; of streams, until their head"
    );
    metrics::describe_gauge!("millrace_dispatch_leading", "Whether this scheduler leads");
    metrics::describe_gauge!("millrace_redis_writable", "Whether Redis accepted this process's last probe");
    metrics::describe_gauge!(
        "millrace_database_reachable",
        "Whether PostgreSQL is reachable from this process"
    );
    metrics::gauge!("millrace_database_reachable").set(1.0);
    metrics::describe_gauge!("millrace_watched_jobs", "Jobs with watchers at this process");
    metrics::describe_gauge!("millrace_watchers", "Open streams and long polls of this process");
}
