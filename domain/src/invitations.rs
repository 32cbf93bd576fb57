//! Invitations: how registered people come into a workspace.
//!
//! An invitation waits under one token at a time, good once and for a week; a new one makes those before it
//! worthless, and only hashes are stored. Whoever accepts becomes a member, under the invitation's id.
//! [`offer`] is for those who invite, [`answer`] for those who were invited.

pub mod answer;
pub mod offer;

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use poem_openapi::{Enum, Object};
use serde::Serialize;
use uuid::Uuid;

use crate::{DomainError, Refusal, access::Role, mail::PostError};

pub use answer::{AcceptedInvitation, InvitationPreview, accept, first_password, preview};
pub use offer::{Invitee, Link, cancel, invite, make_link, resend};

/// How an invitation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Enum)]
#[serde(rename_all = "snake_case")]
#[oai(rename_all = "snake_case")]
pub enum InvitationStatus {
    /// It can be accepted.
    Pending,
    /// It has waited too long; sent again, it can be accepted.
    Expired,
    /// It was withdrawn.
    Cancelled,
}

/// An invitation, as those see it who may invite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Object)]
pub struct Invitation {
    /// Its id, and the member's once it is accepted.
    pub id: Uuid,
    /// Where to.
    pub workspace_id: Uuid,
    /// Who is invited.
    pub user_id: Uuid,
    /// Their address.
    pub email: String,
    /// What they are called.
    pub name: String,
    /// What they will be.
    pub role: Role,
    /// How it stands.
    pub status: InvitationStatus,
    /// Who invited them last.
    pub invited_by: Option<Uuid>,
    /// When they were first invited.
    pub created_at: DateTime<Utc>,
    /// When the newest token was made.
    pub sent_at: DateTime<Utc>,
    /// Until when it can be accepted.
    pub expires_at: DateTime<Utc>,
}

/// Why somebody is not invited, or doesn't come in.
#[derive(Debug, thiserror::Error)]
pub enum InvitationError {
    /// There is no such invitation, or it isn't for the caller to see.
    #[error("there is no such invitation")]
    NotFound,
    /// It can't be accepted any more.
    #[error("the invitation has expired: ask for another")]
    Expired,
    /// Someone has thought better of it.
    #[error("the invitation was withdrawn")]
    Cancelled,
    /// It is good once.
    #[error("the invitation has been accepted already: sign in")]
    Accepted,
    /// Nothing says who is meant.
    #[error("name one of: {}", .0.join(", "))]
    Nobody(&'static [&'static str]),
    /// What was given for an address isn't one.
    #[error("{0}")]
    NotAnAddress(&'static str),
    /// Only registered people can be invited.
    #[error("nobody is registered with this address")]
    NotRegistered,
    /// They are in the workspace.
    #[error("this person is a member already")]
    AlreadyMember,
    /// Nobody makes somebody more than they are themselves.
    #[error("the role is above your own")]
    AboveOwnRole,
    /// A link that is handed over doesn't show whose it is, and would let its holder choose the password.
    #[error("this person has not chosen a password yet: send the invitation by mail")]
    PasswordNotChosen,
    /// Whoever has no password has to choose one.
    #[error("a password has to be chosen")]
    PasswordMissing,
    /// The password breaks a rule.
    #[error("{0}")]
    Password(Cow<'static, str>),
    /// The password could not be hashed.
    #[error("{0}")]
    Hash(String),
    /// Its mail can't be sent now.
    #[error(transparent)]
    Mail(#[from] PostError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl DomainError for InvitationError {
    fn refusal(&self) -> Refusal {
        match self {
            Self::NotFound => Refusal::NotFound,
            Self::Expired | Self::Cancelled | Self::Accepted => Refusal::Gone,
            Self::Nobody(names) => Refusal::Missing(names.iter().map(|&name| name.to_owned()).collect()),
            Self::NotAnAddress(reason) => Refusal::invalid("email", *reason),
            Self::NotRegistered => Refusal::invalid("email", self.to_string()),
            Self::AlreadyMember => Refusal::Conflict(Cow::Borrowed("already_member")),
            Self::AboveOwnRole => Refusal::Forbidden,
            Self::PasswordNotChosen => Refusal::Conflict(Cow::Borrowed("password_not_chosen")),
            Self::PasswordMissing => Refusal::Missing(vec!["password".to_owned()]),
            Self::Password(reason) => Refusal::invalid("password", reason.clone()),
            Self::Hash(_) => Refusal::Internal,
            Self::Mail(error) => error.refusal(),
            Self::Database(error) => error.refusal(),
        }
    }
}
