//! Leadership: the holder of an advisory lock leads, by a session that ends with its leader's silence.
//!
//! The lock of a session has no expiry. So the server ends a leader's session that is idle for [`silence`],
//! gives up a statement that takes as long, and a peer that acknowledges nothing; and the leader stops itself,
//! by its own clock, when the session hasn't answered for as long. Then another scheduler leads within one
//! lease.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sqlx::{Connection, PgConnection};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{Database, database::SHARED_PATH, server};

/// Key of the leader's advisory lock: "millrace" in ASCII.
const LEADER_LOCK: i64 = 0x6d69_6c6c_7261_6365;
/// Shorter silences do not count, as long as the lease allows.
const SHORTEST: Duration = Duration::from_secs(2);
/// Maximum time for a leader that was signalled to stop to finish its round.
const LAST_ROUND: Duration = Duration::from_secs(1);

/// Maximum silence of a leader: a third of the lease.
pub(crate) fn silence(lease: Duration) -> Duration {
    (lease / 3).max(SHORTEST.min(lease * 2 / 3))
}

/// State of a scheduler.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Standing {
    /// It is starting.
    #[default]
    Starting,
    /// It dispatches.
    Leading,
    /// Another one leads.
    StandingBy,
    /// It can't take part: PostgreSQL doesn't answer it, or Redis answers only another.
    CutOff,
}

/// The state of a scheduler, for health checks; clones share it.
#[derive(Debug, Clone)]
pub struct Leadership(watch::Sender<Standing>);

impl Default for Leadership {
    fn default() -> Self {
        Self(watch::Sender::new(Standing::default()))
    }
}

impl Leadership {
    /// The present state.
    #[must_use]
    pub fn standing(&self) -> Standing {
        *self.0.borrow()
    }

    pub(super) fn set(&self, standing: Standing) {
        self.0.send_replace(standing);
        metrics::gauge!("millrace_dispatch_leading").set(f64::from(u8::from(standing == Standing::Leading)));
    }
}

/// Time of the latest answer of the lock's session.
#[derive(Debug, Clone)]
pub(super) struct Heard(Arc<Mutex<Instant>>);

impl Default for Heard {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }
}

impl Heard {
    pub(super) fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Resolves when it hasn't answered for so long.
    pub(super) async fn silent_for(&self, limit: Duration) -> sqlx::Error {
        loop {
            let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner) + limit;
            if Instant::now() >= until {
                return silent("the leader's session has not answered for a third of the lease");
            }
            sleep_until(until).await;
        }
    }
}

fn silent(what: &'static str) -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, what))
}

/// Resolves some time after a leader was signalled to stop, for one that hangs.
pub(super) async fn has_to_go(stop: &CancellationToken) {
    stop.cancelled().await;
    sleep(LAST_ROUND).await;
}

/// Takes the lead, unless another scheduler has it; answers the session that holds the lock.
pub(super) async fn take(url: &str, silence: Duration) -> Result<Option<PgConnection>, sqlx::Error> {
    // The walk over the lanes must use the index, whatever the planner estimates for a table that was just empty.
    let milliseconds = silence.as_millis().to_string();
    let settings = server::settings(
        silence,
        [
            ("search_path", SHARED_PATH),
            ("enable_seqscan", "off"),
            ("enable_bitmapscan", "off"),
            ("enable_hashjoin", "off"),
            ("enable_mergejoin", "off"),
            ("plan_cache_mode", "force_generic_plan"),
            // It writes nothing but what the next leader would write again.
            ("synchronous_commit", "off"),
            ("idle_session_timeout", milliseconds.as_str()),
            ("statement_timeout", milliseconds.as_str()),
        ],
    );
    let options = server::options(url, "millrace leader")?;
    let taken = async {
        let mut lock = PgConnection::connect_with(&options).await?;
        server::begin(&mut lock, options.get_port(), silence, &settings).await?;
        let leads = sqlx::query_scalar!(r#"select pg_try_advisory_lock($1) as "got!""#, LEADER_LOCK)
            .fetch_one(&mut lock)
            .await?;
        if leads {
            return Ok(Some(lock));
        }
        lock.close().await.ok(); // standing by; the lock was not ours
        Ok(None)
    };
    timeout(silence, taken).await.unwrap_or_else(|_| Err(silent("PostgreSQL does not answer")))
}

/// Ends the session, and with it the lead.
pub(super) async fn give_up(lock: PgConnection, answers: bool) {
    if answers {
        // Closed or not, the session ends with its socket.
        let _ = timeout(LAST_ROUND, lock.close()).await;
    }
}

/// Whether a scheduler leads.
pub(crate) async fn is_led(database: &Database) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select from pg_locks
                           where locktype = 'advisory' and granted and objsubid = 1
                             and database = (select oid from pg_database where datname = current_database())
                             and classid::bigint << 32 | objid::bigint = $1) as "led!""#,
        LEADER_LOCK,
    )
    .fetch_one(&database.pool)
    .await
}
