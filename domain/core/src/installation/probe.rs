//! Whether the database answers and is fit for use, for `/ready`: checked by a connection of its own, so that a
//! process whose connections are all in use is not considered to have lost its database.

use std::time::Duration;

use jobs::Database;
use sqlx::{Connection, PgConnection};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use super::{Installation, inspect};

/// Timeout of PostgreSQL.
const PATIENCE: Duration = Duration::from_secs(1);
/// Lifetime of a result: concurrent requests get the same one.
const FRESH: Duration = Duration::from_millis(250);

/// The probe. It keeps one connection after its first check.
#[derive(Debug)]
pub struct Probe {
    database: Database,
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    connection: Option<PgConnection>,
    seen: Option<(Instant, Result<Installation, String>)>,
}

impl Probe {
    /// A probe without a connection.
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self { database, last: Mutex::default() }
    }

    /// The state of the database, within two seconds.
    ///
    /// # Errors
    /// The reason why it does not answer.
    pub async fn look(&self) -> Result<Installation, String> {
        let mut last = self.last.lock().await;
        if let Some((at, seen)) = &last.seen
            && at.elapsed() < FRESH
        {
            return seen.clone();
        }
        let kept = last.connection.take();
        let (connection, seen) = match timeout(PATIENCE, self.ask(kept)).await {
            Ok(Ok((connection, found))) => (Some(connection), Ok(found)),
            Ok(Err(error)) => (None, Err(error.to_string())),
            Err(_) => (None, Err("PostgreSQL does not answer".to_owned())),
        };
        *last = Last { connection, seen: Some((Instant::now(), seen.clone())) };
        seen
    }

    async fn ask(&self, kept: Option<PgConnection>) -> Result<(PgConnection, Installation), sqlx::Error> {
        if let Some(connection) = kept
            && let Ok(answered) = inspected(connection).await
        {
            return Ok(answered);
        }
        inspected(self.database.connect_aside().await?).await
    }
}

async fn inspected(mut connection: PgConnection) -> Result<(PgConnection, Installation), sqlx::Error> {
    let found = inspect(&mut connection).await?;
    if found == Installation::Behind {
        // Statements were prepared against tables that do not exist yet.
        connection.clear_cached_statements().await?;
    }
    Ok((connection, found))
}
