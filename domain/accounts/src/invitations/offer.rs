//! Inviting: by email, or by a link to hand over; sending again, and withdrawing.
//!
//! Inviting an address that is invited already renews its invitation. A caller neither offers a role above their own,
//! nor changes an invitation to one.

use chrono::Duration;
use domain::{
    Actor, Email, Error, Event,
    access::Role,
    callers::Authority,
    invitation_link::Link,
    mail::{self, Action, Brand, Cause, Letter},
    secret, standing,
};
use jobs::Tx;
use serde_json::json;
use sqlx::types::Json;

use super::{Invitation, InvitationId, InvitationStatus, InvitedProfile, already_member};
use crate::workspaces::Host;

/// Lifetime of an invitation.
const LIFETIME: Duration = Duration::days(7);

/// An invitation to send.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewInvitation {
    /// Email address.
    pub email: String,
    /// Role; if absent, as before, or member for a new invitation.
    pub role: Option<Role>,
    /// Profile of the future member; as before if absent.
    pub profile: Option<InvitedProfile>,
}

/// Selection of a pending invitation: by all given fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Invitee {
    /// Invitation id, also that of the future member.
    pub id: Option<InvitationId>,
    /// Email address.
    pub email: Option<String>,
}

/// An offer.
struct Offer<'a> {
    email: &'a Email,
    role: Option<Role>,
    profile: Option<InvitedProfile>,
    /// Whether the address may be without a pending invitation.
    may_be_new: bool,
    is_mailed: bool,
}

/// Invites an address, or renews its invitation, and emails the link.
///
/// # Errors
/// `already_member`, `forbidden`, `record_invalid`.
pub async fn invite(
    tx: &mut Tx,
    host: &Host<'_>,
    new: NewInvitation,
    link: &Link,
) -> Result<Invitation, Error> {
    let NewInvitation { email, role, profile } = new;
    let email = email.parse().map_err(not_an_address)?;
    let offer = Offer { email: &email, role, profile, may_be_new: true, is_mailed: true };
    let invitation = put(tx, host, offer, link).await?;
    write(tx, host, &invitation, &email, link).await?;
    Ok(invitation)
}

/// Creates a link to hand over, without an email: for a pending invitation, or for an address. Its holder
/// signs in with that address to accept.
///
/// # Errors
/// Those of [`invite`]; `record_not_found` if there is no such pending invitation.
pub async fn make_link(
    tx: &mut Tx,
    host: &Host<'_>,
    invitee: &Invitee,
    role: Option<Role>,
    link: &Link,
) -> Result<Invitation, Error> {
    let (email, may_be_new) = match invitee {
        Invitee { id: None, email: Some(email) } => (email.parse().map_err(not_an_address)?, true),
        _ => (waiting(tx, host, invitee).await?, false),
    };
    put(tx, host, Offer { email: &email, role, profile: None, may_be_new, is_mailed: false }, link).await
}

/// Emails an invitation again, under a new token.
///
/// # Errors
/// `record_not_found` if there is no such pending invitation.
pub async fn resend(
    tx: &mut Tx,
    host: &Host<'_>,
    invitee: &Invitee,
    link: &Link,
) -> Result<Invitation, Error> {
    let email = waiting(tx, host, invitee).await?;
    let offer = Offer { email: &email, role: None, profile: None, may_be_new: false, is_mailed: true };
    let invitation = put(tx, host, offer, link).await?;
    write(tx, host, &invitation, &email, link).await?;
    Ok(invitation)
}

/// Withdraws a pending invitation, in one of the workspaces that the caller may enter and invite to.
///
/// # Errors
/// `record_not_found` if there is none, or the caller may not invite.
pub async fn cancel(
    tx: &mut Tx,
    entered: &[Authority],
    actor: &Actor,
    invitee: &Invitee,
) -> Result<Invitation, Error> {
    if *invitee == Invitee::default() {
        return Err(Error::missing(["invitation_id"]));
    }
    let inviting: Vec<_> = entered.iter().filter(|authority| authority.may("members:invite")).collect();
    let workspaces: Vec<_> = inviting.iter().map(|authority| authority.workspace().0).collect();
    let found = sqlx::query!(
        "select id, workspace_id, role
             from invitations
            where workspace_id = any($1) and accepted_at is null and cancelled_at is null
              and ($2::uuid is null or id = $2)
              and (not $4 or email_key = $3)
              for update",
        &workspaces,
        invitee.id.map(|id| id.0),
        key_of(invitee),
        invitee.email.is_some(),
    )
    .fetch_optional(tx.conn())
    .await?
    .ok_or_else(Error::not_found)?;
    let reaches = |authority: &&Authority| {
        authority.workspace() == found.workspace_id && authority.role() >= found.role
    };
    if !inviting.into_iter().any(|authority| reaches(&authority)) {
        return Err(standing::above_caller(found.role));
    }
    sqlx::query!("update invitations set cancelled_at = now() where id = $1", found.id.0)
        .execute(tx.conn())
        .await?;
    let invitation = find(tx, found.id).await?;
    let event = Event::new("invitation", "cancelled", invitation.id, json!({ "email": invitation.email }));
    event.record(tx, found.workspace_id, actor).await?;
    Ok(invitation)
}

/// The error of a malformed address.
fn not_an_address(reason: &str) -> Error {
    Error::invalid("email", reason)
}

/// The key of an address; none for a text that is no address, which has no invitation.
fn key_of(invitee: &Invitee) -> Option<String> {
    invitee.email.as_deref().and_then(|email| email.parse::<Email>().ok()).map(|email| email.key().to_owned())
}

