//! Coalescing: many small requests to the database, made into few statements without a timer. The
//! first request goes at once; what arrives while a statement is in flight goes together with the
//! next one. Under light load that adds no wait, under heavy load it adds no statements.

use std::sync::Arc;

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
    pub(crate) fn start<F, Fut>(run: F) -> Self
    where
        F: Fn(Arc<Vec<I>>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Vec<O>, sqlx::Error>> + Send,
    {
        let (sender, mut receiver) = mpsc::unbounded_channel::<Waiting<I, O>>();
        tokio::spawn(async move {
            let mut batch = Vec::with_capacity(BATCH);
            while receiver.recv_many(&mut batch, BATCH).await > 0 {
                let (items, replies): (Vec<I>, Vec<_>) = batch.drain(..).unzip();
                match run(Arc::new(items)).await {
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
