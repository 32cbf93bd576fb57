//! The handler of `workspaces.provision`: from a request of any sign-up flow to a workspace.

use std::sync::Arc;

use domain::Actor;
use domain_accounts::{
    job_kinds::ProvisionWorkspace,
    signups::{self, Signup, SignupFlow},
    workspaces::{provisioning as steps, provisioning::ProvisioningError},
};
use jobs::{Answer, JobContext, JobError, Outcome};
use runtime::stripe::StripeError;
use serde_json::json;

use crate::Services;

/// A step, whose name watchers see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    User,
    Workspace,
    Schema,
    Migrations,
    Member,
    Defaults,
    Billing,
    Finish,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::User => "creating_user",
            Self::Workspace => "creating_workspace",
            Self::Schema => "creating_schema",
            Self::Migrations => "running_migrations",
            Self::Member => "creating_member",
            Self::Defaults => "seeding_defaults",
            Self::Billing => "starting_billing",
            Self::Finish => "finishing",
        }
    }

    /// The steps of a sign-up. Billing is the last but one: there is no payment for a failed sign-up.
    fn of(signup: &Signup, services: &Services) -> Vec<Self> {
        let bills = signup.payment_method_id.is_some() || services.payments.account().is_ok();
        let all = [
            (Self::User, signup.door.makes_account()),
            (Self::Workspace, true),
            (Self::Schema, true),
            (Self::Migrations, true),
            (Self::Member, true),
            (Self::Defaults, true),
            (Self::Billing, signup.door == SignupFlow::Signup && bills),
            (Self::Finish, true),
        ];
        all.into_iter().filter(|(_, is_taken)| *is_taken).map(|(step, _)| step).collect()
    }
}

/// Creates the user, workspace, schema, roles, tables, member, defaults and subscription that the sign-up needs,
/// and opens the workspace last. Killed at any line: every step checks the present state first, so the next
/// attempt does the rest; requests to Stripe have a key of the sign-up's, so objects are created once; the email
/// is enqueued by the commit that opens the workspace, so it is sent once. A final failure is undone.
pub async fn provision_workspace(
    services: Arc<Services>,
    job: ProvisionWorkspace,
    context: JobContext,
) -> Answer {
    let database = &services.database;
    context.progress().step("validating");
    let Some(signup) = signups::find(&database.pool, job.signup_id).await? else {
        return Ok(Outcome::fail("signup_not_found", "the sign-up no longer exists"));
    };
    match signup.state.as_str() {
        "pending" => {}
        "completed" => return Ok(done(&signup)),
        _ => return Ok(abandoned()),
    }
    match provision(&services, &signup, &context).await {
        Ok(()) => Ok(done(&signup)),
        Err(error @ ProvisioningError::EmailTaken) => {
            signups::abandon(database, signup.id).await?;
            Ok(Outcome::fail("email_taken", error.to_string()))
        }
        Err(ProvisioningError::Stripe(error @ StripeError::Refused(_))) => {
            signups::undo(database, &signup).await?;
            Ok(Outcome::fail("payment_refused", error.to_string()))
        }
        Err(ProvisioningError::Stripe(error @ StripeError::NotNow(_))) => {
            tracing::warn!(%error, "will retry");
            Err(JobError::RetryWithMessage("the payment service does not answer at present".to_owned()))
        }
        Err(ProvisioningError::Abandoned) => Ok(abandoned()),
        Err(ProvisioningError::Database(error)) => Err(error.into()),
        Err(ProvisioningError::Seed(error)) => Err(error.into()),
        Err(error) => Err(JobError::retry(error)),
    }
}

async fn provision(
    services: &Services,
    signup: &Signup,
    context: &JobContext,
) -> Result<(), ProvisioningError> {
    let (database, app_url) = (&services.database, &services.app_url);
    let mut actor = Actor::of_job(&context.origin);
    if signup.door != SignupFlow::Provision {
        actor.user_id = Some(signup.user_id);
    }
    let steps = Step::of(signup, services);
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    // Validating was the first.
    let all = count(steps.len()) + 1;
    for (n, step) in steps.iter().enumerate() {
        context.progress().of(all).counts(count(n) + 1, 0, 0).step(step.name());
        match step {
            Step::User => steps::create_user(database, signup, &actor).await?,
            Step::Workspace => steps::create_workspace(database, signup).await?,
            Step::Schema => steps::create_schema(database, signup.workspace_id).await?,
            Step::Migrations => steps::run_migrations(database, signup.workspace_id).await?,
            Step::Member => steps::create_member(database, signup, actor.clone()).await?,
            Step::Defaults => {
                steps::seed_defaults(
                    database,
                    signup,
                    actor.clone(),
                    domain_data::recordsets::create_example,
                )
                .await?;
            }
            Step::Billing => {
                steps::start_billing(database, &services.payments, signup, app_url, &actor).await?;
            }
            Step::Finish => {
                steps::finish(database, signup, context.origin.clone(), app_url, &actor).await?;
            }
        }
    }
    Ok(())
}

/// No tokens: those are created at the delivery to the sign-up's owner.
fn done(signup: &Signup) -> Outcome {
    Outcome::Done(json!({
        "user_id": signup.user_id,
        "workspace_id": signup.workspace_id,
        "workspace_name": signup.company_name,
    }))
}

fn abandoned() -> Outcome {
    Outcome::fail("signup_abandoned", "the sign-up was abandoned")
}
