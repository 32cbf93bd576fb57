//! The handlers of outbound deliveries: email and webhooks.

use std::sync::Arc;

use domain::{Actor, job_kinds::SendMail};
use domain_accounts::{job_kinds::MailWorkspaces, tenants};
use domain_jobs::job_kinds::CallWebhook;
use jobs::{Answer, JobContext, JobError, Outcome, clock, schedules};
use runtime::{
    mail::{Mail, MailError},
    webhooks::{AddressError, Delivery, DeliveryError},
};
use serde_json::json;

use crate::Services;

/// Sends one email. Killed after the server accepted it and before the job was finished: it is sent again,
/// under the same Message-ID, by which servers and mail programs recognise it.
pub async fn send_mail(services: Arc<Services>, job: SendMail, context: JobContext) -> Answer {
    let mail =
        Mail { id: context.job_id.0, to: job.to, subject: job.subject, text: job.text, html: job.html };
    match services.mailer.send(&mail).await {
        Ok(()) => Ok(Outcome::Done(json!({ "message_id": mail.id }))),
        Err(error @ MailError::Refused(_)) => Ok(Outcome::fail("mail_refused", error.to_string())),
        Err(error @ MailError::NotNow(_)) => Err(JobError::retry(error)),
    }
}

/// Sends the request of a schedule's occurrence. Killed after the receiver accepted it and before the job was
/// finished: it is sent again, under the same webhook-id, by which receivers recognise it.
pub async fn call_webhook(services: Arc<Services>, job: CallWebhook, context: JobContext) -> Answer {
    let Some(key) = &services.signing else {
        return Ok(Outcome::fail(
            "signing_not_configured",
            "this installation's workers have no MILLRACE_SECRET",
        ));
    };
    let pool = &context.database().pool;
    let Some((schedule, scheduled_for)) = schedules::occurrence_of(pool, context.job_id).await? else {
        return Ok(Outcome::fail("schedule_deleted", "the scheduled job was deleted"));
    };
    let Ok(url) = job.url.parse() else {
        return Ok(Outcome::fail("address_not_allowed", "the address is not a URL"));
    };
    let body = json!({
        "type": "scheduled_job.due",
        "timestamp": scheduled_for,
        "data": {
            "scheduled_job_id": schedule,
            "job_id": context.job_id,
            "scheduled_for": scheduled_for,
            "payload": job.payload,
        },
    });
    let delivery = Delivery {
        url,
        id: context.job_id.to_string(),
        at: clock::now(),
        secret: key.secret_of(schedule.0),
        body: body.to_string().into(),
    };
    match services.webhooks.send(&delivery).await {
        Ok(status) => Ok(Outcome::Done(json!({ "status": status }))),
        Err(DeliveryError::Address(error @ AddressError::Nowhere)) => {
            Err(JobError::RetryWithMessage(error.to_string()))
        }
        Err(error @ DeliveryError::Address(_)) => Ok(Outcome::fail("address_not_allowed", error.to_string())),
        Err(error @ DeliveryError::Refused(_)) => Ok(Outcome::fail("webhook_refused", error.to_string())),
        Err(DeliveryError::NotNow { reason, wait }) => {
            Err(JobError::RetryAfter { wait: wait.unwrap_or_default(), message: reason })
        }
    }
}

/// Emails the owner of an address the list of their workspaces. Killed between the email's commit and the end of the
/// job: it is sent again.
pub async fn mail_workspaces(services: Arc<Services>, job: MailWorkspaces, context: JobContext) -> Answer {
    let actor = Actor::of_job(&context.origin);
    let written = tenants::write_email(&services.database, &job, &actor).await?;
    Ok(Outcome::Done(json!({ "written": written })))
}
