//! A `PgBouncer` of a test's own, in session mode and otherwise as it comes: it refuses what it doesn't know in a
//! connection's start-up message.

use std::{
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::{Child, Command, Stdio},
};

use reqwest::Url;
use tempfile::TempDir;

use super::free_port;

/// A running pooler; it ends with this.
pub struct PgBouncer {
    child: Child,
    port: u16,
    /// Its configuration.
    _folder: TempDir,
}

impl PgBouncer {
    /// Starts one in front of the server of a URL, whose user it lets in.
    pub fn start(server: &str) -> Self {
        let server = Url::parse(server).expect("a URL");
        let folder = TempDir::new().expect("a folder");
        let port = free_port();
        let (user, password) = (server.username(), server.password().expect("a password"));
        let users = folder.path().join("users.txt");
        std::fs::write(&users, format!("\"{user}\" \"{password}\"\n")).expect("a file can be written");
        let settings = format!(
            "[databases]\n* = host={} port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\npool_mode = session\n\
             default_pool_size = 100\n",
            server.host_str().expect("a host"),
            server.port().expect("a port"),
            users.display(),
        );
        let file = folder.path().join("pgbouncer.ini");
        std::fs::write(&file, settings).expect("a file can be written");
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("a mode");
        let mut command = Command::new(program());
        command.arg("--quiet").arg(&file).stdin(Stdio::null());
        // It refuses to run as root.
        if let Some(user) = unprivileged() {
            command.uid(user);
        }
        let child = command.spawn().expect("script/services has installed pgbouncer");
        Self { child, port, _folder: folder }
    }

    /// The same database by way of the pooler.
    pub fn url(&self, direct: &str) -> String {
        let mut url = Url::parse(direct).expect("a URL");
        url.set_port(Some(self.port)).expect("a URL with a host");
        url.into()
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Debian keeps it where only root's path leads.
fn program() -> &'static str {
    if Path::new("/usr/sbin/pgbouncer").exists() { "/usr/sbin/pgbouncer" } else { "pgbouncer" }
}

/// The account of the servers, for tests that run as root.
fn unprivileged() -> Option<u32> {
    let id = |arguments: &[&str]| {
        let output = Command::new("id").args(arguments).output().expect("id runs");
        String::from_utf8_lossy(&output.stdout).trim().parse::<u32>().ok()
    };
    if id(&["-u"]) == Some(0) { id(&["-u", "postgres"]) } else { None }
}
