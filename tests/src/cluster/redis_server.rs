//! A Redis server of a test's own, which may be killed, emptied and started again.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::{free_port, wait_until};

/// A running server; it ends with this.
pub struct RedisServer {
    port: u16,
    /// Where it keeps what it knows, so that it can be killed without forgetting.
    folder: PathBuf,
    process: Child,
}

impl RedisServer {
    pub(super) async fn start(folder: PathBuf) -> Self {
        let port = free_port();
        let server = Self { port, process: spawn(port, &folder), folder };
        server.wait().await;
        server
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Kills it and starts it again after a moment without any, with the memory that it had or without.
    pub(super) async fn restart(&mut self, forgetting: bool) {
        self.kill();
        if forgetting {
            std::fs::remove_dir_all(&self.folder).expect("its files can be deleted");
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        self.process = spawn(self.port, &self.folder);
        self.wait().await;
    }

    /// Makes it forget everything while it runs.
    pub(super) async fn flush(&self) {
        let mut connection = self.client().get_multiplexed_async_connection().await.expect("Redis answers");
        redis::cmd("FLUSHALL").query_async::<()>(&mut connection).await.expect("it forgets");
    }

    /// How many channels have a subscriber.
    pub async fn number_of_channels(&self) -> usize {
        let mut connection = self.client().get_multiplexed_async_connection().await.expect("Redis answers");
        let mut channels = redis::cmd("PUBSUB");
        channels.arg("CHANNELS");
        let channels: Vec<String> = channels.query_async(&mut connection).await.expect("it tells");
        channels.len()
    }

    /// Sends a command.
    pub(super) async fn send(&self, command: &[&str]) {
        let mut connection = self.client().get_multiplexed_async_connection().await.expect("Redis answers");
        let mut words = command.iter().filter(|word| !word.is_empty());
        let mut sent = redis::cmd(words.next().expect("a command"));
        words.for_each(|word| {
            sent.arg(*word);
        });
        sent.query_async::<()>(&mut connection).await.expect("it obeys");
    }

    /// Kills it, if it runs.
    pub(super) fn kill(&mut self) {
        self.process.kill().expect("Redis can be killed");
        self.process.wait().expect("Redis ends");
    }

    fn client(&self) -> redis::Client {
        redis::Client::open(self.url()).expect("a URL")
    }

    async fn wait(&self) {
        let client = self.client();
        wait_until("Redis answers", || async {
            let Ok(mut connection) = client.get_multiplexed_async_connection().await else { return false };
            // While it reads its files it takes connections already.
            redis::cmd("PING").query_async::<()>(&mut connection).await.is_ok()
        })
        .await;
    }
}

fn spawn(port: u16, folder: &PathBuf) -> Child {
    std::fs::create_dir_all(folder).expect("a folder for Redis");
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"])
        .args(["--appendfsync", "no", "--dir"])
        .arg(folder)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed")
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
