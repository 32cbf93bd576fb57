//! Letters about accounts: what anybody may ask for by naming an address, written by a job.
//!
//! A request does the same whether or not somebody has the address: it enqueues a job. Looking who that is,
//! making tokens and mail is the job's, so neither an answer nor its time tells who has an account.

use domain::{
    Actor, Email, FieldErrors, UserId, WorkspaceId,
    audit::{self, Entry},
    mail::{self, Action, Brand, Cause, Letter, PostError},
};
use jobs::{Database, Tx};
use serde_json::json;
use url::Url;

use super::{UserError, activation};
use crate::{
    account_tokens::{self, MAILED_RESET, NewToken, Purpose},
    job_kinds::WriteToAccount,
    signups,
};

pub use crate::job_kinds::AccountLetter;

/// Why a letter was not written.
#[derive(Debug, thiserror::Error)]
pub enum LetterError {
    /// What the job was given makes no sense; it never will.
    #[error("{0}")]
    Malformed(String),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// The address and the name of who wants an account.
///
/// # Errors
/// [`UserError::Invalid`] with all that is wrong.
pub fn registration(email: &str, name: &str) -> Result<(Email, String), UserError> {
    match (email.parse::<Email>(), signups::name(name)) {
        (Ok(email), Ok(name)) => Ok((email, name)),
        (email, name) => {
            let reasons = [("email", email.err()), ("name", name.err())];
            let invalid = reasons
                .into_iter()
                .filter_map(|(field, reason)| Some((field.to_owned(), vec![reason?.to_owned()])));
            Err(UserError::Invalid(invalid.collect::<FieldErrors>()))
        }
    }
}

/// Asks for a letter: the whole of what a request does. Whoever asks is counted, whether or not the address is
/// somebody's.
///
/// # Errors
/// [`PostError::LimitReached`] for who has asked for too many.
pub async fn ask(
    tx: &mut Tx,
    letter: AccountLetter,
    email: &str,
    link: String,
    actor: &Actor,
) -> Result<(), PostError> {
    mail::count_asker(tx, actor).await?;
    let job = WriteToAccount { letter, email: email.trim().to_owned(), link };
    jobs::enqueue(tx, jobs::NewJob::new(&job).origin(actor.origin())).await?;
    // The job makes the entry, where an account has the address.
    tx.mark_noted();
    Ok(())
}

/// Whoever has an address.
struct Addressee {
    id: UserId,
    email: String,
    name: String,
    is_activated: bool,
    is_verified: bool,
}

impl Addressee {
    /// Their name, once they have shown that the address is theirs: before, whoever typed the address has chosen it.
    fn name(&self) -> String {
        if self.is_verified { self.name.clone() } else { String::new() }
    }
}

/// Writes a letter that somebody has asked for, if its address is somebody's; answers whether it did.
/// Token and mail are one commit. Beyond the limit of letters to one address nothing is written, and nothing said: the
/// answer would tell that the address is somebody's.
pub async fn write(database: &Database, job: &WriteToAccount, actor: &Actor) -> Result<bool, LetterError> {
    let link: Url = job.link.parse().map_err(|error| LetterError::Malformed(format!("link: {error}")))?;
    let Ok(email) = job.email.parse::<Email>() else { return Ok(false) };
    let mut tx = database.begin().await?;
    if let AccountLetter::Welcome { name } = &job.letter {
        register(&mut tx, &email, name, actor).await?;
    }
    let Some(addressee) = addressee(&mut tx, &email).await? else { return Ok(false) };
    let letter = match (&job.letter, addressee.is_activated) {
        // Whoever never chose a password chooses their first one.
        (_, false) => Some(activate(&mut tx, &addressee, link).await?),
        (AccountLetter::PasswordReset, true) => Some(reset(&mut tx, &addressee, link).await?),
        (_, true) if !addressee.is_verified => Some(activate(&mut tx, &addressee, link).await?),
        (AccountLetter::Welcome { .. }, true) => Some(has_account(&addressee, link)),
        (AccountLetter::Activation, true) => None,
    };
    let Some(letter) = letter else { return Ok(false) };
    let entry = Entry::new("account_letter", "sent", addressee.id, json!({ "subject": letter.subject }));
    match mail::post(&mut tx, letter, &Brand::default(), Cause::Asked, actor).await {
        Ok(()) => {}
        Err(PostError::LimitReached { .. }) => return Ok(false),
        Err(PostError::Database(error)) => return Err(error.into()),
    }
    audit::record(&mut tx, None, actor, entry).await?;
    tx.commit().await?;
    Ok(true)
}

/// Makes an account that nobody can sign in to before it was activated, unless the address has one.
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

/// The page of the web app that a link leads to, instead of the one it was asked for on.
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

async fn activate(tx: &mut Tx, to: &Addressee, link: Url) -> Result<Letter, sqlx::Error> {
    // Where the last link led, if they are still in it, or else to a workspace that they are in.
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
        "somebody, most likely you, signed up with this address. Confirm that it is yours with the password of the \
         account; if you don't know it, choose a new one, and whoever signed up is signed out."
    } else {
        "your account is ready for you. Choose your password to activate it."
    };
    Ok(Letter {
        to: to.email.clone(),
        name: to.name(),
        subject: "Activate your account".to_owned(),
        lines: vec![what.to_owned()],
        action: Some(Action {
            label: "Activate your account".to_owned(),
            url: page(link, "activate", &[("workspace_id", &workspace), ("token", &token)]),
        }),
        after: vec![
            "The link is good for 7 days, and once.".to_owned(),
            "If you don't know what this is about, do nothing: without the link nobody gets in.".to_owned(),
        ],
    })
}

async fn reset(tx: &mut Tx, to: &Addressee, link: Url) -> Result<Letter, sqlx::Error> {
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
    Ok(reset_letter(
        (to.email.clone(), to.name()),
        page(link, "reset-password", &[("token", &token)]),
        "somebody, most likely you, asked for a new password for your account.",
    ))
}

/// The letter with a link to choose a new password by.
pub(super) fn reset_letter((to, name): (String, String), url: String, why: &str) -> Letter {
    Letter {
        to,
        name,
        subject: "Choose a new password".to_owned(),
        lines: vec![why.to_owned()],
        action: Some(Action { label: "Choose a new password".to_owned(), url }),
        after: vec![
            "The link is good for one hour, and once.".to_owned(),
            "If you don't want a new password, do nothing: the old one stays as it is.".to_owned(),
        ],
    }
}

fn has_account(to: &Addressee, link: Url) -> Letter {
    Letter {
        to: to.email.clone(),
        name: to.name(),
        subject: "You have an account already".to_owned(),
        lines: vec![
            "somebody, most likely you, wanted to register with this address. It has an account already: sign in \
             with it, or ask for a new password if you have forgotten yours."
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
    fn a_letters_link_leads_to_its_own_page_of_the_same_app() {
        let link: Url = "https://app.example.com/of/ours/activate".parse().unwrap();
        assert_eq!(
            page(link, "reset-password", &[("token", "a b")]),
            "https://app.example.com/of/ours/reset-password?token=a+b"
        );
    }
}
