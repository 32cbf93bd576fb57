//! Events: changes that consumers are interested in, appended in the transaction of the change.

use jobs::Tx;
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Actor, WorkspaceId, details};

/// An event of a subject.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// `subject.verb`, for example `record.updated`.
    pub kind: String,
    /// Type of the subject, for example `record`.
    pub subject: &'static str,
    /// Id of the subject.
    pub subject_id: Uuid,
    /// Version of the subject after the event, where it has versions; consumers order by it.
    pub subject_version: Option<i64>,
    /// Details; an error if they can't be serialised, which fails the change.
    pub data: Result<Value, String>,
}

impl Event {
    /// `subject.verb` with details that serialise. Of members larger than [`details::MAX_DETAIL_BYTES`] only the names are
    /// kept.
    pub fn new(subject: &'static str, verb: &str, id: impl Into<Uuid>, data: impl Serialize) -> Self {
        Self {
            kind: format!("{subject}.{verb}"),
            subject,
            subject_id: id.into(),
            subject_version: None,
            data: details::of(data),
        }
    }

    /// Appends the event; it exists if and only if the connection's transaction commits.
    pub async fn append(
        self,
        conn: &mut PgConnection,
        workspace: WorkspaceId,
        actor: &Actor,
    ) -> Result<(), sqlx::Error> {
        sqlx::query!(
            "select append_event($1, $2, $3, $4, $5, $6, $7)",
            workspace.0,
            self.kind,
            actor.origin().as_actor(),
            self.subject,
            self.subject_id,
            self.subject_version,
            self.data.map_err(|error| sqlx::Error::Encode(error.into()))?,
        )
        .execute(conn)
        .await?;
        Ok(())
    }

    /// Appends the event in a transaction of the shared schemas, which then has its audit entry.
    pub async fn record(self, tx: &mut Tx, workspace: WorkspaceId, actor: &Actor) -> Result<(), sqlx::Error> {
        self.append(tx.conn(), workspace, actor).await?;
        tx.mark_noted();
        Ok(())
    }

    /// Sets the subject's version.
    #[must_use]
    pub fn version(mut self, version: i64) -> Self {
        self.subject_version = Some(version);
        self
    }
}
