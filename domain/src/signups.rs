//! Sign-ups: from the request that asks for an account to the tokens of its first session.
//!
//! The address is reserved when the request is accepted, before the job exists; the password is
//! hashed before anything is stored; tokens are made when the end is delivered, to whoever holds the
//! sign-up's own unguessable token, and only for a while.

use chrono::Duration;
use jobs::{Database, JobId, NewJob, Origin, kinds::ProvisionWorkspace};
use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    DomainError, FieldErrors, Refusal, SessionId, UserId, secret,
    sessions::{self, Client, Opened},
    users::{Email, Password},
};

/// How long after its end a sign-up still delivers tokens.
const DELIVERABLE: Duration = Duration::minutes(15);
/// The longest name of a person or company.
const LONGEST_NAME: usize = 200;

/// What someone who wants an account says.
#[derive(Debug)]
pub struct NewSignup {
    email: Email,
    password: Password,
    full_name: String,
    company_name: String,
}

/// A sign-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signup {
    /// Its id, which is not what its URLs name.
    pub id: Uuid,
    /// The address, as it was written.
    pub email: String,
    /// What the person is called.
    pub full_name: String,
    /// What the workspace will be called.
    pub company_name: String,
    /// The user that it creates.
    pub user_id: Uuid,
    /// The workspace that it creates.
    pub workspace_id: Uuid,
    /// The job that does it.
    pub job_id: Uuid,
    /// `pending`, `completed` or `abandoned`.
    pub state: String,
}

/// A sign-up just accepted.
#[derive(Clone)]
pub struct Started {
    /// What its URLs name: whoever holds it may watch, and take the tokens.
    pub token: String,
    /// The job, for watching it from inside.
    pub job: JobId,
}

/// Why a sign-up was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SignupError {
    /// Values that break a rule.
    #[error("the sign-up is not valid")]
    Invalid(FieldErrors),
    /// Someone has, or is about to have, an account with that address.
    #[error("there is an account with this email address already")]
    EmailTaken,
    /// There is no sign-up of that token.
    #[error("there is no such sign-up")]
    NotFound,
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// A password could not be hashed.
    #[error("{0}")]
    Hash(String),
}

impl DomainError for SignupError {
    fn refusal(&self) -> Refusal {
        match self {
            Self::Invalid(fields) => Refusal::Invalid(fields.clone()),
            Self::EmailTaken => Refusal::Conflict("email_taken".into()),
            Self::NotFound => Refusal::NotFound,
            Self::Database(error) => error.refusal(),
            Self::Hash(_) => Refusal::Internal,
        }
    }
}

impl NewSignup {
    /// Reads what was sent; all that is wrong is said at once.
    pub fn parse(
        email: &str,
        password: String,
        full_name: &str,
        company_name: &str,
    ) -> Result<Self, SignupError> {
        let mut invalid = FieldErrors::new();
        let mut note = |field: &str, reason: &str| {
            invalid.entry(field.to_owned()).or_default().push(reason.to_owned());
        };
        let email = email.parse::<Email>().map_err(|reason| note("email", reason)).ok();
        let password =
            Password::parse(password, email.as_ref()).map_err(|reason| note("password", reason)).ok();
        let full_name = name(full_name).map_err(|reason| note("full_name", reason)).ok();
        let company_name = name(company_name).map_err(|reason| note("company_name", reason)).ok();
        match (email, password, full_name, company_name) {
            (Some(email), Some(password), Some(full_name), Some(company_name)) => {
                Ok(Self { email, password, full_name, company_name })
            }
            _ => Err(SignupError::Invalid(invalid)),
        }
    }
}

/// One line with something on it.
pub(crate) fn name(text: &str) -> Result<String, &'static str> {
    let text = text.trim();
    if text.is_empty() {
        Err("must not be empty")
    } else if text.chars().count() > LONGEST_NAME {
        Err("must have at most 200 characters")
    } else if text.chars().any(char::is_control) {
        Err("must be one line")
    } else {
        Ok(text.to_owned())
    }
}

