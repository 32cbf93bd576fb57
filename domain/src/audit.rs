//! The audit: who wrote what, from where, with which credential and in which request. Every event is an
//! entry ([`WorkspaceDb::record`](crate::WorkspaceDb::record)); what has no event, such as a change of an
//! account, is noted here, in the transaction of the change.

pub mod history;
pub mod retention;

use jobs::Tx;
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Actor, WorkspaceId};

/// Something that somebody changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// `resource.verb`, for example `password.changed`.
    pub action: String,
    /// What it was done to.
    pub resource_type: &'static str,
    /// Which one.
    pub resource_id: Option<Uuid>,
    /// The details. Never a secret.
    pub data: Value,
}

impl Entry {
    /// `resource.verb` with details that serialise.
    pub fn new(
        resource: &'static str,
        verb: &str,
        id: impl Into<Option<Uuid>>,
        data: impl Serialize,
    ) -> Self {
        Self {
            action: format!("{resource}.{verb}"),
            resource_type: resource,
            resource_id: id.into(),
            data: serde_json::to_value(data).unwrap_or(Value::Null),
        }
    }
}

/// Notes a change of the shared schemas, in its transaction: of a workspace, or of an account.
pub async fn record(
    tx: &mut Tx,
    workspace: Option<WorkspaceId>,
    actor: &Actor,
    entry: Entry,
) -> Result<(), sqlx::Error> {
    append(tx.conn(), workspace, actor, entry).await
}

pub(crate) async fn append(
    conn: &mut PgConnection,
    workspace: Option<WorkspaceId>,
    actor: &Actor,
    entry: Entry,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "select append_audit($1, $2, $3, $4, $5, $6)",
        workspace.map(|id| id.0),
        serde_json::to_value(actor).map_err(|error| sqlx::Error::Encode(error.into()))?,
        entry.action,
        entry.resource_type,
        entry.resource_id,
        entry.data,
    )
    .execute(conn)
    .await?;
    Ok(())
}
