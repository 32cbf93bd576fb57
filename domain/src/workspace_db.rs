//! `WorkspaceDb`: one tenant's schema, in one transaction, for one actor.
//!
//! Opening one sets the transaction's role and `search_path`, so no SQL names a schema and no query
//! takes a workspace from a client. None is held while a client, a stream, an upload or an outside
//! service is waited for.

use jobs::{Database, Enqueued, JobKind, NewJob, Origin, TraceParent, Tx};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Event, UserId, WorkspaceId};

/// Who acts, in which request. Travels with the transaction, into events and jobs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The user, if a person acts.
    pub user_id: Option<UserId>,
    /// The API key or personal token, if one was used.
    pub credential_id: Option<Uuid>,
    /// The HTTP request.
    pub request_id: Option<String>,
    /// The surface it came in by.
    #[serde(default)]
    pub surface: jobs::Surface,
    /// The place in a trace at which they act. Jobs go on from there; events don't keep it.
    #[serde(skip)]
    pub traceparent: Option<TraceParent>,
}

impl Actor {
    /// The actor of a running job: who asked for it.
    #[must_use]
    pub fn of_job(origin: &Origin) -> Self {
        Self {
            user_id: origin.actor.map(UserId),
            credential_id: None,
            request_id: origin.request_id.clone(),
            surface: origin.surface,
            traceparent: origin.traceparent,
        }
    }

    /// What a job that this actor starts remembers.
    #[must_use]
    pub fn origin(&self) -> Origin {
        Origin {
            request_id: self.request_id.clone(),
            actor: self.user_id.map(|id| id.0).or(self.credential_id),
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
}

impl WorkspaceDb {
    /// Opens it for reading; a write in it is refused by the database.
    pub async fn read(
        database: &Database,
        workspace: WorkspaceId,
        actor: Actor,
    ) -> Result<Self, sqlx::Error> {
        Ok(Self { tx: database.begin_as_workspace(workspace.0, true).await?, workspace, actor })
    }

    /// Opens it for writing.
    pub async fn write(
        database: &Database,
        workspace: WorkspaceId,
        actor: Actor,
    ) -> Result<Self, sqlx::Error> {
        Ok(Self { tx: database.begin_as_workspace(workspace.0, false).await?, workspace, actor })
    }

    /// The connection, for SQL.
    pub fn conn(&mut self) -> &mut PgConnection {
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

    /// Appends an event; it exists if and only if this transaction commits.
    pub async fn record(&mut self, event: Event) -> Result<(), sqlx::Error> {
        event.append(self.tx.conn(), self.workspace, &self.actor).await
    }

    /// Enqueues a job of this workspace on behalf of this actor; it exists if and only if this
    /// transaction commits.
    pub async fn enqueue<K: JobKind>(&mut self, job: NewJob<'_, K>) -> Result<Enqueued, sqlx::Error> {
        jobs::enqueue(&mut self.tx, job.origin(self.actor.origin())).await
    }

    /// Commits; wake-ups and events go out afterwards.
    pub async fn commit(self) -> Result<(), sqlx::Error> {
        self.tx.commit().await
    }

    /// The transaction itself, for [`jobs::JobContext::checkpoint`], which commits it.
    #[must_use]
    pub fn into_tx(self) -> Tx {
        self.tx
    }
}
