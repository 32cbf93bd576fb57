//! The audit: who wrote what, from where, with which credential and in which request. Every event is an
//! entry ([`WorkspaceDb::record`](crate::WorkspaceDb::record)); what has no event, such as a change of an
//! account, is noted here, in the transaction of the change.

pub mod history;
pub mod retention;

use jobs::{Tx, audit::Change};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Actor, WorkspaceId, details};

/// Something that somebody changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// `resource.verb`, for example `password.changed`.
    pub action: String,
    /// What it was done to.
    pub resource_type: &'static str,
    /// Which one.
    pub resource_id: Option<Uuid>,
    /// The details, never a secret; an error where they can't be written down, which fails the change.
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

/// Notes a change in its transaction: of a workspace, or of an account.
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

/// Notes a change that has no entry yet by its route, before its transaction is committed. What
/// has written nothing needs no entry.
pub async fn complete(tx: &mut Tx, workspace: Option<WorkspaceId>, actor: &Actor) -> Result<(), sqlx::Error> {
    let Some(route) = actor.route.as_deref().filter(|_| !tx.is_noted()) else { return Ok(()) };
    let has_written =
        sqlx::query_scalar!(r#"select pg_current_xact_id_if_assigned() is not null as "has_written!""#)
            .fetch_one(tx.conn())
            .await?;
    if has_written { record(tx, workspace, actor, Entry::by_route(route)).await } else { Ok(()) }
}

/// Appends an entry on a connection whose transaction the caller ends; a workspace's own when it is of one.
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
