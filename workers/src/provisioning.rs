//! The handler of `workspaces.provision`: from a sign-up to an account with a workspace.

use std::sync::Arc;

use domain::{
    Actor, UserId,
    signups::{self, Signup},
    workspaces::provisioning::{self as steps, ProvisioningError},
};
use jobs::{Answer, JobContext, JobError, Outcome, kinds::ProvisionWorkspace};
use serde_json::json;

use crate::Services;

/// The steps, as watchers see them.
const STEPS: [&str; 8] = [
    "validating",
    "creating_user",
    "creating_workspace",
    "creating_schema",
    "running_migrations",
    "creating_member",
    "seeding_defaults",
    "finishing",
];

/// Makes user, workspace, schema, roles, tables, member and defaults, and opens the workspace last.
/// Killed at any line: every step looks at what is there first, so the next attempt does what is left;
/// the mail is enqueued by the commit that opens the workspace, so it goes out once.
pub async fn provision_workspace(
    services: Arc<Services>,
    job: ProvisionWorkspace,
    context: JobContext,
) -> Answer {
    let pool = &services.database.pool;
    step(&context, 0);
    let Some(signup) = signups::find(pool, job.signup_id).await? else {
        return Ok(fail("signup_not_found", "the sign-up is not there any more"));
    };
    match signup.state.as_str() {
        "pending" => {}
        "completed" => return Ok(done(&signup)),
        _ => return Ok(fail("signup_abandoned", "the sign-up was given up")),
    }
    match provision(&services, &signup, &context).await {
        Ok(()) => Ok(done(&signup)),
        Err(error @ ProvisioningError::EmailTaken) => {
            signups::abandon(pool, signup.id).await?;
            Ok(fail("email_taken", &error.to_string()))
        }
        Err(ProvisioningError::Database(error)) => Err(error.into()),
        Err(error) => Err(JobError::retry(error)),
    }
}

async fn provision(
    services: &Services,
    signup: &Signup,
    context: &JobContext,
) -> Result<(), ProvisioningError> {
    let database = &services.database;
    let actor = Actor { user_id: Some(UserId(signup.user_id)), ..Actor::of_job(&context.origin) };
    step(context, 1);
    steps::create_user(database, signup).await?;
    step(context, 2);
    steps::create_workspace(database, signup).await?;
    step(context, 3);
    steps::create_schema(database, signup.workspace_id).await?;
    step(context, 4);
    steps::run_migrations(database, signup.workspace_id).await?;
    step(context, 5);
    steps::create_member(database, signup, actor.clone()).await?;
    step(context, 6);
    steps::seed_defaults(database, signup, actor).await?;
    step(context, 7);
    steps::finish(database, signup, context.origin.clone()).await
}

/// Says what comes next, and how much is done.
fn step(context: &JobContext, next: usize) {
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    context.progress().of(count(STEPS.len())).counts(count(next), 0, 0).step(STEPS[next]);
}

/// No tokens: those are made when this is delivered to the sign-up's owner.
fn done(signup: &Signup) -> Outcome {
    Outcome::Done(json!({
        "user_id": signup.user_id,
        "workspace_id": signup.workspace_id,
        "workspace_name": signup.company_name,
    }))
}

fn fail(code: &str, message: &str) -> Outcome {
    Outcome::Fail { code: code.to_owned(), message: message.to_owned() }
}
