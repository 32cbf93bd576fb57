//! The handlers of what leaves the house: mail.

use std::sync::Arc;

use domain::mail::{Mail, MailError};
use jobs::{Answer, JobContext, JobError, Outcome, kinds::SendMail};
use serde_json::json;

use crate::Services;

/// Sends one mail. Killed after the server took it and before the job was finished: it is sent again,
/// under the same Message-ID, by which servers and readers know it.
pub async fn send_mail(services: Arc<Services>, job: SendMail, context: JobContext) -> Answer {
    let mail = Mail { id: context.job_id.0, to: job.to, subject: job.subject, text: job.text };
    match services.mailer.send(&mail).await {
        Ok(()) => Ok(Outcome::Done(json!({ "message_id": mail.id }))),
        Err(error @ MailError::Refused(_)) => {
            Ok(Outcome::Fail { code: "mail_refused".to_owned(), message: error.to_string() })
        }
        Err(error @ MailError::NotNow(_)) => Err(JobError::retry(error)),
    }
}
