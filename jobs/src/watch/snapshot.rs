//! The snapshot of a job: its newest event, composed from the ledger and what Redis still knows.

use chrono::{DateTime, Utc};
use redis::streams::StreamRangeReply;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Event, Status};
use crate::{Bus, Database, JobId, Origin, Owner, Tx};

/// A job in the ledger's state, with its newest event.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The event, as watchers see it.
    pub event: Event,
    /// Workspace that it belongs to.
    pub workspace: Option<Uuid>,
    /// Kind.
    pub kind: String,
    /// Pool that runs it.
    pub pool: String,
    /// Origin.
    pub origin: Origin,
    /// Priority, from 0 (first) to 9 (last).
    pub priority: i16,
    /// Maximum number of attempts of its kind.
    pub max_attempts: i32,
    /// Error of the last failed attempt: `code`, `message`, `attempt`.
    pub error: Option<Value>,
    /// Due time.
    pub run_at: DateTime<Utc>,
    /// Creation time.
    pub created_at: DateTime<Utc>,
    /// Start time of the first attempt.
    pub started_at: Option<DateTime<Utc>>,
    /// End time.
    pub finished_at: Option<DateTime<Utc>>,
    /// Number of the event whose progress the ledger has stored; 0 without any.
    kept: i64,
}

impl Snapshot {
    /// Owner of the job.
    #[must_use]
    pub fn owner(&self) -> Owner {
        Owner::of_row(self.workspace)
    }

    /// The job as it will be at the transaction's commit. Only the ledger is read, since the transaction holds the
    /// job's row; other sources only have earlier states.
    pub async fn within(&self, tx: &mut Tx) -> Result<Option<Self>, sqlx::Error> {
        let job = self.event.job_id;
        let Some(mut snapshot) = read(tx.conn(), &[job.0]).await?.pop() else { return Ok(None) };
        if !snapshot.event.status.is_terminal() {
            snapshot.take(&self.event);
        }
        Ok(Some(snapshot))
    }

    /// Merges an event of the same job from elsewhere. A newer one becomes the snapshot's
    /// event. An older one may have progress that the ledger lacks, since leases
    /// store it there only periodically: so the percentage never decreases.
    pub(crate) fn take(&mut self, seen: &Event) {
        if seen.seq > self.event.seq {
            self.event = seen.clone();
        } else if seen.seq > self.kept && !self.event.status.is_terminal() {
            let event = self.event.clone();
            self.event = Event { prev: event.prev, ..event.carrying_on(Some(seen.clone())) };
            self.kept = seen.seq;
        }
    }
}

/// A row of the ledger, live or finished.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub id: Uuid,
    pub workspace_id: Option<Uuid>,
    pub kind: String,
    pub pool: String,
    pub origin: Value,
    pub priority: i16,
    pub state: String,
    pub run_at: DateTime<Utc>,
    pub due: bool,
    pub attempt: i32,
    pub max_attempts: i32,
    pub epoch: i64,
    pub cancel_requested: bool,
    pub progress: Option<Value>,
    pub result: Option<Value>,
    pub error: Option<Value>,
    pub created_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
}

impl Row {
    /// The ledger's part alone.
    pub(crate) fn into_snapshot(self) -> Result<Snapshot, sqlx::Error> {
        let id = JobId(self.id);
        let status = Status::of_state(&self.state, self.due);
        let at = self.finished_at.or(self.started_at).unwrap_or(self.created_at);
        let mut event = Event::transition(id, status, self.epoch, at);
        let mut kept_seq = 0;
        if let Some(kept) = self.progress.and_then(|p| serde_json::from_value::<Event>(p).ok()) {
            // Progress stored under this epoch is newer than the transition, older progress still counts.
            if Event::epoch_of(kept.seq) == self.epoch && status == Status::Running {
                event.seq = kept.seq;
                event.timestamp = kept.timestamp;
                event.rate = kept.rate;
                event.eta_seconds = kept.eta_seconds;
            }
            kept_seq = kept.seq;
            event.prev = kept.seq.clamp(event.prev, event.seq - 1);
            event.progress = kept.progress;
            event.current_step = kept.current_step;
            event.counts = kept.counts;
            event.message = kept.message;
        }
        if status == Status::Completed {
            event.progress = 100;
        }
        if status == Status::Failed {
            let told = |member| Some(self.error.as_ref()?.get(member)?.as_str()?.to_owned());
            event.error_code = told("code");
            event.error_message = told("message");
        }
        event.cancel_requested = self.cancel_requested;
        event.attempt = self.attempt;
        event.result = self.result;
        Ok(Snapshot {
            event,
            workspace: self.workspace_id,
            kind: self.kind,
            pool: self.pool,
            origin: Origin::read(self.origin)?,
            priority: self.priority,
            max_attempts: self.max_attempts,
            error: self.error,
            run_at: self.run_at,
            created_at: self.created_at,
            started_at: self.started_at,
            finished_at: self.finished_at,
            kept: kept_seq,
        })
    }
}

