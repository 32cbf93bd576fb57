//! The Platform API, by section.

mod audit;
mod caller;
mod conventions;
mod dlq;
mod governance;
mod health;
mod jobs;
mod keys;
mod policies;
mod public;
mod scheduled_jobs;
mod stripe_webhook;
mod tenants;
mod token_api;

use crate::{Client, TestApp};

/// Makes a person a member of another's workspace, too.
pub(crate) async fn join_another_workspace(app: &TestApp, who: &Client, host: &Client) {
    sqlx::query(
        "insert into memberships (id, workspace_id, user_id, role)
         select gen_random_uuid(), $1::uuid, user_id, 'member' from memberships where workspace_id = $2::uuid and role = 'owner'",
    )
    .bind(host.workspace.as_ref())
    .bind(who.workspace.as_ref())
    .execute(&app.database.pool)
    .await
    .unwrap();
}
