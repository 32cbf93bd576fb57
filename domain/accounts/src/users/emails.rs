//! Emails about accounts that can be requested by naming an address, sent by a job.
//!
//! A request does the same whether or not an account has the address: it enqueues a job. Finding the account,
//! creating tokens and the email is done by the job, so neither an answer nor its time reveals an account.

use std::borrow::Cow;

use domain::{
    Actor, Email, Error, UserId, WorkspaceId,
    audit::{self, Entry},
    mail::{self, Action, Brand, Cause, EmailMessage, PostError},
};
use jobs::{Database, Tx};
use serde_json::json;
use url::Url;

use super::activation;
use crate::{
    account_tokens::{self, MAILED_RESET, NewToken, Purpose},
    job_kinds::WriteToAccount,
    signups,
};

pub use crate::job_kinds::AccountEmail;

/// The reason why an email was not sent.
#[derive(Debug, thiserror::Error)]
pub enum AccountEmailError {
    /// The job's payload is invalid; a retry does not help.
    #[error("{0}")]
    Malformed(String),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// The address and the name of a registration.
///
/// # Errors
/// `record_invalid` with all that is wrong.
pub fn registration(email: &str, name: &str) -> Result<(Email, String), Error> {
    match (email.parse::<Email>(), signups::name(name)) {
        (Ok(email), Ok(name)) => Ok((email, name)),
        (email, name) => {
            let reasons = [("email", email.err().map(Cow::Borrowed)), ("name", name.err())];
            let invalid = reasons
                .into_iter()
                .filter_map(|(field, reason)| Some((field.to_owned(), vec![reason?.into_owned()])));
            Err(Error::invalid_fields(invalid.collect()))
        }
    }
}

/// Requests an email: all of the request's work. The caller is counted, whether or not the address has an
/// account.
///
/// # Errors
/// [`PostError::LimitReached`] after too many requests.
pub async fn ask(
    tx: &mut Tx,
    message: AccountEmail,
    email: &str,
    link: String,
    actor: &Actor,
) -> Result<(), PostError> {
    mail::count_asker(tx, actor).await?;
    let job = WriteToAccount { message, email: email.trim().to_owned(), link };
    jobs::enqueue(tx, jobs::NewJob::new(&job).origin(actor.origin())).await?;
    // The job adds the audit entry, where an account has the address.
    tx.mark_noted();
    Ok(())
}

/// The account with the address.
struct Addressee {
    id: UserId,
    email: String,
    name: String,
    is_activated: bool,
    is_verified: bool,
}

impl Addressee {
    /// The name, once the address is verified: before, it was chosen by the person who typed the address.
    fn name(&self) -> String {
        if self.is_verified { self.name.clone() } else { String::new() }
    }
}

/// Sends a requested email, if its address has an account; answers whether it did. Token and email are one
/// commit. Beyond the limit of emails to one address nothing is sent, and no error is reported, which would
/// reveal the account.
pub async fn write(
    database: &Database,
    job: &WriteToAccount,
    actor: &Actor,
) -> Result<bool, AccountEmailError> {
    let link: Url =
        job.link.parse().map_err(|error| AccountEmailError::Malformed(format!("link: {error}")))?;
    let Ok(email) = job.email.parse::<Email>() else { return Ok(false) };
    let mut tx = database.begin().await?;
    if let AccountEmail::Welcome { name } = &job.message {
        register(&mut tx, &email, name, actor).await?;
    }
    let Some(addressee) = addressee(&mut tx, &email).await? else { return Ok(false) };
    let message = match (&job.message, addressee.is_activated) {
        // An account without a password gets the link to choose its first one.
        (_, false) => Some(activate(&mut tx, &addressee, link).await?),
        (AccountEmail::PasswordReset, true) => Some(reset(&mut tx, &addressee, link).await?),
        (_, true) if !addressee.is_verified => Some(activate(&mut tx, &addressee, link).await?),
        (AccountEmail::Welcome { .. }, true) => Some(has_account(&addressee, link)),
        (AccountEmail::Activation, true) => None,
    };
    let Some(message) = message else { return Ok(false) };
    let entry = Entry::new("account_email", "sent", addressee.id, json!({ "subject": message.subject }));
    match mail::post(&mut tx, message, &Brand::default(), Cause::Requested, actor).await {
        Ok(()) => {}
        Err(PostError::LimitReached { .. }) => return Ok(false),
        Err(PostError::Database(error)) => return Err(error.into()),
    }
    audit::record(&mut tx, None, actor, entry).await?;
    tx.commit().await?;
    Ok(true)
}

/// Creates an account without a sign-in until its activation, unless the address has one.
async fn register(tx: &mut Tx, email: &Email, name: &str, actor: &Actor) -> Result<(), sqlx::Error> {
    let made = sqlx::query_scalar!(
        "insert into users (id, email, email_key, name)
         select $1, $2, $3, $4
          where not exists (select from signups where email_key = $3 and state = 'pending' and makes_user)
         on conflict (email_key) do nothing returning id",
        UserId::new().0,
        email.as_str(),
        email.key(),
        name,
    )
    .fetch_optional(tx.conn())
    .await?;
    if let Some(user) = made {
        audit::record(tx, None, actor, Entry::new("user", "registered", user, ())).await?;
    }
    Ok(())
}

async fn addressee(tx: &mut Tx, email: &Email) -> Result<Option<Addressee>, sqlx::Error> {
    sqlx::query_as!(
        Addressee,
        r#"select id, email, name, activated_at is not null as "is_activated!",
                  email_verified_at is not null as "is_verified!"
             from users where email_key = $1 and is_active"#,
        email.key(),
    )
    .fetch_optional(tx.conn())
    .await
}

/// The page of the web app that a link leads to, instead of the one of the request.
pub(super) fn page(mut link: Url, page: &str, query: &[(&str, &str)]) -> String {
    if let Ok(mut segments) = link.path_segments_mut() {
        segments.pop().push(page);
    }
    link.set_query(None);
    if !query.is_empty() {
        link.query_pairs_mut().extend_pairs(query);
    }
    link.into()
}

async fn activate(tx: &mut Tx, to: &Addressee, link: Url) -> Result<EmailMessage, sqlx::Error> {
    // The workspace of the last link, if the user is still in it, or else another one.
    let workspace = sqlx::query_scalar!(
        r#"select coalesce(
               (select t.workspace_id from account_tokens t
                   join live_memberships m on m.workspace_id = t.workspace_id and m.user_id = t.user_id
                 where t.user_id = $1 and t.purpose = 'activation' and t.used_at is null
                 order by t.created_at desc limit 1),
               (select workspace_id from live_memberships where user_id = $1 order by created_at limit 1)) as id"#,
        to.id.0,
    )
    .fetch_one(tx.conn())
    .await?
    .map(WorkspaceId);
    let token = activation::issue(tx, to.id, workspace, None).await?;
    let workspace = activation::workspace_in_link(workspace);
    let what = if to.is_activated {
        "This address was used for a sign-up. Confirm that it is yours with the password of the \
         account; if you don't know it, choose a new one, which ends all other sessions."
    } else {
        "Your account is ready. Choose a password to activate it."
    };
    Ok(EmailMessage {
        to: to.email.clone(),
        name: to.name(),
        subject: "Activate your account".to_owned(),
        lines: vec![what.to_owned()],
        action: Some(Action {
            label: "Activate your account".to_owned(),
            url: page(link, "activate", &[("workspace_id", &workspace), ("token", &token)]),
        }),
        after: vec![
            "This link can be used once and expires in 7 days.".to_owned(),
            "If you did not request this, ignore this email; the account can't be used without the link."
                .to_owned(),
        ],
    })
}

