//! Frees the jobs of dead workers, and removes these workers.

use std::{collections::HashMap, time::Duration};

use tokio::time::timeout;

use super::{DispatchConfig, queue::Queue};
use crate::{
    Database, Pool, clock, control, ledger,
    watch::{Event, Status, publish, snapshot},
};

/// Frees every job whose lease has expired, and notifies its watchers.
pub(crate) async fn rescue(
    database: &Database,
    config: &DispatchConfig,
    queues: &mut HashMap<Pool, Queue>,
    bus_patience: Duration,
) -> Result<(), sqlx::Error> {
    let rescued = ledger::rescue(&database.pool, config.lease, config.crash_limit).await?;
    let mut events = Vec::with_capacity(rescued.len());
    // The timeout of an unreachable bus is waited for once, not once for each job.
    let mut bus_answers = true;
    for job in &rescued {
        tracing::warn!(job = %job.id, crashes = job.crashes, "the lease has expired; the job is free again");
        metrics::counter!("millrace_jobs_rescued_total").increment(1);
        let status = if job.quarantined.is_some() { Status::Failed } else { Status::Queued };
        let before = if bus_answers {
            let newest = timeout(bus_patience, snapshot::newest(&database.bus, job.id)).await;
            bus_answers = newest.is_ok();
            newest.unwrap_or_default()
        } else {
            None
        };
        let mut event = Event::transition(job.id, status, job.epoch, clock::now()).carrying_on(before);
        event.attempt = job.attempt;
        event.error_code = job.quarantined.as_ref().map(|_| "quarantined".to_owned());
        event.error_message.clone_from(&job.quarantined);
        events.push(event);
        // A pending cancel request need not wait for another worker.
        control::end_if_asked(database, job.id).await?;
        if let Some(queue) = job.pool.and_then(|pool| queues.get_mut(&pool)) {
            queue.backlog = true; // examined again at once
        }
    }
    if timeout(bus_patience, publish::send(&database.bus, &events)).await.is_err() {
        tracing::warn!(
            events = events.len(),
            "the bus did not accept the events of freed jobs; polling finds them"
        );
    }
    sqlx::query!(
        "delete from workers where heartbeat_at < now() - $1::interval",
        ledger::interval(Duration::from_secs(3600)),
    )
    .execute(&database.pool)
    .await?;
    Ok(())
}
