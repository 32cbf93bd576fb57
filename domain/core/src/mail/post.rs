//! Posting: the one place where email is enqueued and counted, so that no caller can omit the count. Email is
//! counted by recipient, by sender and by workspace; the limits are rows of
//! `control.mail_limits`.
//!
//! A count is part of the transaction that enqueues: email that is refused, or rolled back, is not counted.

use jobs::{Database, NewJob, Tx};
use sha2::{Digest, Sha256};

use super::{Brand, Letter};
use crate::{Actor, Email, Error, WorkspaceId, networks};

/// Cause of an email, which determines the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// An unauthenticated client named the address. The client was counted at the request ([`count_asker`]).
    Asked,
    /// A member or an API key of a workspace caused it.
    Member(WorkspaceId),
}

/// The reason why an email was not enqueued.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// A limit is reached, for so many seconds.
    #[error("{what}: try again in {seconds} s")]
    LimitReached {
        /// The limit.
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

/// Subjects of the counters. The names are those of `control.mail_limits`.
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
            Self::Recipient | Self::RecipientOfMember => "too many emails were sent to this address",
            Self::Visitor => "too many emails were requested from this network",
            Self::Member => "too many emails were sent by this caller",
            Self::Workspace => "too many emails were sent in the name of this workspace",
        }
    }
}

/// Enqueues an email, if no limit is reached. Its job belongs to the installation, not to a workspace, so that
/// it is in no workspace's list: its links give access.
///
/// # Errors
/// [`PostError::LimitReached`]; the caller answers it, or ignores it where the answer would reveal an
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

/// Enqueues an email that notifies its recipient about their own account or payment. It is never refused:
/// otherwise an attacker would only have to use up the limit first.
pub async fn notify(tx: &mut Tx, letter: Letter, actor: &Actor) -> Result<(), sqlx::Error> {
    enqueue(tx, letter, &Brand::default(), actor).await
}

async fn enqueue(tx: &mut Tx, letter: Letter, brand: &Brand, actor: &Actor) -> Result<(), sqlx::Error> {
    jobs::enqueue(tx, NewJob::new(&letter.dressed(brand)).origin(actor.origin())).await?;
    Ok(())
}

/// Counts the sender of a request for an email that a job will write if the address has an account.
///
/// # Errors
/// [`PostError::LimitReached`], which reveals nothing about the address.
pub async fn count_asker(tx: &mut Tx, actor: &Actor) -> Result<(), PostError> {
    count(tx, vec![asker(actor)]).await
}

/// The sender of a request: a user, a key, or a network.
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
    // Rows are locked in one order everywhere.
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

/// Removes counts whose windows have ended; answers their number.
pub async fn sweep(database: &Database) -> Result<u64, sqlx::Error> {
    let swept = sqlx::query!("delete from mail_counts where ends_at < clock_timestamp()")
        .execute(&database.pool)
        .await?;
    Ok(swept.rows_affected())
}
