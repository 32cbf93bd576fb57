//! How members say no.

use domain::{
    DomainError, FieldErrors, Refusal,
    access::{Denied, Role},
    standing::StandingError,
};

/// Why something about a member didn't happen.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// There is no such member here.
    #[error("there is no such member here")]
    NotFound,
    /// Values that break a rule, by field.
    #[error("some values are not valid")]
    Invalid(FieldErrors),
    /// A key has no profile and no tours.
    #[error("this is about the person who calls, and no person does")]
    NotAPerson,
    /// Only the caller's own profile is theirs to change, and no more of it than that.
    #[error("this needs the permission members:edit")]
    OthersOnlyWithPermission,
    /// Nobody makes, changes or takes out who is more than they are.
    #[error("your role doesn't reach that far: this concerns the role {0}")]
    AboveYou(Role),
    /// Nobody gives a role that holds more than they do.
    #[error("the role {0} may do what the caller may not")]
    MoreThanHeld(Role),
    /// A permission that the request needs beside its route's.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// Nobody makes a key do more than they may, by handing it to somebody who may neither.
    #[error("among what is handed over is an API key that would then do what the caller may not")]
    KeysOfMore,
    /// A workspace is never without an active owner.
    #[error("a workspace needs an owner: make somebody else one first")]
    LastOwner,
    /// Their account is not this workspace's alone.
    #[error("this person belongs to other workspaces, too")]
    InOtherWorkspaces,
    /// The account was not made by accepting this workspace's invitation, or its person has joined another since.
    #[error("this account is its owner's: the workspace can remove the member, not delete the account")]
    NotManaged,
    /// Staff of the installation are not a workspace's to delete.
    #[error("this account belongs to the staff of the installation")]
    OfStaff,
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// One field, one reason.
pub(super) fn invalid(field: &str, reason: &str) -> MemberError {
    MemberError::Invalid(FieldErrors::from([(field.to_owned(), vec![reason.to_owned()])]))
}

impl DomainError for MemberError {
    fn refusal(&self) -> Refusal {
        match self {
            Self::NotFound => Refusal::NotFound,
            Self::Invalid(errors) => Refusal::Invalid(errors.clone()),
            Self::NotAPerson
            | Self::OthersOnlyWithPermission
            | Self::AboveYou(_)
            | Self::MoreThanHeld(_)
            | Self::Denied(_)
            | Self::KeysOfMore
            | Self::OfStaff => Refusal::Forbidden,
            Self::LastOwner => Refusal::Conflict("last_owner".into()),
            Self::NotManaged => Refusal::Conflict("account_not_managed".into()),
            Self::InOtherWorkspaces => Refusal::Conflict("in_other_workspaces".into()),
            Self::Database(error) => error.refusal(),
        }
    }
}

impl From<StandingError> for MemberError {
    fn from(error: StandingError) -> Self {
        match error {
            StandingError::NotFound => Self::NotFound,
            StandingError::Above(role) => Self::AboveYou(role),
            StandingError::MoreThanHeld(role) => Self::MoreThanHeld(role),
            StandingError::LastOwner => Self::LastOwner,
            StandingError::Database(error) => Self::Database(error),
        }
    }
}
