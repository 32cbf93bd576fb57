//! The doors to a workspace: each is a row of `signups` and one job that provisions a workspace from it.
//!
//! A door that makes an account reserves the address when the request is accepted, before the job exists; the
//! password is hashed before anything is stored; tokens are made when the end is delivered, to whoever holds
//! the sign-up's own unguessable token, and only for a while. What fails for good leaves nothing behind.

mod delivery;
mod doors;
mod undo;

use domain::{DomainError, Email, FieldErrors, Refusal, UserId, WorkspaceId, secret};
use jobs::JobId;
use sqlx::PgPool;

use crate::{
    stripe::invites::InviteError,
    users::{HashError, Password},
};
pub use delivery::{Delivered, deliver};
pub use doors::{
    HashedSignup, NewInvitedSignup, NewOwnedWorkspace, NewProvision, NewSignup, ReadInvitedSignup,
    create_workspace, provision, read_invited, start, start_invited,
};
pub(crate) use undo::sweep as give_up;
pub use undo::{abandon, undo};

domain::ids! {
    /// A sign-up.
    SignupId = "signup",
}

/// The longest name of a person or company.
const LONGEST_NAME: usize = 200;

/// The way by which someone comes to a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum Door {
    /// Someone makes an account, and a workspace with it.
    Signup,
    /// The same, of someone who has paid already.
    StripeInvite,
    /// Someone who has an account makes another workspace.
    Create,
    /// Staff makes a workspace for somebody.
    Provision,
}

impl Door {
    /// Whether the account is made by the job, and whoever waits for it let in.
    #[must_use]
    pub fn makes_account(self) -> bool {
        matches!(self, Self::Signup | Self::StripeInvite)
    }
}

/// A sign-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signup {
    /// Its id, which is not what its URLs name.
    pub id: SignupId,
    /// By which door.
    pub door: Door,
    /// The address, as it was written.
    pub email: String,
    /// What the person is called.
    pub full_name: String,
    /// What the workspace will be called.
    pub company_name: String,
    /// The workspace's owner.
    pub user_id: UserId,
    /// Whether the owner's account is made for it.
    pub makes_user: bool,
    /// Whether the workspace begins without an example of a recordset.
    pub skip_seed: bool,
    /// The workspace that it creates.
    pub workspace_id: WorkspaceId,
    /// What the owner pays with, if they have said so.
    pub payment_method_id: Option<String>,
    /// The job that does it.
    pub job_id: JobId,
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
    /// The workspace that it creates.
    pub workspace_id: WorkspaceId,
}

/// Why a sign-up was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SignupError {
    /// Values that break a rule.
    #[error("the sign-up is not valid")]
    Invalid(FieldErrors),
    /// Required values that are absent.
    #[error("something is missing")]
    Missing(Vec<String>),
    /// Someone has, or is about to have, an account with that address.
    #[error("there is an account with this email address already")]
    EmailTaken,
    /// Someone has an account with that identity at Clerk.
    #[error("there is an account with this Clerk identity already")]
    ClerkIdTaken,
    /// Someone is signing up with that address just now.
    #[error("someone is signing up with this email address just now: try again in a moment")]
    SignupPending,
    /// The owner's account has been closed.
    #[error("the account with this email address is not active")]
    UserInactive,
    /// The owner's account has a password, and an address that its owner has not verified.
    #[error("the account with this email address has not verified it; it must be verified first")]
    AddressNotVerified,
    /// The person has as many workspaces as one may have.
    #[error("you own {0} workspaces, which is as many as one may have")]
    TooManyWorkspaces(i64),
    /// There is no sign-up of that token.
    #[error("there is no such sign-up")]
    NotFound,
    /// The invite can't be used.
    #[error(transparent)]
    Invite(#[from] InviteError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// A password could not be hashed.
    #[error(transparent)]
    Hash(#[from] HashError),
}

impl DomainError for SignupError {
    fn refusal(&self) -> Refusal {
        match self {
            Self::Invalid(fields) => Refusal::Invalid(fields.clone()),
            Self::Missing(names) => Refusal::Missing(names.clone()),
            Self::EmailTaken => Refusal::Conflict("email_taken".into()),
            Self::ClerkIdTaken => Refusal::Conflict("clerk_id_taken".into()),
            Self::SignupPending => Refusal::Conflict("signup_pending".into()),
            Self::UserInactive => Refusal::Conflict("user_inactive".into()),
            Self::AddressNotVerified => Refusal::Conflict("address_not_verified".into()),
            Self::TooManyWorkspaces(_) => Refusal::LimitExceeded,
            Self::NotFound => Refusal::NotFound,
            Self::Invite(error) => error.refusal(),
            Self::Database(error) => error.refusal(),
            Self::Hash(error) => error.refusal(),
        }
    }
}

/// Collects what is wrong with each field, so that all of it is said at once.
#[derive(Default)]
struct Reader(FieldErrors);

impl Reader {
    fn note(&mut self, field: &str, reason: &str) {
        self.0.entry(field.to_owned()).or_default().push(reason.to_owned());
    }

    fn email(&mut self, text: &str) -> Option<Email> {
        text.parse().map_err(|reason| self.note("email", reason)).ok()
    }

    fn password(&mut self, text: String, email: Option<&Email>) -> Option<Password> {
        Password::parse(text, email).map_err(|reason| self.note("password", reason)).ok()
    }

    fn name(&mut self, field: &str, text: &str) -> Option<String> {
        name(text).map_err(|reason| self.note(field, reason)).ok()
    }

    /// An id that somebody else's system has given, of the characters that those have.
    fn foreign_id(&mut self, field: &str, text: &str) -> Option<String> {
        let text = text.trim();
        let is_one = (1..=255).contains(&text.len())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
        if !is_one {
            self.note(field, "must be an id: letters, digits, _, - and ., at most 255");
        }
        is_one.then(|| text.to_owned())
    }

    /// What was read, if nothing was wrong.
    fn finish<T>(self, read: Option<T>) -> Result<T, SignupError> {
        match read {
            Some(read) if self.0.is_empty() => Ok(read),
            _ => Err(SignupError::Invalid(self.0)),
        }
    }
}

/// The name of a person or company: one line with something on it.
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

/// The sign-up of that id.
pub async fn find(pool: &PgPool, id: SignupId) -> Result<Option<Signup>, sqlx::Error> {
    sqlx::query_as!(
        Signup,
        r#"select id, door as "door: Door", email, full_name, company_name, user_id, makes_user, skip_seed,
                  workspace_id, payment_method_id, job_id, state
             from signups where id = $1"#,
        id.0,
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
        .ok_or(SignupError::NotFound)
}

impl std::fmt::Debug for Started {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Started").field("job", &self.job).finish_non_exhaustive()
    }
}
