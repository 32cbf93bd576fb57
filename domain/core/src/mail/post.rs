//! Posting: the one place where mail is enqueued, and where it is counted, so that no caller can forget to. Mail is
//! counted by who receives it, who causes it and in the name of which workspace; the limits are rows of
//! `control.mail_limits`.
//!
//! A count is part of the transaction that enqueues: mail that is refused, or rolled back, is not counted.

use jobs::{Database, NewJob, Tx};
use sha2::{Digest, Sha256};

use super::{Brand, Letter};
use crate::{Actor, Email, Error, WorkspaceId, networks};

/// Why a mail is sent, which decides what it is counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Somebody named the address. They themselves were counted when they asked ([`count_asker`]).
    Asked,
    /// A member or an API key of a workspace caused it.
    Member(WorkspaceId),
}

/// Why a mail was not enqueued.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// A limit is reached, for so many seconds.
    #[error("{what}: try again in {seconds} s")]
    LimitReached {
        /// Which limit.
        what: &'static str,
        /// Seconds until its window ends.
        seconds: u64,
    },
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl From<PostError> for Error {
    fn from(error: PostError) -> Self {
        match error {
            PostError::LimitReached { seconds, .. } => {
                Self::too_many("mail_limit_reached", seconds, error.to_string())
            }
            PostError::Database(error) => error.into(),
        }
    }
}

/// What mail is counted by. The names are those of `control.mail_limits`.
#[derive(Debug, Clone, Copy)]
enum Subject {
    Recipient,
    RecipientOfMember,
    Visitor,
    Member,
    Workspace,
}

impl Subject {
    const fn name(self) -> &'static str {
        match self {
            Self::Recipient => "recipient",
            Self::RecipientOfMember => "recipient_of_member",
            Self::Visitor => "visitor",
            Self::Member => "member",
            Self::Workspace => "workspace",
        }
    }

    const fn reached(self) -> &'static str {
        match self {
            Self::Recipient | Self::RecipientOfMember => "too much mail was sent to this address",
            Self::Visitor => "too much mail was requested from this network",
            Self::Member => "too much mail was sent by this caller",
            Self::Workspace => "too much mail was sent in the name of this workspace",
        }
    }
}

/// Enqueues a mail, if no limit is reached. It is of the installation, not of a workspace: nobody there has the job,
/// whose links let people in, in their list.
///
/// # Errors
/// [`PostError::LimitReached`]; the caller then answers it, or says nothing where the answer would tell who has an
/// account.
pub async fn post(
    tx: &mut Tx,
    letter: Letter,
    brand: &Brand,
    cause: Cause,
    actor: &Actor,
) -> Result<(), PostError> {
    let recipient = Email::key_of(&letter.to).unwrap_or_else(|| letter.to.clone());
    let subjects = match cause {
        Cause::Asked => vec![(Subject::Recipient, recipient)],
        Cause::Member(workspace) => vec![
            (Subject::RecipientOfMember, recipient),
            asker(actor),
            (Subject::Workspace, workspace.to_string()),
        ],
    };
    count(tx, subjects).await?;
    Ok(enqueue(tx, letter, brand, actor).await?)
}

/// Enqueues a mail that tells its recipient what has happened to their own account or payment. It is never refused:
/// whoever did it to them would only have to use up the count first.
pub async fn notify(tx: &mut Tx, letter: Letter, actor: &Actor) -> Result<(), sqlx::Error> {
    enqueue(tx, letter, &Brand::default(), actor).await
}

async fn enqueue(tx: &mut Tx, letter: Letter, brand: &Brand, actor: &Actor) -> Result<(), sqlx::Error> {
    jobs::enqueue(tx, NewJob::new(&letter.dressed(brand)).origin(actor.origin())).await?;
    Ok(())
}

/// Counts somebody who asks for a mail that a job will write, if the address turns out to be somebody's.
///
/// # Errors
/// [`PostError::LimitReached`], which tells nothing about the address.
pub async fn count_asker(tx: &mut Tx, actor: &Actor) -> Result<(), PostError> {
    count(tx, vec![asker(actor)]).await
}

/// Who causes a mail: a person, a key, or whoever is in a network.
fn asker(actor: &Actor) -> (Subject, String) {
    match (actor.user_id, actor.credential_id) {
        (Some(user), _) => (Subject::Member, user.to_string()),
        (None, Some(key)) => (Subject::Member, key.to_string()),
        (None, None) => (Subject::Visitor, networks::of_client(actor.ip.as_deref().unwrap_or_default())),
    }
}

async fn count(tx: &mut Tx, subjects: Vec<(Subject, String)>) -> Result<(), PostError> {
    let mut subjects: Vec<_> =
        subjects.into_iter().map(|(subject, name)| (hash(subject, &name), subject)).collect();
    // Rows are locked in one order by all.
    subjects.sort_by(|one, other| one.0.cmp(&other.0));
    for (hash, subject) in subjects {
        let counted = sqlx::query!(
            r#"insert into mail_counts as c (subject, mails, ends_at)
               select $1, 1, clock_timestamp() + make_interval(secs => l.seconds)
                 from mail_limits l where l.subject = $2
               on conflict (subject) do update
                  set mails = case when c.ends_at > clock_timestamp() then c.mails + 1 else 1 end,
                      ends_at = case when c.ends_at > clock_timestamp() then c.ends_at else excluded.ends_at end
               returning mails, ends_at, (select l.mails from mail_limits l where l.subject = $2) as "most!""#,
            hash,
            subject.name(),
        )
        .fetch_optional(tx.conn())
        .await?;
        if let Some(counted) = counted.filter(|counted| counted.mails > counted.most) {
            let left = (counted.ends_at - jobs::clock::now()).num_seconds();
            let seconds = u64::try_from(left).unwrap_or(0).max(1);
            return Err(PostError::LimitReached { what: subject.reached(), seconds });
        }
    }
    Ok(())
}

fn hash(subject: Subject, name: &str) -> Vec<u8> {
    Sha256::new().chain_update(subject.name()).chain_update([0]).chain_update(name).finalize().to_vec()
}

/// Forgets counts whose windows have ended; answers how many those were.
pub async fn sweep(database: &Database) -> Result<u64, sqlx::Error> {
    let swept = sqlx::query!("delete from mail_counts where ends_at < clock_timestamp()")
        .execute(&database.pool)
        .await?;
    Ok(swept.rows_affected())
}
