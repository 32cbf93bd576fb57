//! Changes of many items, some hundred in a step, so that no transaction locks all of them.

use std::ops::ControlFlow;

use crate::{Database, Tx};

/// A change that is made in steps. Each step continues where the one before has ended.
pub trait Steps: Send {
    /// The combined result of the steps.
    type Done: Send;

    /// Performs the next step; breaks with the result after the last one.
    fn step(
        &mut self,
        tx: &mut Tx,
    ) -> impl Future<Output = Result<ControlFlow<Self::Done>, sqlx::Error>> + Send;
}

impl Database {
    /// Performs each step in a transaction of its own: completed steps stay when a later one fails.
    ///
    /// # Errors
    /// Those of the steps.
    pub async fn in_steps<S: Steps>(&self, mut steps: S) -> Result<S::Done, sqlx::Error> {
        loop {
            let mut tx = self.begin().await?;
            let flow = steps.step(&mut tx).await?;
            tx.commit().await?;
            if let ControlFlow::Break(done) = flow {
                return Ok(done);
            }
        }
    }
}

impl Tx {
    /// Performs all steps in this transaction.
    ///
    /// # Errors
    /// Those of the steps.
    pub async fn all_steps<S: Steps>(&mut self, mut steps: S) -> Result<S::Done, sqlx::Error> {
        loop {
            if let ControlFlow::Break(done) = steps.step(self).await? {
                return Ok(done);
            }
        }
    }
}
