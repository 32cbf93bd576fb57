//! `WorkspaceDb`: one tenant's schema, in one transaction, for one actor.
//!
//! Opening one sets the transaction's role and `search_path`, so no SQL names a schema and no query
//! takes a workspace from a client. None is held while a client, a stream, an upload or an outside
//! service is waited for.

mod accounts;

pub use accounts::Accounts;
pub use jobs::CredentialType;
use jobs::{Database, Enqueued, JobId, JobKind, NewJob, Origin, TraceParent, Tx};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    Event, UserId, WorkspaceId,
    audit::{self, Entry},
};

/// Who acts, in which request. Travels with the transaction, into events and jobs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Actor {
    /// The user, if a person acts.
    pub user_id: Option<UserId>,
    /// With what they came in.
    pub credential_type: Option<CredentialType>,
    /// The session, API key or personal token.
    pub credential_id: Option<Uuid>,
    /// The member of staff who acts as the user.
    pub impersonator_id: Option<UserId>,
    /// The job in whose run they act.
    pub job_id: Option<JobId>,
    /// The client's address.
    pub ip: Option<String>,
    /// What the client says it is.
    pub user_agent: Option<String>,
    /// The HTTP request.
    pub request_id: Option<String>,
    /// The surface it came in by.
    pub surface: jobs::Surface,
    /// The route, as `POST /api/v1/teams`, for writes that tell no event.
    pub route: Option<String>,
    /// The place in a trace at which they act. Jobs go on from there; events don't keep it.
    pub traceparent: Option<TraceParent>,
}

impl Actor {
    /// The actor of a running job, by the origin in its context: the job, on behalf of whoever asked for it.
    #[must_use]
    pub fn of_job(origin: &Origin) -> Self {
        let Origin {
            request_id,
            user_id,
            credential_type,
            credential_id,
            impersonator_id,
            ip,
            user_agent,
            job_id,
            surface,
            traceparent,
        } = origin.clone();
        Self {
            user_id: user_id.map(UserId),
            credential_type,
            credential_id,
            impersonator_id: impersonator_id.map(UserId),
            job_id,
            ip,
            user_agent,
            request_id,
            surface,
            route: None,
            traceparent,
        }
    }

    /// What a job that this actor starts remembers, and what the audit notes.
    #[must_use]
    pub fn origin(&self) -> Origin {
        Origin {
            request_id: self.request_id.clone(),
            user_id: self.user_id.map(|id| id.0),
            credential_type: self.credential_type,
            credential_id: self.credential_id,
            impersonator_id: self.impersonator_id.map(|id| id.0),
            ip: self.ip.clone(),
            user_agent: self.user_agent.clone(),
            job_id: self.job_id,
            surface: self.surface,
            traceparent: self.traceparent,
        }
    }
}

/// A transaction in one workspace's schema. Dropped without [`WorkspaceDb::commit`], it rolls back.
#[derive(Debug)]
pub struct WorkspaceDb {
    tx: Tx,
    workspace: WorkspaceId,
    actor: Actor,
    /// It has Millrace's own role, within [`WorkspaceDb::with_accounts`].
    sees_accounts: bool,
}

impl WorkspaceDb {
    fn new(tx: Tx, workspace: WorkspaceId, actor: Actor) -> Self {
        Self { tx, workspace, actor, sees_accounts: false }
    }

    /// Opens it for reading; a write in it is refused by the database.
    pub async fn read(
        database: &Database,
        workspace: WorkspaceId,
        actor: Actor,
    ) -> Result<Self, sqlx::Error> {
        let tx = database.begin_as_workspace(workspace.0, true).await?;
        Ok(Self::new(tx, workspace, actor))
    }

    /// Goes on reading more than [`jobs::MAX_QUICK_ROWS`], with a place among the long reads; the connection is given
    /// back meanwhile. Nothing that was read before need be true any more.
    pub async fn for_a_long_read(self) -> Result<Self, sqlx::Error> {
        let Self { tx, workspace, actor, .. } = self;
        let database = tx.database().clone();
        drop(tx);
        Ok(Self::new(database.begin_long_read(workspace.0).await?, workspace, actor))
    }

    /// Opens it for writing.
    pub async fn write(
        database: &Database,
        workspace: WorkspaceId,
        actor: Actor,
    ) -> Result<Self, sqlx::Error> {
        let tx = database.begin_as_workspace(workspace.0, false).await?;
        Ok(Self::new(tx, workspace, actor))
    }

    /// The same, in a transaction that has begun on the shared schemas.
    pub async fn enter(mut tx: Tx, workspace: WorkspaceId, actor: Actor) -> Result<Self, sqlx::Error> {
        tx.enter_workspace(workspace.0).await?;
        Ok(Self::new(tx, workspace, actor))
    }

    /// The connection, for SQL.
    pub fn conn(&mut self) -> &mut PgConnection {
        self.assert_confined();
        self.tx.conn()
    }

    /// The workspace.
    #[must_use]
    pub fn workspace(&self) -> WorkspaceId {
        self.workspace
    }

    /// Who acts.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// The acting user's id, for `created_by` and the like.
    #[must_use]
    pub fn user_id(&self) -> Option<Uuid> {
        self.actor.user_id.map(|id| id.0)
    }

    /// Appends an event, and with it an entry of the audit; both exist if and only if this transaction commits.
    pub async fn record(&mut self, event: Event) -> Result<(), sqlx::Error> {
        self.assert_confined();
        event.record(&mut self.tx, self.workspace, &self.actor).await
    }

    /// Notes what is no event, such as what maintenance does, in the audit.
    pub async fn note(&mut self, entry: Entry) -> Result<(), sqlx::Error> {
        self.assert_confined();
        audit::record(&mut self.tx, Some(self.workspace), &self.actor, entry).await
    }

    /// This transaction wants no entry of its own: it changes nothing, or is a step of a change whose entry another
    /// transaction of it makes.
    pub fn is_noted_elsewhere(&mut self) {
        self.tx.mark_noted();
    }

    /// Enqueues a job of this workspace on behalf of this actor; it exists if and only if this
    /// transaction commits.
    pub async fn enqueue<K: JobKind>(&mut self, job: NewJob<'_, K>) -> Result<Enqueued, sqlx::Error> {
        self.assert_confined();
        jobs::enqueue(&mut self.tx, job.origin(self.actor.origin())).await
    }

    /// Commits; wake-ups and events go out afterwards. What a request has written without an event
    /// is in the audit by its route.
    pub async fn commit(self) -> Result<(), sqlx::Error> {
        self.finish().await?.commit().await
    }

    /// The transaction with all that belongs into it, still to be committed.
    pub async fn finish(mut self) -> Result<Tx, sqlx::Error> {
        self.assert_confined();
        audit::complete(&mut self.tx, Some(self.workspace), &self.actor).await?;
        Ok(self.tx)
    }

    /// The transaction itself, for [`jobs::JobContext::checkpoint`], which commits it.
    #[must_use]
    pub fn into_tx(self) -> Tx {
        self.assert_confined();
        self.tx
    }
}
