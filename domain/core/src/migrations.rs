//! Migrating schemas: the shared ones, then each workspace's. Safe to run at any time, concurrently
//! and repeatedly: a second run waits, and finds nothing left to do.

use std::{sync::LazyLock, time::Duration};

use jobs::workspace_schema;
use sqlx::{
    Connection, PgConnection,
    migrate::{MigrateError, Migration, Migrator},
    postgres::PgConnectOptions,
};

use crate::{
    WorkspaceId,
    installation::{self, Installation, Unfit},
    workspace_schema::{TENANTS, identifier},
};

/// Maximum wait of a migration's statement for a lock. While it waits, later statements on that table wait,
/// too, so the migration gives way and tries again.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// Delay before a migration tries again.
const LOCK_PAUSE: Duration = Duration::from_secs(3);
/// Maximum number of tries of a migration: about ten minutes.
const MAX_LOCK_TRIES: u32 = 120;

/// Without sqlx's own lock, which is one per database: ours are one for the shared schemas and one
/// per workspace. Migrations of a newer release are ignored.
fn unlocked(mut migrator: Migrator) -> Migrator {
    migrator.set_locking(false).set_ignore_missing(true);
    migrator
}

static CONTROL: LazyLock<Migrator> = LazyLock::new(|| unlocked(sqlx::migrate!("../../migrations/control")));
static SHARD: LazyLock<Migrator> = LazyLock::new(|| unlocked(sqlx::migrate!("../../migrations/shard")));
static WORKSPACE: LazyLock<Migrator> =
    LazyLock::new(|| unlocked(sqlx::migrate!("../../migrations/workspace")));

/// The reason why a schema could not be migrated.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// An extension is missing that only a superuser can install.
    #[error(
        "PostGIS is not installed in the schema ext; as a superuser run: \
         create schema ext; create extension postgis schema ext; grant usage on schema ext to public"
    )]
    NoPostgis,
    /// A dump was restored into another cluster.
    #[error("{}", Unfit::Restored)]
    Restored,
    /// A migration was changed after it had run.
    #[error(
        "{schema}: migration {version} is not the one that was applied here; run the release that belongs to this \
         database, or restore the migration's file as it was applied"
    )]
    Changed {
        /// Schema.
        schema: String,
        /// Migration version.
        version: i64,
    },
    /// A migration needs a lock that another session holds for minutes.
    #[error(
        "{schema}: a migration needs a lock on a table that another session has held for {minutes} minutes; end what \
         pg_stat_activity shows as long-running (a dump, an open transaction) and run migrate again. Nothing was changed \
         by it"
    )]
    Locked {
        /// Schema.
        schema: String,
        /// Minutes of trying.
        minutes: u64,
    },
    /// A migration failed.
    #[error("{schema}: {source}")]
    Failed {
        /// Schema.
        schema: String,
        /// Cause.
        source: MigrateError,
    },
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

static WORKSPACE_VERSIONS: LazyLock<Vec<i64>> =
    LazyLock::new(|| WORKSPACE.iter().map(|migration| migration.version).collect());

/// The workspace migrations of this release, the newest last.
#[must_use]
pub fn workspace_versions() -> &'static [i64] {
    &WORKSPACE_VERSIONS
}

/// Whether a workspace's schema with those migrations lacks none of this release. Each counts by itself: one
/// that was written before another may be merged after it.
#[must_use]
pub fn are_complete(applied: &[i64]) -> bool {
    workspace_versions().iter().all(|version| applied.contains(version))
}

/// Versions of the migrations of the shared schemas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedVersions {
    /// Of `control`.
    pub control: Vec<i64>,
    /// Of `shard`.
    pub shard: Vec<i64>,
}

/// The migrations of the shared schemas in this release.
#[must_use]
pub fn shared_versions() -> SharedVersions {
    let versions = |migrator: &Migrator| migrator.iter().map(|migration| migration.version).collect();
    SharedVersions { control: versions(&CONTROL), shard: versions(&SHARD) }
}

