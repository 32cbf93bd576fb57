//! Coalescing: many small requests to the database, made into few statements without a timer. The
//! first request goes at once; what arrives while a statement is in flight goes together with the
//! next one. Under light load that adds no wait, under heavy load it adds no statements. One that follows
//! another at once goes down the same connection, which the server has warm.

use std::sync::Arc;

use futures::future::BoxFuture;
use sqlx::{PgConnection, PgPool};
use tokio::sync::{mpsc, oneshot};

/// Requests in one statement.
const BATCH: usize = 500;

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
            + 'static,
    {
        let (sender, mut receiver) = mpsc::unbounded_channel::<Waiting<I, O>>();
        tokio::spawn(async move {
            let mut batch = Vec::with_capacity(BATCH);
            let mut kept = None;
            while receiver.recv_many(&mut batch, BATCH).await > 0 {
                let (items, replies): (Vec<I>, Vec<_>) = batch.drain(..).unzip();
                let connection = match kept.take() {
                    Some(connection) => Ok(connection),
                    None => pool.acquire().await,
                };
                let answers = match connection {
                    Ok(mut connection) => {
                        let answers = run(&mut connection, &items).await;
                        if answers.is_ok() && !receiver.is_empty() {
                            kept = Some(connection);
                        }
                        answers
                    }
                    Err(error) => Err(error),
                };
                match answers {
                    Ok(answers) => {
                        for (reply, answer) in replies.into_iter().zip(answers) {
                            // Whoever no longer waits has given up on its own.
                            let _ = reply.send(Ok(answer));
                        }
                    }
                    Err(error) => {
                        let error = Arc::new(error);
                        for reply in replies {
                            let _ = reply.send(Err(Arc::clone(&error)));
                        }
                    }
                }
            }
        });
        Self(sender)
    }

    /// Runs one request, together with whatever else waits.
    pub(crate) async fn call(&self, item: I) -> Result<O, Arc<sqlx::Error>> {
        let (reply, answer) = oneshot::channel();
        if self.0.send((item, reply)).is_err() {
            return Err(Arc::new(sqlx::Error::WorkerCrashed));
        }
        answer.await.unwrap_or_else(|_| Err(Arc::new(sqlx::Error::WorkerCrashed)))
    }
}
