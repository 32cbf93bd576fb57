//! Invitations: how people come into a workspace. Nobody is put there: who is invited accepts, or doesn't.
//!
//! An invitation is to an address. It is made, shown and answered alike whether or not the address has an account, and
//! shows nothing of its person before they have accepted. It waits under one token at a time, good once and for a
//! week; a new one makes those before it worthless, and only hashes are stored. Two ways lead in: the token that
//! was mailed, which shows that its holder reads the mailbox, and a sign-in to the account whose verified address it
//! is. A token that was handed over shows nothing by itself: its holder signs in, too.
//!
//! A person answers for it: its sender, or the maker of the key that sent it. While they may not invite, or could not give that
//! role, it can't be accepted, and is not listed.
//!
//! An account that is made by accepting is managed by the workspace that invited, until its person belongs to another.
//! [`offer`] is for those who invite, [`answer`] for those who were invited.

pub mod answer;
mod backing;
pub mod offer;

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use domain::{DomainError, Refusal, UserId, WorkspaceId, access::Role, mail::PostError};
use poem_openapi::{Enum, Object};
use serde::{Deserialize, Serialize};

use crate::users::HashError;

pub(crate) use backing::Backing;

pub use answer::{
    AcceptedInvitation, Answering, Came, InvitationPreview, OwnInvitation, accept, password_hash, preview,
    waiting_for,
};
pub use offer::{Invitee, NewInvitation, cancel, invite, make_link, resend};

domain::ids! {
    /// An invitation.
    InvitationId = "invitation",
}

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
    pub id: InvitationId,
    /// Where to.
    pub workspace_id: WorkspaceId,
    /// Invited address, as the inviter wrote it.
    pub email: String,
    /// Role on acceptance.
    pub role: Role,
    /// How it stands.
    pub status: InvitationStatus,
    /// Member profile on acceptance, as the inviter wrote it.
    pub profile: InvitedProfile,
    /// Who invited them last.
    pub invited_by: Option<UserId>,
    /// When they were first invited.
    pub created_at: DateTime<Utc>,
    /// When the newest token was made.
    pub sent_at: DateTime<Utc>,
    /// Until when it can be accepted.
    pub expires_at: DateTime<Utc>,
}

/// What an inviter says of a member to be. It is the workspace's, and says nothing of the account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, Object)]
#[serde(default)]
pub struct InvitedProfile {
    /// Display name in this workspace; null if the account's name is shown.
    pub display_name: Option<String>,
    /// Job title; null if the account's is shown.
    pub title: Option<String>,
    /// Phone number; null if the account's is shown.
    pub phone: Option<String>,
    /// Short biography; null if the account's is shown.
    pub bio: Option<String>,
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
    /// They are in the workspace.
    #[error("this person is a member already")]
    AlreadyMember,
    /// Nobody makes somebody more than they are themselves.
    #[error("the role is above your own")]
    AboveOwnRole,
    /// Nobody gives a role that holds more than they do.
    #[error("that role may do what the caller may not")]
    MoreThanHeld,
    /// A link that was handed over doesn't show who holds it; neither does the id of an invitation.
    #[error("sign in with the invited address to accept this invitation")]
    SignInFirst,
    /// The invitation is somebody else's.
    #[error("the invitation is for another email address: sign in with that one")]
    OfAnother,
    /// Only a verified address shows that the invitation is theirs.
    #[error("verify the email address of the account first, or accept by the mailed link")]
    NotVerified,
    /// A password has to be chosen.
    #[error("a password has to be chosen")]
    PasswordMissing,
    /// The password breaks a rule.
    #[error("{0}")]
    Password(Cow<'static, str>),
    /// What the new account is to be called breaks a rule.
    #[error("{0}")]
    Name(&'static str),
    /// The password could not be hashed.
    #[error(transparent)]
    Hash(#[from] HashError),
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
            Self::AlreadyMember => Refusal::Conflict(Cow::Borrowed("already_member")),
            Self::AboveOwnRole | Self::MoreThanHeld | Self::OfAnother | Self::NotVerified => {
                Refusal::Forbidden
            }
            Self::SignInFirst => Refusal::Unauthenticated,
            Self::PasswordMissing => Refusal::Missing(vec!["password".to_owned()]),
            Self::Password(reason) => Refusal::invalid("password", reason.clone()),
            Self::Name(reason) => Refusal::invalid("name", *reason),
            Self::Hash(error) => error.refusal(),
            Self::Mail(error) => error.refusal(),
            Self::Database(error) => error.refusal(),
        }
    }
}
