//! The only way for handlers to write: by the access of their caller. Each function here begins a transaction, runs
//! the work in it, ensures that the audit log has an entry, and commits; on failure it rolls back.
//!
//! The transaction of a request with an `Idempotency-Key` begins with the request's claim, and is committed by the
//! edge, together with the answer ([`crate::idempotency`]). No other connection sees its effect earlier, and a
//! request makes one change. So what the answer shows of it is read in the work, in the same transaction.

use domain::{Acting, Actor, WorkspaceDb, WorkspaceId, audit};
use jobs::{Database, Steps, Tx};

use crate::{Access, Answer, Anyone, ApiError, App, Caller, Operator, Visitor, idempotency::Claim};

/// Maximum number of changes by [`Access::change_in_steps`] for a request with an `Idempotency-Key`: effect and answer are
/// committed together, and a transaction that changes more would hold too many jobs for too long.
const MAX_CHANGED_WITH_KEY: i64 = 1_000;

impl Access {
    /// Changes the workspace's data: all changes of `work` are kept if it succeeds, and none otherwise.
    ///
    /// ```ignore
    /// can.change(async |db| teams::create(db, new.0).await).await.map(Created)
    /// ```
    pub async fn change<T, E: Into<ApiError>>(
        &self,
        work: impl AsyncFnOnce(&mut WorkspaceDb) -> Result<T, E>,
    ) -> Answer<T> {
        let (database, claim) = (&self.app().database, self.claim());
        let mut db = match claim {
            None => WorkspaceDb::write(database, self.workspace, self.actor()).await?,
            Some(claim) => {
                WorkspaceDb::enter(claim.begin(database).await?, self.workspace, self.actor()).await?
            }
        };
        let changed = work(&mut db).await.map_err(Into::into)?;
        finish(claim, db.finish().await?).await?;
        Ok(changed)
    }

    /// Changes shared data, as a caller of this workspace: all changes of `work` are kept if it succeeds, and
    /// none otherwise.
    ///
    /// ```ignore
    /// can.change_shared(async |tx, by| api_keys::revoke(tx, by, id).await).await.map(Json)
    /// ```
    pub async fn change_shared<T, E: Into<ApiError>>(
        &self,
        work: impl AsyncFnOnce(&mut Tx, &Acting<'_>) -> Result<T, E>,
    ) -> Answer<T> {
        let actor = self.actor();
        let by = Acting::new(self.authority(), &actor);
        let work = async |tx: &mut Tx| work(tx, &by).await;
        change_shared(&self.app().database, self.claim(), Some(self.workspace), &actor, work).await
    }

    /// Changes many things that all workspaces share, some hundred in a transaction: what was done stays when a later
    /// step fails. With an `Idempotency-Key` all steps are one transaction, which changes at most
    /// [`MAX_CHANGED_WITH_KEY`] things. Each step makes its own entry of the audit.
    pub async fn change_in_steps<S: Steps>(&self, steps: S) -> Answer<S::Done> {
        let database = &self.app().database;
        let Some(claim) = self.claim() else { return Ok(database.in_steps(steps).await?) };
        let mut tx = claim.begin(database).await?;
        let done = tx.steps_within(steps, MAX_CHANGED_WITH_KEY).await?;
        claim.leave(tx);
        Ok(done)
    }

    pub(crate) fn claim(&self) -> Option<&Claim> {
        self.caller.visitor.claim.as_ref()
    }
}

impl Caller {
    /// Changes shared data: all changes of `work` are kept if it succeeds, and none otherwise.
    pub async fn change_shared<T, E: Into<ApiError>>(
        &self,
        app: &App,
        work: impl AsyncFnOnce(&mut Tx) -> Result<T, E>,
    ) -> Answer<T> {
        change_shared(&app.database, self.visitor.claim.as_ref(), None, &self.actor(), work).await
    }
}

impl Visitor {
    /// Changes shared data, for an unauthenticated caller: all changes of `work` are kept if it succeeds,
    /// and none otherwise.
    pub async fn change_shared<T, E: Into<ApiError>>(
        &self,
        app: &App,
        work: impl AsyncFnOnce(&mut Tx) -> Result<T, E>,
    ) -> Answer<T> {
        change_shared(&app.database, self.claim.as_ref(), None, &self.actor(), work).await
    }
}

impl Anyone {
    /// Changes shared data: all changes of `work` are kept if it succeeds, and none otherwise.
    pub async fn change_shared<T, E: Into<ApiError>>(
        &self,
        app: &App,
        work: impl AsyncFnOnce(&mut Tx) -> Result<T, E>,
    ) -> Answer<T> {
        change_shared(&app.database, self.visitor.claim.as_ref(), None, &self.actor(), work).await
    }
}

impl Operator {
    /// Changes shared data: all changes of `work` are kept if it succeeds, and none otherwise.
    pub async fn change_shared<T, E: Into<ApiError>>(
        &self,
        work: impl AsyncFnOnce(&mut Tx) -> Result<T, E>,
    ) -> Answer<T> {
        change_shared(self.database(), self.claim(), None, &self.actor(), work).await
    }
}

async fn change_shared<T, E: Into<ApiError>>(
    database: &Database,
    claim: Option<&Claim>,
    workspace: Option<WorkspaceId>,
    actor: &Actor,
    work: impl AsyncFnOnce(&mut Tx) -> Result<T, E>,
) -> Answer<T> {
    let mut tx = begin(database, claim).await?;
    let changed = work(&mut tx).await.map_err(Into::into)?;
    audit::complete(&mut tx, workspace, actor).await?;
    finish(claim, tx).await?;
    Ok(changed)
}

async fn begin(database: &Database, claim: Option<&Claim>) -> Result<Tx, ApiError> {
    match claim {
        None => Ok(database.begin().await?),
        Some(claim) => claim.begin(database).await,
    }
}

/// Commits, or leaves the transaction to the edge.
async fn finish(claim: Option<&Claim>, tx: Tx) -> Result<(), ApiError> {
    match claim {
        None => Ok(tx.commit().await?),
        Some(claim) => {
            claim.leave(tx);
            Ok(())
        }
    }
}
