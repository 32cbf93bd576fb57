//! A mail server of a test's own: aiosmtpd, independent of Millrace, in a process that ends with it.

use std::{
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::watch,
};

use crate::database::variable;

/// The server, listening.
pub struct SmtpServer {
    /// Where.
    pub port: u16,
    mails: Arc<Mutex<Vec<Value>>>,
    more: watch::Receiver<usize>,
    _process: Child,
}

impl SmtpServer {
    /// Starts it with the options of `tests/smtp/server.py`.
    pub async fn start(options: &[&str]) -> Self {
        let mut process = Command::new(variable("MILLRACE_PYTHON"))
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/smtp/server.py"))
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("script/python has made that Python");
        let mut lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let first =
            lines.next_line().await.expect("it can be read").expect("the server says where it listens");
        let first: Value = serde_json::from_str(&first).expect("JSON");
        let port = first["listening"].as_u64().and_then(|port| port.try_into().ok()).expect("a port");
        let mails = Arc::new(Mutex::new(Vec::new()));
        let (told, more) = watch::channel(0);
        let inbox = Arc::clone(&mails);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let event = serde_json::from_str(&line).expect("JSON");
                inbox.lock().expect("no holder panics").push(event);
                told.send_modify(|count| *count += 1);
            }
        });
        Self { port, mails, more, _process: process }
    }

    /// For `MAIL_URL`.
    pub fn url(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.port)
    }

    /// Its events so far, in order: emails with its answers, and refused recipients.
    pub fn told(&self) -> Vec<Value> {
        self.mails.lock().expect("no holder panics").clone()
    }

    /// The same, as soon as that much has come.
    pub async fn after(&self, count: usize) -> Vec<Value> {
        let mut more = self.more.clone();
        let come = more.wait_for(|so_far| *so_far >= count);
        tokio::time::timeout(Duration::from_secs(30), come)
            .await
            .unwrap_or_else(|_| panic!("not {count} after 30 s: {:#?}", self.told()))
            .expect("the server runs");
        self.told()
    }
}