/// The address of a pending invitation.
async fn waiting(tx: &mut Tx, host: &Host<'_>, invitee: &Invitee) -> Result<Email, Error> {
    if *invitee == Invitee::default() {
        return Err(Error::missing(["member_id"]));
    }
    let email = sqlx::query_scalar!(
        "select email from invitations
          where workspace_id = $1 and accepted_at is null and cancelled_at is null
            and ($2::uuid is null or id = $2) and (not $4 or email_key = $3)",
        host.workspace.0,
        invitee.id.map(|id| id.0),
        key_of(invitee),
        invitee.email.is_some(),
    )
    .fetch_optional(tx.conn())
    .await?
    .ok_or_else(Error::not_found)?;
    email.parse().map_err(not_an_address)
}

/// Creates the invitation of an address, or renews the pending one, under a new token.
async fn put(tx: &mut Tx, host: &Host<'_>, offer: Offer<'_>, link: &Link) -> Result<Invitation, Error> {
    let Offer { email, role, profile, may_be_new, is_mailed } = offer;
    if standing::is_member(tx, host.workspace, email).await? {
        return Err(already_member());
    }
    let had = sqlx::query_scalar!(
        "select role from invitations
            where workspace_id = $1 and email_key = $2 and accepted_at is null and cancelled_at is null
              for update",
        host.workspace.0,
        email.key(),
    )
    .fetch_optional(tx.conn())
    .await?;
    if had.is_none() && !may_be_new {
        return Err(Error::not_found());
    }
    let role = role.or(had).unwrap_or(Role::Member);
    if let Some(above) = [Some(role), had].into_iter().flatten().find(|&role| role > host.role) {
        return Err(standing::above_caller(above));
    }
    if !standing::may_give(tx.conn(), host.workspace, host.held, role).await? {
        return Err(standing::more_than_held(role));
    }
    let id = sqlx::query_scalar!(
        "insert into invitations as i (id, workspace_id, email, email_key, role, token_hash, is_mailed, profile,
                                       invited_by, expires_at, answerable)
         values ($1, $2, $3, $4, $5, $6, $7, coalesce($8, '{}'::jsonb), $9, $10, $11)
         on conflict (workspace_id, email_key) where accepted_at is null and cancelled_at is null
         do update set role = excluded.role, token_hash = excluded.token_hash, is_mailed = excluded.is_mailed,
                       profile = coalesce($8, i.profile), invited_by = excluded.invited_by, sent_at = now(),
                       expires_at = excluded.expires_at, answerable = excluded.answerable
         returning id",
        InvitationId::new().0,
        host.workspace.0,
        email.as_str(),
        email.key(),
        role.name(),
        secret::hash(&link.token),
        is_mailed,
        profile.map(Json) as _,
        host.actor.user_id.map(|user| user.0),
        jobs::clock::now() + LIFETIME,
        host.answerable.0,
    )
    .fetch_one(tx.conn())
    .await?;
    let verb = if had.is_some() { "renewed" } else { "created" };
    let told = json!({ "email": email.as_str(), "role": role, "is_mailed": is_mailed });
    Event::new("invitation", verb, id, told).record(tx, host.workspace, host.actor).await?;
    find(tx, id).await
}

/// An unaccepted invitation, as it is in this transaction.
async fn find(tx: &mut Tx, id: InvitationId) -> Result<Invitation, Error> {
    let row = sqlx::query!(
        r#"select id, workspace_id, email, role, profile as "profile: Json<InvitedProfile>",
                  invited_by, created_at, sent_at, expires_at, cancelled_at
             from invitations where id = $1"#,
        id.0,
    )
    .fetch_one(tx.conn())
    .await?;
    let status = match row.cancelled_at {
        Some(_) => InvitationStatus::Cancelled,
        None if row.expires_at <= jobs::clock::now() => InvitationStatus::Expired,
        None => InvitationStatus::Pending,
    };
    Ok(Invitation {
        id: row.id,
        workspace_id: row.workspace_id,
        email: row.email,
        role: row.role,
        status,
        profile: row.profile.0,
        invited_by: row.invited_by,
        created_at: row.created_at,
        sent_at: row.sent_at,
        expires_at: row.expires_at,
    })
}

/// Emails the link, in the workspace's name. The inviter's name in it is the account's, not one that the
/// inviter wrote here.
async fn write(
    tx: &mut Tx,
    host: &Host<'_>,
    invitation: &Invitation,
    email: &Email,
    link: &Link,
) -> Result<(), Error> {
    let from = sqlx::query!(
        r#"select w.name, w.branding, i.name as "inviter?", u.name as "invited?"
             from workspaces w
             left join users i on i.id = $2
             left join users u on u.email_key = $3
            where w.id = $1"#,
        host.workspace.0,
        invitation.invited_by.map(|id| id.0),
        email.key(),
    )
    .fetch_one(tx.conn())
    .await?;
    let inviter = from.inviter.as_deref().and_then(mail::shown);
    let invites = inviter.map_or_else(|| "You are invited".to_owned(), |name| format!("{name} invites you"));
    let (title, workspace) = match mail::shown(&from.name) {
        Some(name) => (name.clone(), format!("the workspace \"{name}\"")),
        None => ("a workspace".to_owned(), "a workspace".to_owned()),
    };
    let letter = Letter {
        to: invitation.email.clone(),
        name: from.invited.unwrap_or_default(),
        subject: format!("You are invited to {title}"),
        lines: vec![format!("{invites} to join {workspace} as {}.", invitation.role)],
        action: Some(Action { label: "Accept the invitation".to_owned(), url: link.url.clone() }),
        after: vec![
            "This link can be used once and expires in 7 days. If you don't want to join, ignore this email."
                .to_owned(),
        ],
    };
    let brand = Brand::of(&from.branding, &from.name);
    Ok(mail::post(tx, letter, &brand, Cause::Member(host.workspace), host.actor).await?)
}
