//! Audit entries of actions on jobs and on their execution: in the transaction of the change.

use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Origin, Tx};

/// A change, as an audit entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Change<'a> {
    /// Workspace that it concerns; none: the installation.
    pub workspace: Option<Uuid>,
    /// `resource.verb`, for example `job.cancelled`.
    pub action: &'a str,
    /// Type of the changed resource.
    pub resource_type: &'a str,
    /// Id of the changed resource; none where `data` names several.
    pub resource_id: Option<Uuid>,
    /// Details, never a secret.
    pub data: Value,
}

impl<'a> Change<'a> {
    /// A change of one job.
    pub(crate) fn of_job(owner: crate::Owner, action: &'a str, id: crate::JobId, data: Value) -> Self {
        Self { workspace: owner.workspace(), action, resource_type: "job", resource_id: Some(id.0), data }
    }
}

/// Records a change in its transaction.
pub(crate) async fn note(tx: &mut Tx, by: &Origin, change: Change<'_>) -> Result<(), sqlx::Error> {
    append(tx.conn(), by, change).await?;
    tx.mark_noted();
    Ok(())
}

/// Records a change, by the connection of its transaction.
///
/// # Errors
/// When the database refuses.
pub async fn append(conn: &mut PgConnection, by: &Origin, change: Change<'_>) -> Result<(), sqlx::Error> {
    let Change { workspace, action, resource_type, resource_id, data } = change;
    sqlx::query!(
        "select append_audit($1, $2, $3, $4, $5, $6)",
        workspace,
        by.as_actor(),
        action,
        resource_type,
        resource_id,
        data,
    )
    .execute(conn)
    .await?;
    Ok(())
}
