//! Standing by: a leader that Redis does not answer gives up the lead to a scheduler that Redis does answer, and
//! keeps it if there is none, since schedules, batches and expired leases need no Redis.

use std::{io, time::Duration};

use tokio::time::{Instant, sleep};

use crate::{Database, ledger::interval};

/// Interval of a leader's checks whether Redis answers.
const LOOK: Duration = Duration::from_millis(200);
/// Time for which a scheduler's note that it stands by is valid.
const SEEN: Duration = Duration::from_secs(3);

/// Records that a scheduler stands by that Redis answers.
pub(super) async fn note(database: &Database) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into leader_standby (seen_at) values (now())
         on conflict (only_row) do update set seen_at = excluded.seen_at"
    )
    .execute(&database.pool)
    .await?;
    Ok(())
}

/// Whether a scheduler stands by that Redis answers.
pub(super) async fn is_there(database: &Database) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select from leader_standby where seen_at > now() - $1::interval) as "there!""#,
        interval(SEEN),
    )
    .fetch_one(&database.pool)
    .await
}

/// Resolves when Redis has not answered this leader for so long, and answers another scheduler.
pub(super) async fn can_do_better(database: &Database, silence: Duration) -> sqlx::Error {
    let mut answered = Instant::now();
    loop {
        sleep(LOOK).await;
        if database.bus.probe().await.is_ok() {
            answered = Instant::now();
        } else if answered.elapsed() >= silence {
            match is_there(database).await {
                Ok(true) => {
                    let why = "Redis does not answer this scheduler, and answers one that stands by";
                    return sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, why));
                }
                Ok(false) => {}
                Err(error) => tracing::debug!(%error, "could not check whether another scheduler stands by"),
            }
        }
    }
}
