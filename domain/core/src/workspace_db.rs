//! `WorkspaceDb`: one tenant's schema, in one transaction, for one actor.
//!
//! Opening one sets the transaction's role and `search_path`, so no SQL names a schema and no query
//! takes a workspace from a client. None may be held during a wait for a client, a stream, an upload or an external
//! service.

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

/// The actor, in a request. Travels with the transaction, into events and jobs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Actor {
    /// User id, if the actor is a user.
    pub user_id: Option<UserId>,
    /// Kind of credential.
    pub credential_type: Option<CredentialType>,
    /// Id of the session, API key or personal token.
    pub credential_id: Option<Uuid>,
    /// Staff account acting as the user.
    pub impersonator_id: Option<UserId>,
    /// Job in whose run the actor acts.
    pub job_id: Option<JobId>,
    /// Client address.
    pub ip: Option<String>,
    /// `User-Agent` of the client.
    pub user_agent: Option<String>,
    /// Id of the HTTP request.
    pub request_id: Option<String>,
    /// API surface of the request.
    pub surface: jobs::Surface,
    /// Route, as `POST /api/v1/teams`, for writes without an event.
    pub route: Option<String>,
    /// Position in a trace. Jobs continue the trace; events don't keep it.
    pub traceparent: Option<TraceParent>,
}

impl Actor {
    /// The actor of a running job, by the origin in its context: the job, on behalf of its requester.
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

    /// The origin that a job started by this actor keeps, and that the audit log records.
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

    /// Opens the schema for reading; the database refuses writes in it.
    pub async fn read(
        database: &Database,
        workspace: WorkspaceId,
        actor: Actor,
    ) -> Result<Self, sqlx::Error> {
        let tx = database.begin_as_workspace(workspace.0, true).await?;
        Ok(Self::new(tx, workspace, actor))
    }

    /// Continues with reading more than [`jobs::MAX_QUICK_ROWS`], with a place among the long reads; the
    /// connection is returned to the pool meanwhile. The results of earlier reads may have become outdated.
    pub async fn for_a_long_read(self) -> Result<Self, sqlx::Error> {
        let Self { tx, workspace, actor, .. } = self;
        let database = tx.database().clone();
        drop(tx);
        Ok(Self::new(database.begin_long_read(workspace.0).await?, workspace, actor))
    }

    /// Opens the schema for writing.
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

    /// Actor.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// The acting user's id, for `created_by` and the like.
    #[must_use]
    pub fn user_id(&self) -> Option<Uuid> {
        self.actor.user_id.map(|id| id.0)
    }

    /// Appends an event, and with it an audit entry; both exist if and only if this transaction commits.
    pub async fn record(&mut self, event: Event) -> Result<(), sqlx::Error> {
        self.assert_confined();
        event.record(&mut self.tx, self.workspace, &self.actor).await
    }

    /// Records a change without an event, such as one by maintenance, in the audit log.
    pub async fn note(&mut self, entry: Entry) -> Result<(), sqlx::Error> {
        self.assert_confined();
        audit::record(&mut self.tx, Some(self.workspace), &self.actor, entry).await
    }

    /// This transaction needs no audit entry of its own: it changes nothing, or is a step of a change whose
    /// entry another transaction makes.
    pub fn is_noted_elsewhere(&mut self) {
        self.tx.mark_noted();
    }

    /// Enqueues a job of this workspace on behalf of this actor; it exists if and only if this
    /// transaction commits.
    pub async fn enqueue<K: JobKind>(&mut self, job: NewJob<'_, K>) -> Result<Enqueued, sqlx::Error> {
        self.assert_confined();
        jobs::enqueue(&mut self.tx, job.origin(self.actor.origin())).await
    }

    /// Commits; wake-ups and events are sent afterwards. A request's changes without an event
    /// are in the audit log by their route.
    pub async fn commit(self) -> Result<(), sqlx::Error> {
        self.finish().await?.commit().await
    }

    /// The transaction with all that belongs to it, still to be committed.
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