/// The same, without unreadable ones: one damaged job must not affect the watchers of others.
pub(crate) async fn readable(database: &Database, ids: &[Uuid]) -> Result<Vec<Snapshot>, sqlx::Error> {
    match from_ledger(database, ids).await {
        Err(sqlx::Error::ColumnDecode { .. }) if ids.len() > 1 => {
            let mut readable = Vec::with_capacity(ids.len());
            for id in ids {
                match from_ledger(database, &[*id]).await {
                    Ok(found) => readable.extend(found),
                    Err(error @ sqlx::Error::ColumnDecode { .. }) => {
                        tracing::error!(job = %id, %error, "a job's row is damaged");
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(readable)
        }
        found => found,
    }
}

/// The jobs among `ids` that exist, in the ledger's state.
pub(crate) async fn from_ledger(database: &Database, ids: &[Uuid]) -> Result<Vec<Snapshot>, sqlx::Error> {
    read(database.reader().await?.conn(), ids).await
}

/// The same, by a connection.
pub(crate) async fn read(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Snapshot>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select id as "id!", workspace_id, kind as "kind!", pool as "pool!", origin as "origin!",
                  priority as "priority!", state as "state!", run_at as "run_at!", run_at <= now() as "due!",
                  attempt as "attempt!", max_attempts as "max_attempts!", epoch as "epoch!",
                  cancel_requested as "cancel_requested!", progress, result, error,
                  created_at as "created_at!", started_at, finished_at
             from all_jobs
            where id = any($1)"#,
        ids,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Row::into_snapshot).collect()
}

/// The readable ones of many rows: a damaged one hides its own job only.
pub(crate) fn keep_readable(rows: Vec<Row>) -> Vec<Snapshot> {
    rows.into_iter()
        .filter_map(|row| {
            let job = row.id;
            row.into_snapshot()
                .inspect_err(|error| tracing::error!(%job, %error, "a job's row can't be read"))
                .ok()
        })
        .collect()
}

/// The events in Redis of a job with a number above `after`, oldest first, and whether they
/// follow `after` without a gap. None if Redis is unreachable.
pub(crate) async fn history(bus: &Bus, id: JobId, after: i64) -> (Vec<Event>, bool) {
    let reply: Result<StreamRangeReply, _> = redis::cmd("XRANGE")
        .arg(bus.history_key(id))
        .arg(format!("({after}-0"))
        .arg("+")
        .query_async(&mut bus.connection())
        .await;
    let Ok(reply) = reply else {
        return (Vec::new(), false);
    };
    let events: Vec<Event> = reply
        .ids
        .iter()
        .filter_map(|entry| entry.get::<String>("e"))
        .filter_map(|json| serde_json::from_str(&json).ok())
        .collect();
    let whole = events.first().is_some_and(|first| first.prev <= after);
    (events, whole)
}

/// The newest event in Redis of a job.
pub(crate) async fn newest(bus: &Bus, id: JobId) -> Option<Event> {
    let reply: StreamRangeReply = redis::cmd("XREVRANGE")
        .arg(bus.history_key(id))
        .arg("+")
        .arg("-")
        .arg("COUNT")
        .arg(1)
        .query_async(&mut bus.connection())
        .await
        .ok()?;
    serde_json::from_str(&reply.ids.first()?.get::<String>("e")?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn of_ledger(state: &str, epoch: i64, progress: Option<Event>) -> Snapshot {
        let now = clock::now();
        Row {
            id: Uuid::from_u128(1),
            workspace_id: None,
            kind: "import".into(),
            pool: "imports".into(),
            origin: Value::Object(serde_json::Map::new()),
            priority: 5,
            state: state.into(),
            run_at: now,
            due: true,
            attempt: 1,
            max_attempts: 3,
            epoch,
            cancel_requested: false,
            progress: progress.map(|event| serde_json::to_value(event).unwrap()),
            result: None,
            error: None,
            created_at: now,
            started_at: Some(now),
            finished_at: None,
        }
        .into_snapshot()
        .unwrap()
    }

    fn seen(epoch: i64, n: i64, progress: i32) -> Event {
        let job = JobId(Uuid::from_u128(1));
        let event = Event::transition(job, Status::Running, epoch, clock::now());
        Event { seq: Event::seq_of(epoch, n), progress, ..event }
    }

    #[test]
    fn a_newer_event_is_the_snapshot() {
        let mut snapshot = of_ledger("running", 2, None);
        snapshot.take(&seen(2, 7, 40));
        assert_eq!(snapshot.event, Event { timestamp: snapshot.event.timestamp, ..seen(2, 7, 40) });
    }

    #[test]
    fn an_older_event_says_how_far_the_job_had_come_and_nothing_else() {
        let ledger = of_ledger("running", 4, None);
        // Of the epoch before, of one before that, and the claim's own.
        for event in [seen(3, 0, 40), seen(2, 7, 40), seen(4, 0, 40)] {
            let mut snapshot = ledger.clone();
            snapshot.take(&event);
            assert_eq!(snapshot.event, Event { progress: 40, ..ledger.event.clone() });
        }
    }

    #[test]
    fn what_the_ledger_kept_counts_unless_an_event_is_newer() {
        let mut snapshot = of_ledger("running", 4, Some(seen(2, 9, 50)));
        snapshot.take(&seen(2, 7, 40));
        assert_eq!(snapshot.event.progress, 50);
        snapshot.take(&seen(2, 11, 60));
        assert_eq!(snapshot.event.progress, 60);
        snapshot.take(&seen(2, 10, 55));
        assert_eq!(snapshot.event.progress, 60);
    }

    #[test]
    fn a_run_after_an_end_knows_nothing_of_the_percent_of_the_run_before() {
        let queued = Event { status: Status::Queued, ..seen(4, 0, 0) };
        for event in [Event { status: Status::Failed, ..seen(3, 0, 94) }, seen(2, 7, 94)] {
            let mut snapshot = of_ledger("running", 5, Some(queued.clone()));
            snapshot.take(&event);
            assert_eq!(snapshot.event.progress, 0, "{event:?}");
        }
    }

    #[test]
    fn an_end_is_the_ledgers_to_tell() {
        let mut snapshot = of_ledger("completed", 3, None);
        snapshot.take(&seen(2, 7, 40));
        assert_eq!((snapshot.event.status, snapshot.event.progress), (Status::Completed, 100));
    }
}