/// Migrates the shared schemas and every workspace that is behind. Answers the
/// workspaces that were behind.
///
/// # Errors
/// [`MigrationError::Restored`] where [`installation::restore::adopt`] has to run first.
pub async fn migrate(server: &PgConnectOptions) -> Result<Vec<WorkspaceId>, MigrationError> {
    let mut conn = migrate_shared(server).await?;
    installation::note_cluster(&mut conn).await.map_err(|unfit| match unfit {
        Unfit::Restored => MigrationError::Restored,
        Unfit::Database(error) => error.into(),
    })?;
    if installation::inspect(&mut conn).await? == Installation::Restored {
        return Err(MigrationError::Restored);
    }
    migrate_workspaces(server, conn).await
}

/// The same in a database that was restored from a dump, after its adoption by this cluster.
pub async fn migrate_restored(server: &PgConnectOptions) -> Result<Vec<WorkspaceId>, MigrationError> {
    let mut conn = migrate_shared(server).await?;
    let workspaces = installation::restore::adopt(&mut conn).await?;
    tracing::info!(workspaces, "the restored data belongs to this cluster now");
    migrate_workspaces(server, conn).await
}

async fn migrate_workspaces(
    server: &PgConnectOptions,
    mut conn: PgConnection,
) -> Result<Vec<WorkspaceId>, MigrationError> {
    let behind = sqlx::query_scalar!(
        "select id from control.workspaces where state = 'ready' and not migrations @> $1 order by id",
        workspace_versions(),
    )
    .fetch_all(&mut conn)
    .await?;
    conn.close().await?;
    for &workspace in &behind {
        migrate_workspace(server, workspace).await?;
    }
    Ok(behind)
}

/// Migrates `control` and `shard`, and grants every workspace its permissions there.
async fn migrate_shared(server: &PgConnectOptions) -> Result<PgConnection, MigrationError> {
    let mut conn = alone(server, "shared").await?;
    require_postgis(&mut conn).await?;
    run(&mut conn, "shard", "shard, ext", &SHARD, None).await?;
    run(&mut conn, "control", "control, ext", &CONTROL, None).await?;
    grant_to_tenants(&mut conn).await?;
    Ok(conn)
}

/// A migration of a workspace that is about to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Number of the migration.
    pub version: i64,
    /// Description.
    pub name: String,
    /// Number of migrations that have run before it in this run.
    pub done: i64,
    /// Number of migrations in this run.
    pub of: i64,
}

/// Migrates one workspace's schema, which must exist.
pub async fn migrate_workspace(
    server: &PgConnectOptions,
    workspace: WorkspaceId,
) -> Result<(), MigrationError> {
    migrate_workspace_by_steps(server, workspace, |_| {}).await
}

/// The same, reporting each migration before it runs. Each is a transaction of its own, and the workspace
/// counts as migrated after the last: if this process is killed, the next one continues.
pub async fn migrate_workspace_by_steps(
    server: &PgConnectOptions,
    workspace: WorkspaceId,
    mut next: impl FnMut(&Step),
) -> Result<(), MigrationError> {
    let schema = workspace_schema(workspace.0);
    let search_path = format!("{schema}, shard_api, ext");
    let mut conn = alone(server, &schema).await?;
    let steps = steps(&mut conn, workspace).await?;
    for step in &steps {
        next(step);
        run(&mut conn, &schema, &search_path, &WORKSPACE, Some(step.version)).await?;
    }
    // Also if nothing was missing: the migrations that have run must be the known ones.
    run(&mut conn, &schema, &search_path, &WORKSPACE, None).await?;
    // The list of migrations is internal.
    let hide = format!(
        "revoke all on {schema}._sqlx_migrations from {schema}, {schema}_sql; set search_path = control"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(hide)).execute(&mut conn).await?;
    let mark = format!(
        "update workspaces set migrations = applied.versions, updated_at = now()
           from (select array_agg(version order by version) as versions
                   from {schema}._sqlx_migrations where success) applied
          where id = $1 and migrations is distinct from applied.versions"
    );
    sqlx::query(sqlx::AssertSqlSafe(mark)).bind(workspace.0).execute(&mut conn).await?;
    Ok(conn.close().await?)
}

