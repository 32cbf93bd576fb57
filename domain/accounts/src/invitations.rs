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

use chrono::{DateTime, Utc};
use domain::{Error, UserId, WorkspaceId, access::Role};
use poem_openapi::{Enum, Object};
use serde::{Deserialize, Serialize};

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

/// The refusal of who is in the workspace.
fn already_member() -> Error {
    Error::conflict("already_member", "this person is a member already")
}
