//! The audit log: actors and their changes, with address, credential and request. Every event is an
//! entry ([`WorkspaceDb::record`](crate::WorkspaceDb::record)); a change without an event, such as one of an
//! account, is recorded here, in the transaction of the change.

pub mod history;
pub mod retention;

use jobs::{Tx, audit::Change};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Actor, WorkspaceId, details};

/// A change, as an audit entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// `resource.verb`, for example `password.changed`.
    pub action: String,
    /// Type of the changed resource.
    pub resource_type: &'static str,
    /// Id of the changed resource.
    pub resource_id: Option<Uuid>,
    /// Details, never a secret; an error if they can't be serialised, which fails the change.
    pub data: Result<Value, String>,
}

impl Entry {
    /// `resource.verb` with details that serialise. Of members larger than [`details::MAX_DETAIL_BYTES`] only the names
    /// are kept.
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
            data: details::of(data),
        }
    }

    /// The entry of a change that has no other: it names no resource.
    fn by_route(route: &str) -> Self {
        Self { action: route.to_owned(), resource_type: "request", resource_id: None, data: Ok(Value::Null) }
    }
}

/// Records a change in its transaction: of a workspace, or of an account.
pub async fn record(
    tx: &mut Tx,
    workspace: Option<WorkspaceId>,
    actor: &Actor,
    entry: Entry,
) -> Result<(), sqlx::Error> {
    append(tx.conn(), workspace, actor, entry).await?;
    tx.mark_noted();
    Ok(())
}

/// Records a change that has no entry yet by its route, before its transaction is committed. A transaction
/// without a write needs no entry.
pub async fn complete(tx: &mut Tx, workspace: Option<WorkspaceId>, actor: &Actor) -> Result<(), sqlx::Error> {
    let Some(route) = actor.route.as_deref().filter(|_| !tx.is_noted()) else { return Ok(()) };
    let has_written =
        sqlx::query_scalar!(r#"select pg_current_xact_id_if_assigned() is not null as "has_written!""#)
            .fetch_one(tx.conn())
            .await?;
    if has_written { record(tx, workspace, actor, Entry::by_route(route)).await } else { Ok(()) }
}

/// Appends an entry on a connection whose transaction the caller ends; to the workspace's own log if it concerns one.
pub async fn append(
    conn: &mut PgConnection,
    workspace: Option<WorkspaceId>,
    actor: &Actor,
    entry: Entry,
) -> Result<(), sqlx::Error> {
    let change = Change {
        workspace: workspace.map(|id| id.0),
        action: &entry.action,
        resource_type: entry.resource_type,
        resource_id: entry.resource_id,
        data: entry.data.map_err(|error| sqlx::Error::Encode(error.into()))?,
    };
    jobs::audit::append(conn, &actor.origin(), change).await
}
