//! Requests over connections that stay open, as fast as the answers come.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, StatusCode,
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Duration as Wait, Instant, timeout},
};

use crate::{Failure, figure::quantile};

/// One answer at the most.
const PATIENCE: Wait = Wait::from_secs(30);

/// A request that is made again and again.
#[derive(Clone)]
pub struct Target {
    address: SocketAddr,
    make: Arc<dyn Fn() -> Request<Full<Bytes>> + Send + Sync>,
    answer: StatusCode,
}

/// What came of it.
pub struct Run {
    pub per_second: f64,
    /// In milliseconds.
    pub p50: f64,
    /// In milliseconds.
    pub p99: f64,
}

impl Target {
    /// A request to that address, whose answer must have that status.
    pub fn new(
        address: SocketAddr,
        answer: StatusCode,
        make: impl Fn() -> Request<Full<Bytes>> + Send + Sync + 'static,
    ) -> Self {
        Self { address, make: Arc::new(make), answer }
    }

    /// Makes it for so long, on so many connections at once, after a quarter of that to warm up.
    #[allow(clippy::cast_precision_loss)]
    pub async fn load(&self, connections: usize, time: Duration) -> Result<Run, Failure> {
        let begin = Instant::now() + time / 4;
        let end = begin + time;
        let mut tasks = JoinSet::new();
        for _ in 0..connections {
            let mut connection = Connection::open(self).await?;
            tasks.spawn(async move {
                let mut waits = Vec::new();
                while Instant::now() < end {
                    let asked = Instant::now();
                    let wait = connection.ask().await?;
                    if asked >= begin {
                        waits.push(wait);
                    }
                }
                Ok::<_, Failure>(waits)
            });
        }
        let mut waits = Vec::new();
        while let Some(of_one) = tasks.join_next().await {
            waits.extend(of_one??);
        }
        waits.sort_by(f64::total_cmp);
        let per_second = waits.len() as f64 / time.as_secs_f64();
        Ok(Run { per_second, p50: quantile(&waits, 0.5), p99: quantile(&waits, 0.99) })
    }
}

/// A connection that stays open.
pub struct Connection {
    target: Target,
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    /// Opens it.
    pub async fn open(target: &Target) -> Result<Self, Failure> {
        let stream = TcpStream::connect(target.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Ends with the sender, which receives its errors.
        tokio::spawn(connection);
        Ok(Self { target: target.clone(), sender })
    }

    /// Makes the request and reads the whole answer; how long that took, in milliseconds.
    pub async fn ask(&mut self) -> Result<f64, Failure> {
        let request = (self.target.make)();
        let what = format!("{} {}", request.method(), request.uri());
        let asked = Instant::now();
        let answer = async {
            self.sender.ready().await?;
            let answer = self.sender.send_request(request).await?;
            let status = answer.status();
            Ok::<_, hyper::Error>((status, answer.into_body().collect().await?.to_bytes()))
        };
        let (status, body) =
            timeout(PATIENCE, answer).await.map_err(|_| format!("no answer to {what}"))??;
        let took = asked.elapsed().as_secs_f64() * 1000.0;
        if status == self.target.answer {
            Ok(took)
        } else {
            Err(format!("{what}: {status}: {}", String::from_utf8_lossy(&body)).into())
        }
    }
}
