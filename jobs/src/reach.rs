//! Whether PostgreSQL is reachable, for callers that should fail at once instead of waiting for a connection.
//!
//! Nothing is checked while all goes well. A caller that waits longer than usual raises a doubt; one task then
//! checks, for all of them, by a new connection, and continues until the server is reachable again.

use std::{sync::Arc, time::Duration};

use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};

use crate::outage::is_outage;

/// Timeout of a check. Two consecutive timeouts mean that the server is unreachable, and not only busy.
const PATIENCE: Duration = Duration::from_millis(2500);
/// Pause between two checks.
const PAUSE: Duration = Duration::from_millis(400);

/// A handle on the known state; clones share it.
#[derive(Debug, Clone)]
pub struct Reach {
    away: watch::Receiver<Option<Arc<str>>>,
    doubts: Arc<Notify>,
}

impl Reach {
    /// Starts the checking task. It ends with the last handle.
    pub(crate) fn start(options: PgConnectOptions) -> Self {
        let (told, away) = watch::channel(None);
        let doubts = Arc::<Notify>::default();
        tokio::spawn(look_when_in_doubt(options, told, Arc::clone(&doubts)));
        Self { away, doubts }
    }

    /// The reason why PostgreSQL is unreachable, if that is known.
    #[must_use]
    pub fn away(&self) -> Option<Arc<str>> {
        self.away.borrow().clone()
    }

    /// Reports that an answer takes longer than usual.
    pub fn doubt(&self) {
        self.doubts.notify_one();
    }

    /// Resolves, with the reason, when PostgreSQL is known to be unreachable.
    pub async fn lost(&self) -> Arc<str> {
        let mut away = self.away.clone();
        match away.wait_for(Option::is_some).await.map(|away| away.clone()) {
            Ok(Some(why)) => why,
            // The task doesn't end before this handle.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }
}

async fn look_when_in_doubt(
    options: PgConnectOptions,
    told: watch::Sender<Option<Arc<str>>>,
    doubts: Arc<Notify>,
) {
    loop {
        let away = told.borrow().is_some();
        tokio::select! {
            () = told.closed() => return,
            () = doubts.notified(), if !away => {}
            () = sleep(PAUSE), if away => {}
        }
        let mut seen = look(&options).await;
        if matches!(seen, Seen::Nothing) && !away {
            seen = look(&options).await;
        }
        let why: Option<Arc<str>> = match seen {
            Seen::Server => None,
            Seen::Nothing => Some("it does not answer".into()),
            Seen::Trouble(why) => Some(why.into()),
        };
        if why.is_some() != away {
            if let Some(why) = &why {
                tracing::error!(%why, "PostgreSQL is unreachable");
            } else {
                tracing::info!("PostgreSQL is reachable again");
            }
            metrics::gauge!("millrace_database_reachable").set(if why.is_some() { 0.0 } else { 1.0 });
            told.send_replace(why);
        }
        if !away {
            sleep(PAUSE).await;
        }
    }
}

/// Result of a check.
enum Seen {
    /// A server that can be written to, or one whose error has another cause.
    Server,
    /// A server that is stopped, starting or a standby, or none at the address.
    Trouble(String),
    Nothing,
}

async fn look(options: &PgConnectOptions) -> Seen {
    let looked = async {
        let mut conn = PgConnection::connect_with(options).await?;
        let standby = is_standby(&mut conn).await?;
        conn.close().await?;
        Ok::<_, sqlx::Error>(standby)
    };
    match timeout(PATIENCE, looked).await {
        Ok(Ok(false)) => Seen::Server,
        Ok(Ok(true)) => Seen::Trouble(STANDBY.to_owned()),
        // With 53300 it has answered, and existing connections continue to work.
        Ok(Err(error))
            if is_outage(&error)
                && error.as_database_error().and_then(sqlx::error::DatabaseError::code).as_deref()
                    != Some("53300") =>
        {
            Seen::Trouble(error.to_string())
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "PostgreSQL answers with an unexpected error");
            Seen::Server
        }
        Err(_) => Seen::Nothing,
    }
}

/// The message about a standby.
pub(crate) const STANDBY: &str = "it is a standby, which accepts no writes";

/// Whether the server is read-only, until it is promoted.
pub(crate) async fn is_standby(conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(r#"select pg_is_in_recovery() as "standby!""#).fetch_one(conn).await
}
