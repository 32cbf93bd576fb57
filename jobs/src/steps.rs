//! Changes of many items, some hundred in a step, so that no transaction locks all of them.

use std::ops::ControlFlow;

use crate::{Database, Tx, database::MAX_AFTER_COMMIT};

/// A change that is made in steps. Each step continues where the one before has ended.
pub trait Steps: Send {
    /// The combined result of the steps.
    type Done: Send;

    /// Lowers the number of changes after which the steps end, and [`Steps::Done`] reports that there may be more.
    fn limit(&mut self, at_most: i64);

    /// Makes the next step; breaks with what was done when it was the last.
    fn step(
        &mut self,
        tx: &mut Tx,
    ) -> impl Future<Output = Result<ControlFlow<Self::Done>, sqlx::Error>> + Send;
}

impl Database {
    /// Runs each step in a transaction of its own: its changes stay when a later one fails. A bus that does not answer
    /// is waited for once, and not at each step.
    ///
    /// # Errors
    /// Those of the steps.
    pub async fn in_steps<S: Steps>(&self, mut steps: S) -> Result<S::Done, sqlx::Error> {
        let mut patience = MAX_AFTER_COMMIT;
        loop {
            let mut tx = self.begin().await?;
            let flow = steps.step(&mut tx).await?;
            patience = tx.commit_within(patience).await?;
            if let ControlFlow::Break(done) = flow {
                return Ok(done);
            }
        }
    }
}

impl Tx {
    /// Runs steps in this transaction until they end by themselves, or have made `at_most` changes.
    ///
    /// # Errors
    /// Those of the steps.
    pub async fn steps_within<S: Steps>(
        &mut self,
        mut steps: S,
        at_most: i64,
    ) -> Result<S::Done, sqlx::Error> {
        steps.limit(at_most);
        loop {
            if let ControlFlow::Break(done) = steps.step(self).await? {
                return Ok(done);
            }
        }
    }
}