/// The missing migrations of a workspace. Some may have run already, in a run that was killed.
async fn steps(conn: &mut PgConnection, workspace: WorkspaceId) -> Result<Vec<Step>, sqlx::Error> {
    sqlx::raw_sql("set search_path = control").execute(&mut *conn).await?;
    let applied = sqlx::query_scalar!("select migrations from workspaces where id = $1", workspace.0)
        .fetch_optional(&mut *conn)
        .await?
        .unwrap_or_default();
    let lacking: Vec<_> =
        WORKSPACE.iter().filter(|migration| !applied.contains(&migration.version)).collect();
    let of = i64::try_from(lacking.len()).unwrap_or(i64::MAX);
    let step = |(done, migration): (i64, &&Migration)| Step {
        version: migration.version,
        name: migration.description.to_string(),
        done,
        of,
    };
    Ok((0..).zip(&lacking).map(step).collect())
}

/// A connection of its own, whose lock keeps other migrations of the same subject waiting until it closes.
async fn alone(server: &PgConnectOptions, subject: &str) -> Result<PgConnection, sqlx::Error> {
    let mut conn = PgConnection::connect_with(server).await?;
    sqlx::query!("select pg_advisory_lock(hashtextextended($1, 1))", format!("migrate {subject}"))
        .execute(&mut conn)
        .await?;
    Ok(conn)
}

/// Runs a schema's migrations; the record of those that have run is in the schema itself.
async fn run(
    conn: &mut PgConnection,
    schema: &str,
    search_path: &str,
    migrator: &Migrator,
    up_to: Option<i64>,
) -> Result<(), MigrationError> {
    // Our own names, or names made of hex digits.
    let timeout = LOCK_TIMEOUT.as_millis();
    let setup = format!(
        "create schema if not exists {schema}; set search_path = {search_path}; set lock_timeout = {timeout}"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(setup)).execute(&mut *conn).await?;
    let failed = |source| match source {
        MigrateError::VersionMismatch(version) => {
            MigrationError::Changed { schema: schema.to_owned(), version }
        }
        source => MigrationError::Failed { schema: schema.to_owned(), source },
    };
    for attempt in 1..=MAX_LOCK_TRIES {
        match migrator.run_direct(up_to, &mut *conn, false).await {
            Ok(()) => return Ok(()),
            Err(source) if lacked_a_lock(&source) => {
                tracing::warn!(
                    schema,
                    attempt,
                    "another session holds a lock that a migration needs; trying again"
                );
                // Undo the unfinished migration.
                sqlx::raw_sql("rollback").execute(&mut *conn).await?;
                tokio::time::sleep(LOCK_PAUSE).await;
            }
            Err(source) => return Err(failed(source)),
        }
    }
    let tried = (LOCK_TIMEOUT + LOCK_PAUSE) * MAX_LOCK_TRIES;
    Err(MigrationError::Locked { schema: schema.to_owned(), minutes: tried.as_secs() / 60 })
}

fn lacked_a_lock(error: &MigrateError) -> bool {
    let (MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) = error else {
        return false;
    };
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|code| code == "55P03")
}

async fn require_postgis(conn: &mut PgConnection) -> Result<(), MigrationError> {
    let there = sqlx::query_scalar!(
        r#"select exists (select from pg_extension e join pg_namespace n on n.oid = e.extnamespace
                           where e.extname = 'postgis' and n.nspname = 'ext') as "there!""#
    )
    .fetch_one(conn)
    .await?;
    if there { Ok(()) } else { Err(MigrationError::NoPostgis) }
}

/// The role that every workspace's role belongs to, and its privileges: calling the shard's functions.
/// Roles belong to the whole server, so another database's migration may be creating it concurrently.
async fn grant_to_tenants(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    let login = sqlx::query_scalar!(r#"select current_user::text as "login!""#).fetch_one(&mut *conn).await?;
    let tenants = identifier(&format!("{login}{TENANTS}"));
    let statements = format!(
        "do $$ begin
             create role {tenants} nologin;
         exception when duplicate_object or unique_violation then
         end $$;
         grant usage on schema shard_api to {tenants};
         grant execute on all functions in schema shard_api to {tenants};"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements)).execute(conn).await?;
    Ok(())
}
