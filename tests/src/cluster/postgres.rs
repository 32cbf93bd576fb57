//! A PostgreSQL server of a test's own, which may be crashed; `script/services` runs it.

use std::{path::Path, process::Command};

use sqlx::{Connection, PgConnection};

use crate::database::Server;

/// A running server; it ends, and its data goes, with this.
pub struct Postgres {
    home: String,
    /// How it is reached.
    pub server: Server,
}

impl Postgres {
    /// Starts it. One that an interrupted run of that name has left is taken over.
    pub fn start(name: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.millrace");
        let home = root.join(name).display().to_string();
        services(&home, &["start", "postgres"]);
        let exports = services(&home, &["env", "postgres"]);
        let value = |name: &str| {
            exports
                .lines()
                .find_map(|line| line.strip_prefix(&format!("export {name}=")))
                .unwrap_or_else(|| panic!("no {name} in {exports}"))
                .to_owned()
        };
        let server = Server { url: value("DATABASE_URL"), admin_url: value("MILLRACE_ADMIN_DATABASE_URL") };
        Self { home, server }
    }

    /// `pg_ctl -m immediate restart`: ends every session where it is, and recovers. Returns when it takes
    /// connections again.
    pub fn crash(&self) {
        services(&self.home, &["crash"]);
    }

    /// Ends it.
    pub fn stop(&self) {
        services(&self.home, &["stop", "postgres"]);
    }

    /// Starts it again, where it was.
    pub fn start_again(&self) {
        services(&self.home, &["start", "postgres"]);
    }

    /// Changes settings, and returns when they hold for new transactions.
    pub async fn alter(&self, sql: &'static str) {
        let mut admin = PgConnection::connect(&self.server.admin_url).await.expect("PostgreSQL answers");
        for statement in sql.split(';').chain(["select pg_reload_conf()"]) {
            sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned()))
                .execute(&mut admin)
                .await
                .expect("a setting");
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        services(&self.home, &["remove"]);
    }
}

/// Runs the script without the variables that point it, or the server, elsewhere.
fn services(home: &str, arguments: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../script/services");
    let output = Command::new(script)
        .args(["--for", "test", "--home", home])
        .args(arguments)
        .output()
        .expect("script/services can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "script/services {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
