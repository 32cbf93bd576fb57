//! The member list: members and pending invitations. Memberships are
//! in the shared schemas, profiles in the workspace's own; this is where the two are joined.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use domain::{MemberId, UserId, WorkspaceId, access::Role, standing::Overrides, tenant_scope::TenantScope};
use jobs::Database;
use poem_openapi::{Enum, Object};
use sqlx::types::Json;

use crate::invitations::{Backing, InvitedProfile};

/// Status of an entry of the member list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Enum)]
#[oai(rename_all = "snake_case")]
pub enum RosterStatus {
    /// An active member.
    Active,
    /// A deactivated member, or one whose membership was kept at the removal.
    Inactive,
    /// A pending invitation.
    Pending,
}

/// An entry of the member list.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct RosterEntry {
    /// Id of the member; for an invitation its id, which becomes the member's.
    pub member_id: MemberId,
    /// Account id; null for an invitation, which shows no data of an account.
    pub user_id: Option<UserId>,
    /// Email address.
    pub email: String,
    /// Name shown in this workspace; for an invitation, the name that the inviter wrote, or else the address.
    pub name: String,
    /// Job title; null if none is set.
    pub title: Option<String>,
    // A reference, from which the API makes a link.
    /// URL of the avatar image; null if none is set, and for an invitation.
    pub avatar_url: Option<String>,
    /// Role, present or offered.
    pub role: Role,
    /// Status.
    pub status: RosterStatus,
    /// Time of joining; null for an invitation.
    pub joined_at: Option<DateTime<Utc>>,
    /// Time of the latest sending of the invitation; null for a member.
    pub invited_at: Option<DateTime<Utc>>,
    /// Expiry time of the invitation, which may have passed; null for a member.
    pub invitation_expires_at: Option<DateTime<Utc>>,
}

/// The profile in the workspace's own schema.
struct Profile {
    id: MemberId,
    display_name: Option<String>,
    title: Option<String>,
    avatar_url: Option<String>,
    is_active: bool,
}

/// All entries: members, then pending invitations, sorted by name. An invitation is not listed while the user who
/// answers for it could not send it: it can't be accepted either.
pub async fn list(database: &Database, workspace: WorkspaceId) -> Result<Vec<RosterEntry>, sqlx::Error> {
    // Nothing is written: dropped, it rolls back.
    let mut tx = database.begin().await?;
    let members = sqlx::query!(
        r#"select m.id, u.id as user_id, u.email, u.name, u.title, m.role,
                  coalesce('avatar:' || u.avatar_key, u.avatar_url) as avatar_url,
                  (m.is_active and u.is_active) as "is_active!", m.created_at as joined_at
             from memberships m join users u on u.id = m.user_id
            where m.workspace_id = $1"#,
        workspace.0,
    )
    .fetch_all(tx.conn())
    .await?;
    let invitations = sqlx::query!(
        r#"select i.id, i.email, i.role, i.profile as "profile: Json<InvitedProfile>", i.sent_at,
                  i.expires_at, b.role as "backing_role: Role", b.overrides as "overrides?: Overrides",
                  b.offered_overrides as "offered_overrides?: Overrides"
             from invitations i join invitation_backing b on b.invitation_id = i.id
            where i.workspace_id = $1 and accepted_at is null and cancelled_at is null"#,
        workspace.0,
    )
    .fetch_all(tx.conn())
    .await?;
    let mut scope = TenantScope::enter(&mut tx, workspace).await?;
    let profiles =
        sqlx::query_as!(Profile, "select id, display_name, title, avatar_url, is_active from members")
            .fetch_all(scope.conn())
            .await?;
    let mut profiles: HashMap<_, _> = profiles.into_iter().map(|profile| (profile.id, profile)).collect();
    let members = members.into_iter().map(|person| {
        // A removed member whose membership was kept has none.
        let profile = profiles.remove(&person.id);
        let is_active = person.is_active && profile.as_ref().is_some_and(|profile| profile.is_active);
        let (display_name, title, avatar_url) = profile
            .map(|profile| (profile.display_name, profile.title, profile.avatar_url))
            .unwrap_or_default();
        RosterEntry {
            member_id: person.id,
            user_id: Some(person.user_id),
            email: person.email,
            name: display_name.unwrap_or(person.name),
            title: title.or(person.title),
            avatar_url: avatar_url.or(person.avatar_url),
            role: person.role,
            status: if is_active { RosterStatus::Active } else { RosterStatus::Inactive },
            joined_at: Some(person.joined_at),
            invited_at: None,
            invitation_expires_at: None,
        }
    });
    let backed = invitations.into_iter().filter(|invitation| {
        let backing = Backing {
            role: invitation.backing_role,
            overrides: invitation.overrides.clone(),
            offered_overrides: invitation.offered_overrides.clone(),
        };
        backing.holds(invitation.role)
    });
    let invited = backed.map(|invitation| RosterEntry {
        member_id: MemberId(invitation.id.0),
        user_id: None,
        name: invitation.profile.0.display_name.unwrap_or_else(|| invitation.email.clone()),
        email: invitation.email,
        title: invitation.profile.0.title,
        avatar_url: None,
        role: invitation.role,
        status: RosterStatus::Pending,
        joined_at: None,
        invited_at: Some(invitation.sent_at),
        invitation_expires_at: Some(invitation.expires_at),
    });
    let mut entries: Vec<_> = members.chain(invited).collect();
    entries.sort_by_cached_key(|entry| {
        (entry.status == RosterStatus::Pending, entry.name.to_lowercase(), entry.member_id)
    });
    Ok(entries)
}
