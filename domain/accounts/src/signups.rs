//! The sign-up flows: each creates a row of `signups` and one job that provisions a workspace from it.
//!
//! A flow that creates an account reserves the address when the request is accepted, before the job exists; the
//! password is hashed before anything is stored; tokens are created when the end is delivered, to the holder of
//! the sign-up's own unguessable token, and only for a limited time. A sign-up that fails finally leaves
//! nothing behind.

mod delivery;
mod doors;
mod undo;

use std::borrow::Cow;

use domain::{Email, Error, FieldErrors, Name, UserId, WorkspaceId, secret};
use jobs::JobId;
use sqlx::PgPool;

use crate::users::Password;
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

/// The flow by which a workspace is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum Door {
    /// Sign-up: a new account and a workspace.
    Signup,
    /// The same, after a payment.
    StripeInvite,
    /// Another workspace for an existing account.
    Create,
    /// A workspace created by staff for another user.
    Provision,
}

impl Door {
    /// Whether the job creates the account, and the holder of its token is signed in.
    #[must_use]
    pub fn makes_account(self) -> bool {
        matches!(self, Self::Signup | Self::StripeInvite)
    }
}

/// A sign-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signup {
    /// Sign-up id, which is not the one in its URLs.
    pub id: SignupId,
    /// Flow.
    pub door: Door,
    /// Email address, as it was written.
    pub email: String,
    /// Full name of the user.
    pub full_name: String,
    /// Name of the new workspace.
    pub company_name: String,
    /// Owner of the workspace.
    pub user_id: UserId,
    /// Whether the owner's account is created with it.
    pub makes_user: bool,
    /// Whether the workspace is created without the example recordset.
    pub skip_seed: bool,
    /// Workspace that it creates.
    pub workspace_id: WorkspaceId,
    /// Id of the owner's payment method, if given.
    pub payment_method_id: Option<String>,
    /// Id of the job.
    pub job_id: JobId,
    /// State: `pending`, `completed` or `abandoned`.
    pub state: String,
}

/// A newly accepted sign-up.
#[derive(Clone)]
pub struct Started {
    /// Token in its URLs: its holder may follow the sign-up, and receives the tokens.
    pub token: String,
    /// Id of the job, for internal use.
    pub job: JobId,
    /// Workspace that it creates.
    pub workspace_id: WorkspaceId,
}

/// Collects the errors of all fields, so that they are reported together.
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
        name(text).map_err(|reason| self.note(field, &reason)).ok()
    }

    /// An id of another system, limited to its usual characters.
    fn foreign_id(&mut self, field: &str, text: &str) -> Option<String> {
        let text = text.trim();
        let is_one = (1..=255).contains(&text.len())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
        if !is_one {
            self.note(field, "must be an id: letters, digits, _, - and ., at most 255");
        }
        is_one.then(|| text.to_owned())
    }

    /// The parsed value, if there were no errors.
    fn finish<T>(self, read: Option<T>) -> Result<T, Error> {
        match read {
            Some(read) if self.0.is_empty() => Ok(read),
            _ => Err(Error::invalid_fields(self.0)),
        }
    }
}

/// The name of a user or company: one non-empty line.
pub(crate) fn name(text: &str) -> Result<String, Cow<'static, str>> {
    text.parse::<Name<200>>().map(String::from).map_err(|invalid| invalid.to_string().into())
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

/// The job of the sign-up with this token.
///
/// # Errors
/// `record_not_found` for an unknown token.
pub async fn job_of(pool: &PgPool, token: &str) -> Result<JobId, Error> {
    sqlx::query_scalar!("select job_id from signups where token_hash = $1", secret::hash(token))
        .fetch_optional(pool)
        .await?
        .ok_or_else(Error::not_found)
}

impl std::fmt::Debug for Started {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Started").field("job", &self.job).finish_non_exhaustive()
    }
}
