//! The handlers of accounts: requested emails, and removing expired data.

use std::sync::Arc;

use domain::{Actor, mail, throttle};
use domain_accounts::{
    job_kinds::{SweepAccounts, WriteToAccount},
    upkeep,
    users::letters::{self, LetterError},
};
use jobs::{Answer, JobContext, JobError, Outcome};
use serde_json::json;

use crate::Services;

/// Sends an email to the account with an address. Token and email are one commit; killed between that and the end
/// of the job, it sends again, and the newer link is the valid one.
pub async fn write_to_account(services: Arc<Services>, job: WriteToAccount, context: JobContext) -> Answer {
    let actor = Actor::of_job(&context.origin);
    match letters::write(&services.database, &job, &actor).await {
        Ok(written) => Ok(Outcome::Done(json!({ "written": written }))),
        Err(LetterError::Malformed(reason)) => {
            Ok(Outcome::Fail { code: "malformed".to_owned(), message: reason })
        }
        Err(LetterError::Database(error)) => Err(error.into()),
    }
}

/// Removes expired data. Killed at any line: each statement is independent, and the next run finds the rest.
pub async fn sweep_accounts(_: Arc<Services>, _: SweepAccounts, context: JobContext) -> Answer {
    let counts = throttle::sweep(context.database()).await.map_err(JobError::from)?;
    let mails = mail::sweep(context.database()).await.map_err(JobError::from)?;
    let links = upkeep::forget_links(context.database()).await.map_err(JobError::from)?;
    Ok(Outcome::Done(json!({ "counts": counts, "mails": mails, "links": links })))
}
