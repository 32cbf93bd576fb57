//! Encrypted connections to both servers, against real ones with certificates of their own.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use jobs::{Bus, Connect, ConnectError, Database};
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;

use crate::{
    cluster::{free_port, postgres::Postgres, wait_until},
    database::TestDatabase,
};

/// A certificate authority in a folder, and what it has signed for 127.0.0.1.
struct Authority(TempDir);

impl Authority {
    fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        // The servers run as another user.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let authority = Self(folder);
        let days = ["-days", "2", "-nodes", "-newkey", "rsa:2048"];
        authority.openssl(&[
            &["req", "-x509", "-subj", "/CN=Test CA", "-keyout", "ca.key", "-out", "ca.pem"][..],
            &days,
        ]);
        authority.openssl(&[
            &["req", "-subj", "/CN=server", "-keyout", "server.key", "-out", "server.csr"][..],
            &days[2..],
        ]);
        fs::write(authority.path("san"), "subjectAltName=IP:127.0.0.1\n").unwrap();
        authority.openssl(&[
            &["x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"][..],
            &["-extfile", "san", "-out", "server.pem", "-days", "2"],
        ]);
        authority
    }

    fn openssl(&self, arguments: &[&[&str]]) {
        let done = Command::new("openssl").args(arguments.concat()).current_dir(&self.0).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn ca(&self) -> Vec<u8> {
        fs::read(self.path("ca.pem")).unwrap()
    }

    /// Gives the server's key to the owner of that folder, which is the server.
    fn give_key_to_owner_of(&self, folder: &Path) {
        let owner = fs::metadata(folder).unwrap();
        let key = self.path("server.key");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        chown(&key, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
}

/// A Redis that speaks only TLS.
struct TlsRedis {
    port: u16,
    process: Child,
}

impl TlsRedis {
    async fn start(authority: &Authority) -> Self {
        let port = free_port();
        let process = Command::new("redis-server")
            .args(["--port", "0", "--bind", "127.0.0.1", "--save", "", "--tls-auth-clients", "no"])
            .args(["--tls-port", &port.to_string()])
            .args([
                "--tls-cert-file",
                "server.pem",
                "--tls-key-file",
                "server.key",
                "--tls-ca-cert-file",
                "ca.pem",
            ])
            .current_dir(&authority.0)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let redis = Self { port, process };
        let url = redis.url();
        let ca = authority.ca();
        wait_until("Redis answers", || async {
            Bus::connect(&url, Some(&ca), "t", Duration::from_secs(10)).await.is_ok()
        })
        .await;
        redis
    }

    fn url(&self) -> String {
        format!("rediss://127.0.0.1:{}/0", self.port)
    }
}

impl Drop for TlsRedis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn connect(database_url: &str, redis_url: &str, ca: Option<&[u8]>) -> Result<Database, ConnectError> {
    Database::connect(&Connect {
        database_url,
        redis_url,
        redis_ca: ca,
        redis_prefix: "tls",
        connections: 2,
        silence: Duration::from_secs(10),
        fair_use: None,
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn both_servers_are_reached_by_tls_and_only_under_a_certificate_that_is_trusted() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let postgres = tokio::task::block_in_place(|| Postgres::start("test-tls"));
    let mut admin = PgConnection::connect(&postgres.server.admin_url).await.unwrap();
    let data: String =
        sqlx::query_scalar("select current_setting('data_directory')").fetch_one(&mut admin).await.unwrap();
    authority.give_key_to_owner_of(Path::new(&data));
    for (name, value) in [("ssl_cert_file", "server.pem"), ("ssl_key_file", "server.key")] {
        let sql = format!("alter system set {name} = '{}'", authority.path(value).display());
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut admin).await.unwrap();
    }
    postgres.alter("alter system set ssl = on").await;
    let database = TestDatabase::create_on(postgres.server.clone()).await;
    let with = |mode: &str, ca: &Authority| {
        let mark = if database.url.contains('?') { '&' } else { '?' };
        format!("{}{mark}sslmode={mode}&sslrootcert={}", database.url, ca.path("ca.pem").display())
    };
    let redis = TlsRedis::start(&authority).await;

    for mode in ["require", "verify-ca", "verify-full"] {
        let connected = connect(&with(mode, &authority), &redis.url(), Some(&authority.ca())).await.unwrap();
        let encrypted: bool = sqlx::query_scalar("select ssl from pg_stat_ssl where pid = pg_backend_pid()")
            .fetch_one(&connected.pool)
            .await
            .unwrap();
        assert!(encrypted, "{mode}");
        connected.bus.probe().await.unwrap();
        connected.pool.close().await;
    }
    for mode in ["verify-ca", "verify-full"] {
        let refused = connect(&with(mode, &stranger), &redis.url(), Some(&authority.ca())).await;
        assert!(matches!(refused, Err(ConnectError::Database(_))), "{mode}: {refused:?}");
    }
    let by_name = with("verify-full", &authority).replace("127.0.0.1", "localhost");
    let refused = connect(&by_name, &redis.url(), Some(&authority.ca())).await;
    assert!(matches!(refused, Err(ConnectError::Database(_))), "another host's certificate: {refused:?}");
    let refused = connect(&with("verify-full", &authority), &redis.url(), Some(&stranger.ca())).await;
    assert!(matches!(refused, Err(ConnectError::Bus(_))), "{refused:?}");
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_no_single_server_is_refused_in_one_line() {
    let silence = Duration::from_secs(10);
    for url in [
        "redis+sentinel://127.0.0.1:26379/main/0",
        "redis-sentinel://127.0.0.1:26379",
        "redis+cluster://127.0.0.1:7000",
        "redis://127.0.0.1:7000,127.0.0.1:7001/0",
        "127.0.0.1:6379",
    ] {
        let error = Bus::connect(url, None, "t", silence).await.unwrap_err().to_string();
        assert!(error.starts_with("REDIS_URL: ") && !error.contains('\n'), "{url}: {error}");
    }

    let folder = TempDir::new().unwrap();
    let port = free_port();
    let mut cluster = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--cluster-enabled", "yes", "--save", ""])
        .current_dir(&folder)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed");
    let url = format!("redis://127.0.0.1:{port}/0");
    wait_until("it is refused as a cluster", || async {
        let refused = Bus::connect(&url, None, "t", silence).await;
        refused.is_err_and(|error| error.to_string().starts_with("Redis Cluster is not supported"))
    })
    .await;
    cluster.kill().unwrap();
    cluster.wait().unwrap();
}
