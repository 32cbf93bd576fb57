//! A database per test, cloned from a migrated template that the first test of a run makes.

use std::{path::Path, str::FromStr, time::Duration};

use jobs::{Connect, Database};
use sha2::{Digest, Sha256};
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use uuid::Uuid;

/// A PostgreSQL server that holds databases of tests.
#[derive(Debug, Clone)]
pub struct Server {
    /// As Millrace's own login.
    pub url: String,
    /// As a superuser.
    pub admin_url: String,
}

impl Server {
    /// The one that `script/test` has started.
    pub fn shared() -> Self {
        Self { url: variable("DATABASE_URL"), admin_url: variable("MILLRACE_ADMIN_DATABASE_URL") }
    }
}

/// A database of one test; see [`TestDatabase::remove`].
pub struct TestDatabase {
    /// Its URL.
    pub url: String,
    name: String,
    server: Server,
}

/// A variable that `script/test` sets.
pub fn variable(name: &str) -> String {
    optional_variable(name).unwrap_or_else(|| panic!("{name} is not set: run the tests by script/test"))
}

/// A variable that the caller of the tests may set.
pub fn optional_variable(name: &str) -> Option<String> {
    std::env::vars().find_map(|(key, value)| (key == name).then_some(value))
}

impl TestDatabase {
    /// Clones the template.
    pub async fn create() -> Self {
        Self::create_on(Server::shared()).await
    }

    /// The same, on another server.
    pub async fn create_on(server: Server) -> Self {
        domain_jobs::install_kinds();
        let template = template(&server).await;
        let name = format!("test_{}", Uuid::now_v7().simple());
        let mut admin = connect(&server.url).await;
        run(&mut admin, &format!("create database {name} template {template}")).await;
        Self { url: with_name(&server.url, &name), name, server }
    }

    /// Connects as a process would.
    pub async fn connect(&self, redis_url: &str, redis_prefix: &str) -> Database {
        Database::connect(&Connect {
            database_url: &self.url,
            redis_url,
            redis_ca: None,
            redis_prefix,
            connections: 10,
            silence: Duration::from_secs(10),
            fair_use: None,
        })
        .await
        .expect("the test's servers answer")
    }

    /// Drops the database and the roles of its workspaces.
    pub async fn remove(&self) {
        let mut own = connect(&self.url).await;
        let roles: Vec<String> = sqlx::query_scalar(
            "select rolname::text from pg_roles r
              where rolname ~ '^ws_[0-9a-f]{32}(_sql)?$'
                and exists (select from pg_namespace where nspname = substr(rolname, 1, 35))",
        )
        .fetch_all(&mut own)
        .await
        .expect("roles can be listed");
        own.close().await.ok();
        // Ending the server's own workers there, such as autovacuum's, takes a superuser.
        let mut admin = connect(&self.server.admin_url).await;
        run(&mut admin, &format!("drop database if exists {} with (force)", self.name)).await;
        for role in roles {
            run(&mut admin, &format!("drop role if exists {role}")).await;
        }
    }
}

/// The migrated template of these migrations, made once per server.
async fn template(server: &Server) -> String {
    let name = format!("tests_{}", fingerprint());
    let mut admin = connect(&server.url).await;
    // One test makes it, the others wait here.
    sqlx::query("select pg_advisory_lock(7061)").execute(&mut admin).await.expect("locks work");
    let there: bool = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
        .bind(&name)
        .fetch_one(&mut admin)
        .await
        .expect("databases can be listed");
    if !there {
        let unfinished = format!("{name}_unfinished");
        run(&mut admin, &format!("drop database if exists {unfinished} with (force)")).await;
        run(&mut admin, &format!("create database {unfinished} template millrace_seed")).await;
        let url = with_name(&server.url, &unfinished);
        let options = PgConnectOptions::from_str(&url).expect("the URL is one");
        domain::migrations::migrate(&options).await.expect("the migrations run");
        // A test is many people from one address. Those about limits set their own.
        let mut own = connect(&url).await;
        run(&mut own, "update control.rate_limits set requests = 1000000").await;
        own.close().await.ok();
        run(&mut admin, &format!("alter database {unfinished} rename to {name}")).await;
    }
    admin.close().await.ok();
    name
}

/// A name for the migrations as they are in this checkout.
fn fingerprint() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
    let mut hash = Sha256::new();
    for folder in ["control", "shard", "workspace"] {
        let mut files: Vec<_> =
            std::fs::read_dir(root.join(folder)).expect("migrations").map(|f| f.unwrap().path()).collect();
        files.sort();
        for file in files {
            hash.update(std::fs::read(file).expect("a migration can be read"));
        }
    }
    hex::encode(&hash.finalize()[..8])
}

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.expect("PostgreSQL answers")
}

async fn run(connection: &mut PgConnection, statement: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned()))
        .execute(connection)
        .await
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
}

/// The URL with another database's name.
fn with_name(url: &str, name: &str) -> String {
    let (base, query) = url.split_once('?').map_or((url, ""), |(base, query)| (base, query));
    let server = base.rsplit_once('/').expect("a URL with a database").0;
    if query.is_empty() { format!("{server}/{name}") } else { format!("{server}/{name}?{query}") }
}
