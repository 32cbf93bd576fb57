//! One connection to a stream: as much of HTTP/1.1 and of Server-Sent Events as it takes, and small
//! enough that the bench can hold 10,000 of them without being in the way of what it measures.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use chrono::{DateTime, Utc};
use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use crate::Failure;

/// An open stream.
pub struct Stream {
    connection: TcpStream,
    /// What came and is not read yet, the chunks' frames included.
    raw: Vec<u8>,
    /// The text that the chunks have brought.
    text: Vec<u8>,
}

/// What a stream says.
pub enum Message {
    /// How long to wait before coming back.
    Retry(Duration),
    Heartbeat,
    /// Something was missed and is gone.
    Gap,
    Event {
        seq: i64,
        made: DateTime<Utc>,
        over: bool,
    },
}

#[derive(Deserialize)]
struct Data<'a> {
    status: &'a str,
    #[serde(default)]
    seq: i64,
    timestamp: Option<DateTime<Utc>>,
}

impl Stream {
    /// Asks for a stream, after the event of that number where there is one.
    pub async fn open(
        from: Ipv4Addr,
        to: SocketAddr,
        path: &str,
        headers: &str,
        last: Option<i64>,
    ) -> Result<Self, Failure> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        let mut connection = socket.connect(to).await?;
        let last = last.map(|seq| format!("Last-Event-ID: {seq}\r\n")).unwrap_or_default();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {to}\r\nAccept: text/event-stream\r\n{headers}{last}\r\n");
        connection.write_all(request.as_bytes()).await?;
        let mut stream = Self { connection, raw: Vec::new(), text: Vec::new() };
        let head = loop {
            if let Some(end) = find(&stream.raw, b"\r\n\r\n") {
                break stream.raw.drain(..end + 4).collect::<Vec<u8>>();
            }
            if !stream.fill().await? {
                return Err("the connection was closed before the answer".into());
            }
        };
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        if head.starts_with("http/1.1 200") && head.contains("transfer-encoding: chunked") {
            Ok(stream)
        } else {
            Err(format!("not a stream: {}", head.lines().next().unwrap_or_default()).into())
        }
    }

    /// The next message; `None` when the stream has been closed in good order.
    pub async fn next(&mut self) -> Result<Option<Message>, Failure> {
        loop {
            while let Some(end) = find(&self.text, b"\n\n") {
                let block: Vec<u8> = self.text.drain(..end + 2).collect();
                if let Some(message) = parse(std::str::from_utf8(&block)?)? {
                    return Ok(Some(message));
                }
            }
            match self.chunk()? {
                Some(0) => return Ok(None),
                Some(_) => {}
                None if self.fill().await? => {}
                None => return Err("the connection broke off".into()),
            }
        }
    }

    /// Moves a whole chunk's text over; answers its length, or nothing when it is not all here.
    fn chunk(&mut self) -> Result<Option<usize>, Failure> {
        let Some(end) = find(&self.raw, b"\r\n") else { return Ok(None) };
        let length = usize::from_str_radix(std::str::from_utf8(&self.raw[..end])?, 16)?;
        let begin = end + 2;
        if self.raw.len() < begin + length + 2 {
            return Ok(None);
        }
        self.text.extend_from_slice(&self.raw[begin..begin + length]);
        self.raw.drain(..begin + length + 2);
        Ok(Some(length))
    }

    async fn fill(&mut self) -> std::io::Result<bool> {
        Ok(self.connection.read_buf(&mut self.raw).await? > 0)
    }
}

fn parse(block: &str) -> Result<Option<Message>, Failure> {
    for line in block.lines() {
        if let Some(time) = line.strip_prefix("retry: ") {
            return Ok(Some(Message::Retry(Duration::from_millis(time.parse()?))));
        }
        if let Some(json) = line.strip_prefix("data: ") {
            let data: Data = serde_json::from_str(json)?;
            return Ok(Some(match (data.status, data.timestamp) {
                ("HEARTBEAT", _) => Message::Heartbeat,
                ("GAP", _) => Message::Gap,
                (status, Some(made)) => Message::Event {
                    seq: data.seq,
                    made,
                    over: matches!(status, "COMPLETED" | "FAILED" | "CANCELLED"),
                },
                (_, None) => return Err(format!("an event without a time: {json}").into()),
            }));
        }
    }
    Ok(None)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
