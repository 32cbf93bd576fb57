//! Bringing schemas up to date: the shared ones, then each workspace's. Safe to run at any time, many
//! at once, again and again: whoever comes second waits, and finds nothing left to do.

use std::sync::LazyLock;

use jobs::workspace_schema;
use sqlx::{
    Connection, PgConnection,
    migrate::{MigrateError, Migrator},
    postgres::PgConnectOptions,
};

use crate::{
    WorkspaceId,
    workspaces::schema::{TENANTS, identifier},
};

/// Without sqlx's own lock, which is one per database: ours are one for the shared schemas and one
/// per workspace.
fn unlocked(mut migrator: Migrator) -> Migrator {
    migrator.set_locking(false);
    migrator
}

static CONTROL: LazyLock<Migrator> = LazyLock::new(|| unlocked(sqlx::migrate!("../migrations/control")));
static SHARD: LazyLock<Migrator> = LazyLock::new(|| unlocked(sqlx::migrate!("../migrations/shard")));
static WORKSPACE: LazyLock<Migrator> = LazyLock::new(|| unlocked(sqlx::migrate!("../migrations/workspace")));

/// Why a schema could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// An extension is missing that only a superuser can install.
    #[error(
        "PostGIS is not installed in the schema ext; as a superuser run: \
         create schema ext; create extension postgis schema ext; grant usage on schema ext to public"
    )]
    NoPostgis,
    /// A migration failed, or was changed after it had run.
    #[error("{schema}: {source}")]
    Failed {
        /// Where.
        schema: String,
        /// What.
        source: MigrateError,
    },
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// The newest migration of workspaces that this release knows.
#[must_use]
pub fn workspace_version() -> i64 {
    WORKSPACE.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// Brings the shared schemas and every workspace that is behind up to date. Answers with the
/// workspaces that were behind.
pub async fn migrate(server: &PgConnectOptions) -> Result<Vec<WorkspaceId>, MigrationError> {
    let mut conn = migrate_shared(server).await?;
    let behind = sqlx::query_scalar!(
        "select id from workspaces where state = 'ready' and schema_version < $1 order by id",
        workspace_version(),
    )
    .fetch_all(&mut conn)
    .await?;
    conn.close().await?;
    let behind: Vec<_> = behind.into_iter().map(WorkspaceId).collect();
    for &workspace in &behind {
        migrate_workspace(server, workspace).await?;
    }
    Ok(behind)
}

/// Brings `control` and `shard` up to date, and grants every workspace what it may do there.
async fn migrate_shared(server: &PgConnectOptions) -> Result<PgConnection, MigrationError> {
    let mut conn = alone(server, "shared").await?;
    require_postgis(&mut conn).await?;
    run(&mut conn, "shard", "shard, ext", &SHARD).await?;
    run(&mut conn, "control", "control, ext", &CONTROL).await?;
    grant_to_tenants(&mut conn).await?;
    Ok(conn)
}

/// Brings one workspace's schema, which must exist, up to date.
pub async fn migrate_workspace(
    server: &PgConnectOptions,
    workspace: WorkspaceId,
) -> Result<(), MigrationError> {
    let schema = workspace_schema(workspace.0);
    let mut conn = alone(server, &schema).await?;
    run(&mut conn, &schema, &format!("{schema}, shard_api, ext"), &WORKSPACE).await?;
    // Which migrations have run is nobody's business but ours.
    let hide = format!(
        "revoke all on {schema}._sqlx_migrations from {schema}, {schema}_sql; set search_path = control"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(hide)).execute(&mut conn).await?;
    sqlx::query!(
        "update workspaces set schema_version = $2, updated_at = now()
          where id = $1 and schema_version < $2",
        workspace.0,
        workspace_version(),
    )
    .execute(&mut conn)
    .await?;
    Ok(conn.close().await?)
}

/// A connection of its own, whose lock keeps others who migrate the same waiting until it closes.
async fn alone(server: &PgConnectOptions, subject: &str) -> Result<PgConnection, sqlx::Error> {
    let mut conn = PgConnection::connect_with(server).await?;
    sqlx::query!("select pg_advisory_lock(hashtextextended($1, 1))", format!("migrate {subject}"))
        .execute(&mut conn)
        .await?;
    Ok(conn)
}

/// Runs a schema's migrations; the record of those that have run lies in the schema itself.
async fn run(
    conn: &mut PgConnection,
    schema: &str,
    search_path: &str,
    migrator: &Migrator,
) -> Result<(), MigrationError> {
    // Names of ours, or made of hex digits.
    let setup = format!("create schema if not exists {schema}; set search_path = {search_path}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(setup)).execute(&mut *conn).await?;
    migrator
        .run_direct(None, conn, false)
        .await
        .map_err(|source| MigrationError::Failed { schema: schema.to_owned(), source })
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

/// The role that every workspace's role belongs to, and what it may do: call the shard's functions.
/// Roles belong to the whole server, so another database's migration may be making it just now.
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
