//! The handlers of accounts: letters that anybody may ask for, and forgetting what is over.

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

/// Writes a letter to whoever has an address. Token and mail are one commit; killed between that and the end
/// of the job, it writes again, and the newer link is the one that is good.
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

/// Forgets what is over. Killed at any line: each statement is by itself, and the next run finds what is left.
pub async fn sweep_accounts(_: Arc<Services>, _: SweepAccounts, context: JobContext) -> Answer {
    let counts = throttle::sweep(context.database()).await.map_err(JobError::from)?;
    let mails = mail::sweep(context.database()).await.map_err(JobError::from)?;
    let links = upkeep::forget_links(context.database()).await.map_err(JobError::from)?;
    Ok(Outcome::Done(json!({ "counts": counts, "mails": mails, "links": links })))
}
