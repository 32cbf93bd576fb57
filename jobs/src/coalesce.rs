//! Coalescing: many small requests to the database, combined into few statements without a timer. The
//! first request is sent at once; requests that arrive while a statement is in flight are sent together with the
//! next one. Under light load that adds no wait, under heavy load it adds no statements. A statement that follows
//! another at once uses the same connection, whose caches are warm.
//!
//! One request never fails another: if the database refuses a statement, its requests are run again, each
//! in a statement of its own. And none waits without limit: a connection that doesn't answer is given up.

use std::{io, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use sqlx::{PgConnection, PgPool, Postgres, pool::PoolConnection};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::outage::is_outage;

/// Maximum number of requests in one statement.
const BATCH: usize = 500;
/// Timeout of a statement. The longest ones wait for a lock; beyond this, the server is considered lost.
const ANSWER: Duration = Duration::from_secs(30);

type Waiting<I, O> = (I, oneshot::Sender<Result<O, Arc<sqlx::Error>>>);

/// Takes requests one by one and runs them together.
pub(crate) struct Coalescer<I, O>(mpsc::UnboundedSender<Waiting<I, O>>);

impl<I, O> Clone for Coalescer<I, O> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<I, O> Coalescer<I, O>
where
    I: Send + Sync + 'static,
    O: Send + 'static,
{
    /// Starts with the function that runs a batch; it answers in the order of its input.
    pub(crate) fn start<F>(pool: PgPool, run: F) -> Self
    where
        F: for<'a> Fn(&'a mut PgConnection, &'a [I]) -> BoxFuture<'a, Result<Vec<O>, sqlx::Error>>
            + Send
            + Sync
            + 'static,
    {
        let (sender, mut receiver) = mpsc::unbounded_channel::<Waiting<I, O>>();
        tokio::spawn(async move {
            let mut batch = Vec::with_capacity(BATCH);
            let mut kept: Option<PoolConnection<Postgres>> = None;
            while receiver.recv_many(&mut batch, BATCH).await > 0 {
                let (items, replies): (Vec<I>, Vec<_>) = batch.drain(..).unzip();
                let answers = match answer(&pool, &mut kept, &run, &items).await {
                    Ok(answers) => answers.into_iter().map(Ok).collect(),
                    Err(error) if items.len() > 1 && !is_outage(&error) => {
                        tracing::warn!(%error, requests = items.len(), "a combined statement was refused; running each request alone");
                        let mut answers = Vec::with_capacity(items.len());
                        for item in &items {
                            let alone = answer(&pool, &mut kept, &run, std::slice::from_ref(item)).await;
                            answers.push(alone.map_err(Arc::new).and_then(|mut answers| {
                                answers.pop().ok_or_else(|| Arc::new(sqlx::Error::RowNotFound))
                            }));
                        }
                        answers
                    }
                    Err(error) => {
                        let error = Arc::new(error);
                        replies.iter().map(|_| Err(Arc::clone(&error))).collect::<Vec<_>>()
                    }
                };
                if receiver.is_empty() {
                    kept = None;
                }
                for (reply, answer) in replies.into_iter().zip(answers) {
                    // A caller that no longer waits has given up by itself.
                    let _ = reply.send(answer);
                }
            }
        });
        Self(sender)
    }

    /// Runs one request, together with other waiting ones.
    pub(crate) async fn call(&self, item: I) -> Result<O, Arc<sqlx::Error>> {
        let (reply, answer) = oneshot::channel();
        if self.0.send((item, reply)).is_err() {
            return Err(Arc::new(sqlx::Error::WorkerCrashed));
        }
        answer.await.unwrap_or_else(|_| Err(Arc::new(sqlx::Error::WorkerCrashed)))
    }
}

/// Runs one statement, on the kept connection if there is one, and keeps it.
async fn answer<I, O, F>(
    pool: &PgPool,
    kept: &mut Option<PoolConnection<Postgres>>,
    run: &F,
    items: &[I],
) -> Result<Vec<O>, sqlx::Error>
where
    F: for<'a> Fn(&'a mut PgConnection, &'a [I]) -> BoxFuture<'a, Result<Vec<O>, sqlx::Error>>,
{
    let mut connection = match kept.take() {
        Some(connection) => connection,
        None => pool.acquire().await?,
    };
    let Ok(answers) = timeout(ANSWER, run(&mut connection, items)).await else {
        connection.close_on_drop();
        return Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, "PostgreSQL does not answer")));
    };
    if answers.is_ok() {
        *kept = Some(connection);
    }
    answers
}
