//! The attacks. Each is some clients who do the same thing again and again until they are dropped.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use super::files;
use crate::{Failure, client::Client, variable};

/// Bytes of a hostile form.
const FORM: usize = 30 << 20;
/// How long a client waits before it leaves.
const LEAVES_AFTER: Duration = Duration::from_millis(300);
/// One client's turn at the most.
const PATIENCE: Duration = Duration::from_secs(30);

/// What one tenant does to the others.
#[derive(Clone, Copy)]
pub enum Attack {
    /// Three uploads whose form has a header of 30 MiB.
    Forms,
    /// A hundred bodies of which a byte comes now and then.
    Bodies,
    /// Eight looks at a file that is large when unpacked, by clients who leave.
    Looks,
    /// Twenty-four searches that find nothing among many records. A refused client comes again after `Retry-After`.
    Searches,
}

/// A user with a workspace, and with the files and records for the attacks.
pub struct Attacker {
    client: Client,
    address: SocketAddr,
    file_uri: String,
    search: String,
}

impl Attacker {
    /// Uploads the file that is looked at and imports the records that are searched.
    pub async fn prepare(client: Client, address: SocketAddr, records: usize) -> Result<Self, Failure> {
        let folder = std::path::PathBuf::from(variable("BENCH_FOLDER")?);
        let (heavy, rows) = (folder.join("heavy.xlsx"), folder.join("rows.csv"));
        files::blank_rows(&heavy)?;
        files::rows(&rows, records)?;
        let upload = "/recordsets/import/upload";
        let heavy = client.upload(upload, &heavy).await?;
        let rows = client.upload(upload, &rows).await?;
        let import = json!({ "name": "Many", "file_uri": rows["file_uri"] });
        let started = client.post("/recordsets/import", import).await?;
        client.wait_for(&started).await?;
        let recordset = started["recordset_id"].as_str().ok_or("an import without a recordset")?;
        Ok(Self {
            search: format!("/api/v1/records?recordset_id={recordset}&search=nothing-like-it"),
            file_uri: heavy["file_uri"].as_str().ok_or("an upload without a URI")?.to_owned(),
            client,
            address,
        })
    }

    fn head(&self, request: &str, headers: &str) -> String {
        format!("{request} HTTP/1.1\r\nHost: millrace\r\n{}{headers}\r\n", self.client.headers())
    }
}

impl Attack {
    pub const ALL: [Self; 4] = [Self::Forms, Self::Bodies, Self::Looks, Self::Searches];

    pub fn name(self) -> &'static str {
        match self {
            Self::Forms => "forms",
            Self::Bodies => "slow_bodies",
            Self::Looks => "abandoned_looks",
            Self::Searches => "searches",
        }
    }

    fn clients(self) -> usize {
        match self {
            Self::Forms => 3,
            Self::Bodies => 100,
            Self::Looks => 8,
            Self::Searches => 24,
        }
    }

    /// Begins; the clients leave when what this answers is dropped.
    pub fn begin(self, attacker: &Arc<Attacker>) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for _ in 0..self.clients() {
            let attacker = Arc::clone(attacker);
            tasks.spawn(async move {
                loop {
                    // Whatever comes of it, a refusal included: the next turn.
                    let _ = timeout(PATIENCE, self.turn(&attacker)).await;
                }
            });
        }
        tasks
    }

    async fn turn(self, attacker: &Attacker) -> std::io::Result<()> {
        let mut socket = TcpStream::connect(attacker.address).await?;
        match self {
            Self::Forms => {
                let headers = format!(
                    "Content-Type: multipart/form-data; boundary=B\r\nContent-Length: {}\r\n",
                    FORM + 100
                );
                let head = attacker.head("POST /api/v1/recordsets/import/upload", &headers);
                socket.write_all(head.as_bytes()).await?;
                socket.write_all(b"--B\r\nContent-Disposition: form-data; x=").await?;
                let piece = vec![b'x'; 64 << 10];
                for _ in 0..FORM / piece.len() {
                    socket.write_all(&piece).await?;
                }
                answer(&mut socket).await.map(drop)
            }
            Self::Bodies => {
                let headers =
                    "Content-Type: application/json\r\nContent-Length: 1000000\r\nIdempotency-Key: one\r\n";
                socket.write_all(attacker.head("POST /api/v1/teams", headers).as_bytes()).await?;
                loop {
                    socket.write_all(b" ").await?;
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            }
            Self::Looks => {
                let body = json!({ "file_uri": attacker.file_uri }).to_string();
                let headers = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
                let head = attacker.head("POST /api/v1/recordsets/import/upload/analyze", &headers);
                socket.write_all((head + &body).as_bytes()).await?;
                let _ = timeout(LEAVES_AFTER, answer(&mut socket)).await;
                Ok(())
            }
            Self::Searches => {
                let head = attacker.head(&format!("GET {}", attacker.search), "");
                socket.write_all(head.as_bytes()).await?;
                let head = answer(&mut socket).await?;
                tokio::time::sleep(retry_after(&head)).await;
                Ok(())
            }
        }
    }
}

/// Waits for the beginning of an answer, or the end of the connection.
async fn answer(socket: &mut TcpStream) -> std::io::Result<String> {
    let mut heard = vec![0; 4096];
    let length = socket.read(&mut heard).await?;
    Ok(String::from_utf8_lossy(&heard[..length]).into_owned())
}

/// How long an answer says to wait.
fn retry_after(head: &str) -> Duration {
    let seconds = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("retry-after").then(|| value.trim().parse().ok())?
    });
    Duration::from_secs(seconds.unwrap_or(0))
}
