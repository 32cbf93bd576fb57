//! Whether the database fits this release: its shared schemas are up to date, and its transaction numbers
//! belong to its cluster. Checked at the start of each process, and by `/ready`.

pub mod restore;

mod probe;

use std::time::Duration;

use sqlx::{Connection, PgConnection, PgPool};

pub use probe::Probe;

use crate::migrations;

/// Polling interval of a process that waits for `migrate`.
const POLL: Duration = Duration::from_secs(1);

/// State of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installation {
    /// Fit for use.
    Ready,
    /// A newer release has migrated the shared schemas. Migrations are compatible with the previous release.
    Newer,
    /// The shared schemas lack migrations of this release.
    Behind,
    /// A dump was restored into another cluster, and `migrate --after-restore` has not run since.
    Restored,
}

/// A database that no process may use.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// See [`Installation::Restored`].
    #[error(
        "this database was restored from a dump into another PostgreSQL cluster; run `migrate --after-restore` once, \
         before any process starts"
    )]
    Restored,
    /// The database failed.
    #[error("PostgreSQL: {0}")]
    Database(#[from] sqlx::Error),
}

/// Checks the database. One round trip if all is well, at most two.
pub async fn inspect(conn: &mut PgConnection) -> Result<Installation, sqlx::Error> {
    // A database that was never migrated lacks these tables: no checked statement can name them.
    let exist: bool = sqlx::query_scalar(
        "select to_regclass('control._sqlx_migrations') is not null and to_regclass('shard._sqlx_migrations') is not null",
    )
    .fetch_one(&mut *conn)
    .await?;
    if !exist {
        return Ok(Installation::Behind);
    }
    let known = migrations::shared_versions();
    // Each by itself: one that was written before another may be merged after it.
    let (is_behind, is_newer): (bool, bool) = sqlx::query_as(
        "with applied as (
             select 'control' as of, version from control._sqlx_migrations where success
             union all
             select 'shard', version from shard._sqlx_migrations where success
         ), known as (
             select 'control' as of, version from unnest($1::bigint[]) as version
             union all
             select 'shard', version from unnest($2::bigint[]) as version
         )
         select exists (select * from known except select * from applied),
                exists (select * from applied except select * from known)",
    )
    .bind(&known.control)
    .bind(&known.shard)
    .fetch_one(&mut *conn)
    .await?;
    if is_behind {
        return Ok(Installation::Behind);
    }
    let foreign = sqlx::query_scalar!(
        r#"select exists (select from control.cluster
                           where system_identifier <> (select system_identifier from pg_control_system()))
           as "foreign!""#
    )
    .fetch_one(conn)
    .await?;
    Ok(match () {
        () if foreign => Installation::Restored,
        () if is_newer => Installation::Newer,
        () => Installation::Ready,
    })
}

/// Checks the database by a connection of the pool.
pub async fn inspect_once(pool: &PgPool) -> Result<Installation, sqlx::Error> {
    inspect(&mut *pool.acquire().await?).await
}

/// Waits until the shared schemas are up to date, and logs so meanwhile.
///
/// # Errors
/// [`Unfit::Restored`], and when the database is unreachable.
pub async fn wait_until_fit(pool: &PgPool) -> Result<(), Unfit> {
    let mut told = false;
    loop {
        let mut conn = pool.acquire().await?;
        match inspect(&mut conn).await? {
            Installation::Ready => return Ok(()),
            Installation::Newer => {
                tracing::info!("a newer release has migrated the database; this one continues beside it");
                return Ok(());
            }
            Installation::Restored => return Err(Unfit::Restored),
            Installation::Behind if told => {}
            Installation::Behind => {
                tracing::warn!("waiting: the database lacks migrations of this release; run `migrate`");
                told = true;
            }
        }
        // Statements were prepared against tables that do not exist yet.
        conn.clear_cached_statements().await?;
        drop(conn);
        tokio::time::sleep(POLL).await;
    }
}

/// Records the cluster that the data's transaction numbers belong to, where none is recorded.
///
/// # Errors
/// [`Unfit::Restored`] when some of the numbers can't be this cluster's.
pub(crate) async fn note_cluster(conn: &mut PgConnection) -> Result<(), Unfit> {
    let noted = sqlx::query_scalar!(r#"select exists (select from control.cluster) as "noted!""#)
        .fetch_one(&mut *conn)
        .await?;
    if noted {
        return Ok(());
    }
    if restore::is_from_elsewhere(conn).await? {
        return Err(Unfit::Restored);
    }
    sqlx::query!(
        "insert into control.cluster (system_identifier)
         select system_identifier from pg_control_system()
         on conflict (only_row) do nothing"
    )
    .execute(conn)
    .await?;
    Ok(())
}
