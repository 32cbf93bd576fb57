//! Invitations: the way into a workspace. Membership needs consent: an invitation must be accepted.
//!
//! An invitation is to an address. It is created, shown and answered alike whether or not the address has an
//! account, and shows no data of its owner before it is accepted. It is pending under one token at a time,
//! which is valid once and for a week; a new token invalidates earlier ones, and only hashes are stored. There
//! are two ways to accept: by the emailed token, which proves that its holder reads the mailbox, and by a
//! sign-in to the account with the verified address. A token that was handed over proves nothing by itself: its
//! holder signs in, too.
//!
//! A user answers for it: its sender, or the maker of the key that sent it. While that user may not invite, or could
//! not grant that role, it can't be accepted, and is not listed.
//!
//! An account created by accepting is managed by the inviting workspace, until it belongs to another.
//! [`offer`] is for inviters, [`answer`] for invitees.

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

/// Status of an invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Enum)]
#[serde(rename_all = "snake_case")]
#[oai(rename_all = "snake_case")]
pub enum InvitationStatus {
    /// Can be accepted.
    Pending,
    /// Has expired; sent again, it can be accepted.
    Expired,
    /// Was withdrawn.
    Cancelled,
}

/// An invitation, as members who may invite see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Object)]
pub struct Invitation {
    /// Invitation id, and the member's once it is accepted.
    pub id: InvitationId,
    /// Workspace id.
    pub workspace_id: WorkspaceId,
    /// Invited email address, as the inviter wrote it.
    pub email: String,
    /// Role on acceptance.
    pub role: Role,
    /// Status.
    pub status: InvitationStatus,
    /// Member profile on acceptance, as the inviter wrote it.
    pub profile: InvitedProfile,
    /// Id of the user who last sent it; null if it was an API key or the account is deleted.
    pub invited_by: Option<UserId>,
    /// Time of the first invitation.
    pub created_at: DateTime<Utc>,
    /// Creation time of the newest token.
    pub sent_at: DateTime<Utc>,
    /// Expiry time.
    pub expires_at: DateTime<Utc>,
}

/// Profile of the future member, as the inviter wrote it. It belongs to the workspace, and says nothing about
/// the account.
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

/// The error of inviting a member.
fn already_member() -> Error {
    Error::conflict("already_member", "this person is already a member")
}