async fn reset(tx: &mut Tx, to: &Addressee, link: Url) -> Result<EmailMessage, sqlx::Error> {
    let token = account_tokens::issue(
        tx,
        NewToken {
            user: to.id,
            purpose: Purpose::PasswordReset,
            workspace: None,
            created_by: None,
            lifetime: MAILED_RESET,
            is_mailed: true,
        },
    )
    .await?;
    Ok(reset_email(
        (to.email.clone(), to.name()),
        page(link, "reset-password", &[("token", &token)]),
        "A new password for your account was requested.",
    ))
}

/// The email with a link to reset the password.
pub(super) fn reset_email((to, name): (String, String), url: String, why: &str) -> EmailMessage {
    EmailMessage {
        to,
        name,
        subject: "Choose a new password".to_owned(),
        lines: vec![why.to_owned()],
        action: Some(Action { label: "Choose a new password".to_owned(), url }),
        after: vec![
            "This link can be used once and expires in one hour.".to_owned(),
            "If you don't want a new password, ignore this email; your password stays valid.".to_owned(),
        ],
    }
}

fn has_account(to: &Addressee, link: Url) -> EmailMessage {
    EmailMessage {
        to: to.email.clone(),
        name: to.name(),
        subject: "You have an account already".to_owned(),
        lines: vec![
            "A registration with this address was requested. The address already has an account: \
             sign in with it, or request a new password if you have forgotten yours."
                .to_owned(),
        ],
        action: Some(Action { label: "Sign in".to_owned(), url: page(link, "login", &[]) }),
        after: vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emails_link_leads_to_its_own_page_of_the_same_app() {
        let link: Url = "https://app.example.com/of/ours/activate".parse().unwrap();
        assert_eq!(
            page(link, "reset-password", &[("token", "a b")]),
            "https://app.example.com/of/ours/reset-password?token=a+b"
        );
    }
}