/// Reserves the address and enqueues the job that makes the account, in one commit.
///
/// # Errors
/// [`SignupError::EmailTaken`] when an account or another live sign-up has the address.
pub async fn start(
    database: &Database,
    new: NewSignup,
    client: &Client,
    origin: Origin,
) -> Result<Started, SignupError> {
    // Hashing takes a while: not inside the transaction.
    let password_hash = new.password.hash().await.map_err(|error| SignupError::Hash(error.to_string()))?;
    let started = Started { token: secret::generate(), job: JobId::new() };
    let id = Uuid::now_v7();
    let mut tx = database.begin().await?;
    // A sign-up whose job has ended without success reserves nothing any more.
    sqlx::query!(
        "update signups s set state = 'abandoned', password_hash = null
           from finished_jobs f
          where lower(s.email) = lower($1) and s.state = 'pending'
            and f.id = s.job_id and f.state in ('failed', 'cancelled')",
        new.email.as_str(),
    )
    .execute(tx.conn())
    .await?;
    let reserved = sqlx::query!(
        "insert into signups (id, token_hash, email, full_name, company_name, password_hash,
                              user_id, workspace_id, job_id, user_agent, ip)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         on conflict do nothing",
        id,
        secret::hash(&started.token),
        new.email.as_str(),
        new.full_name,
        new.company_name,
        password_hash,
        Uuid::now_v7(),
        Uuid::now_v7(),
        started.job.0,
        client.user_agent,
        client.ip,
    )
    .execute(tx.conn())
    .await?
    .rows_affected()
        == 1;
    // After the reservation: whoever held it before has committed the account by now.
    let has_account = sqlx::query_scalar!(
        r#"select exists (select from users where lower(email) = lower($1)) as "taken!""#,
        new.email.as_str(),
    )
    .fetch_one(tx.conn())
    .await?;
    if !reserved || has_account {
        return Err(SignupError::EmailTaken);
    }
    let kind = ProvisionWorkspace { signup_id: id };
    jobs::enqueue(&mut tx, NewJob::new(&kind).id(started.job).origin(origin)).await?;
    tx.commit().await?;
    Ok(started)
}

/// The sign-up of that id.
pub async fn find(pool: &PgPool, id: Uuid) -> Result<Option<Signup>, sqlx::Error> {
    sqlx::query_as!(
        Signup,
        "select id, email, full_name, company_name, user_id, workspace_id, job_id, state
           from signups where id = $1",
        id,
    )
    .fetch_optional(pool)
    .await
}

/// The job of the sign-up that has this token.
///
/// # Errors
/// [`SignupError::NotFound`] for a token that we never gave.
pub async fn job_of(pool: &PgPool, token: &str) -> Result<JobId, SignupError> {
    sqlx::query_scalar!("select job_id from signups where token_hash = $1", secret::hash(token))
        .fetch_optional(pool)
        .await?
        .map(JobId)
        .ok_or(SignupError::NotFound)
}

/// Gives the address free again: its job will not make an account of it.
pub async fn abandon(pool: &PgPool, id: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update signups set state = 'abandoned', password_hash = null where id = $1 and state = 'pending'",
        id,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// What the end of a sign-up gives to whoever holds its token.
#[derive(Debug, Clone)]
pub struct Delivered {
    /// The session; none once it is too late, or when the session has ended since: sign in instead.
    pub session: Option<Opened>,
    /// The workspace.
    pub workspace_id: Uuid,
    /// What it is called.
    pub workspace_name: String,
}

/// Delivers the end of a completed sign-up. The first delivery opens the session, later ones within
/// the time give further refresh tokens for the same.
///
/// # Errors
/// [`SignupError::NotFound`] when there is no completed sign-up of that token.
pub async fn deliver(database: &Database, token: &str) -> Result<Delivered, SignupError> {
    let mut tx = database.begin().await?;
    let signup = sqlx::query!(
        r#"select s.id, s.user_id, s.workspace_id, s.company_name, s.session_id, s.user_agent, s.ip,
                  f.finished_at > $2 as "in_time!"
             from signups s join finished_jobs f on f.id = s.job_id and f.state = 'completed'
            where s.token_hash = $1 and s.state = 'completed'
              for update of s"#,
        secret::hash(token),
        jobs::clock::now() - DELIVERABLE,
    )
    .fetch_optional(tx.conn())
    .await?
    .ok_or(SignupError::NotFound)?;
    let user = UserId(signup.user_id);
    let session = match signup.session_id.map(SessionId) {
        _ if !signup.in_time => None,
        None => {
            let client = Client { user_agent: signup.user_agent, ip: signup.ip };
            let opened = sessions::open(&mut tx, user, &client).await?;
            sqlx::query!("update signups set session_id = $2 where id = $1", signup.id, opened.session.0)
                .execute(tx.conn())
                .await?;
            Some(opened)
        }
        Some(session) if sessions::is_alive(tx.conn(), session).await? => {
            let refresh_token = sessions::issue(&mut tx, session).await?;
            Some(Opened { session, user, refresh_token })
        }
        Some(_) => None,
    };
    tx.commit().await?;
    Ok(Delivered { session, workspace_id: signup.workspace_id, workspace_name: signup.company_name })
}

impl std::fmt::Debug for Started {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Started").field("job", &self.job).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let refused = NewSignup::parse("ada", "short".into(), " ", "Two\nlines").unwrap_err();
        let SignupError::Invalid(fields) = refused else { panic!("{refused:?}") };
        assert_eq!(
            fields.into_iter().collect::<Vec<_>>(),
            [
                ("company_name".to_owned(), vec!["must be one line".to_owned()]),
                ("email".to_owned(), vec!["must be an email address".to_owned()]),
                ("full_name".to_owned(), vec!["must not be empty".to_owned()]),
                ("password".to_owned(), vec!["must have at least 10 characters".to_owned()]),
            ]
        );
    }
}
