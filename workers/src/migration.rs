//! The handler of `workspaces.migrate`: the migration of a workspace's tables while its members wait.

use std::sync::Arc;

use domain::{
    Actor, Event, WorkspaceDb, WorkspaceId,
    migrations::{self, MigrationError, Step},
};
use domain_people::job_kinds::MigrateWorkspace;
use jobs::{Answer, JobContext, JobError, Outcome};
use serde_json::json;
use sqlx::migrate::MigrateError;

use crate::Services;

/// Runs the missing migrations of a workspace, each a step of its own, and opens it after the last.
/// Killed at any line: a migration is complete or absent, and so is the record that it has run; the
/// next attempt waits until the server has noticed the death (a lock of the connection ends with it), and
/// continues with the first that is missing. Only the event may be repeated.
pub async fn migrate_workspace(services: Arc<Services>, _: MigrateWorkspace, context: JobContext) -> Answer {
    let workspace = WorkspaceId(context.require_workspace()?);
    context.progress().step("Waiting for the workspace's tables");
    let server = services.database.pool.connect_options();
    let (mut last, mut count) = (None, 0);
    let migrated = migrations::migrate_workspace_by_steps(&server, workspace, |step: &Step| {
        let name = title(step);
        context.progress().of(step.of).counts(step.done, 0, 0).step(&name);
        (last, count) = (Some(name), step.of);
    });
    migrated.await.map_err(|error| failed(error, last.as_deref()))?;
    context.progress().counts(count, 0, 0).step("Opening the workspace");
    let actor = Actor::of_job(&context.origin);
    let result = json!({ "migrations": count, "schema_version": migrations::workspace_versions().last() });
    let mut db = WorkspaceDb::write(&services.database, workspace, actor).await?;
    db.record(Event::new("workspace", "migrated", workspace.0, &result)).await?;
    db.commit().await?;
    Ok(Outcome::Done(result))
}

/// A step, for display.
fn title(step: &Step) -> String {
    format!("Applying migration {} ({})", step.version, step.name)
}

/// An unreachable database is no failure of the job; the message of any other failure has its step.
fn failed(error: MigrationError, step: Option<&str>) -> JobError {
    match error {
        MigrationError::Database(error)
        | MigrationError::Failed { source: MigrateError::Execute(error), .. }
        | MigrationError::Failed { source: MigrateError::ExecuteMigration(error, _), .. }
            if was_away(&error) =>
        {
            JobError::Database(error)
        }
        error => {
            tracing::error!(%error, "a migration failed");
            let step = step.unwrap_or("Checking the migrations that have run");
            JobError::RetryWithMessage(format!("{step} failed"))
        }
    }
}

/// Whether the error is the database's, not the migration's: it was being stopped, or is unreachable.
fn was_away(error: &sqlx::Error) -> bool {
    error.as_database_error().is_none_or(|error| {
        error.code().is_some_and(|code| code.starts_with("08") || code.starts_with("57P0"))
    })
}
