//! Inviting: by mail, or by a link to hand over; sending again, and withdrawing.
//!
//! Inviting someone who is invited already renews their invitation. Nobody offers more than their own
//! role, nor touches an invitation to a higher one. A link is never made for someone without a password:
//! whoever made it could choose one and be that person.

use chrono::Duration;
use jobs::Tx;
use serde_json::json;
use uuid::Uuid;

use super::{Invitation, InvitationError, InvitationStatus};
use crate::{
    Actor, Event, UserId, WorkspaceId,
    access::{Held, Override, Role},
    mail::{self, Action, Brand, Cause, Letter},
    secret,
    users::Email,
    workspaces::Host,
};

/// How long an invitation waits.
const LIFETIME: Duration = Duration::days(7);

/// The newest token of an invitation, and the page that takes it.
#[derive(Clone)]
pub struct Link {
    /// The token; stored as its hash only.
    pub token: String,
    /// Where the web app accepts it.
    pub url: String,
}

/// Who is meant, among those who wait: by whatever is given, and by all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Invitee {
    /// The invitation, which is also the member to be.
    pub id: Option<Uuid>,
    /// The person.
    pub user_id: Option<Uuid>,
    /// Their address.
    pub email: Option<String>,
}

/// A registered person.
struct Person {
    id: Uuid,
    email: String,
    name: String,
    has_password: bool,
}

/// What is offered.
struct Offer {
    person: Person,
    /// As what; without one as before, and as a member who is new.
    role: Option<Role>,
    /// Whether it may be the first that they hear of it.
    may_be_new: bool,
    is_mailed: bool,
}

/// Invites a registered person, or renews their invitation, and mails them the link.
///
/// # Errors
/// [`InvitationError::NotRegistered`], [`InvitationError::AlreadyMember`], [`InvitationError::AboveOwnRole`].
pub async fn invite(
    tx: &mut Tx,
    host: &Host<'_>,
    email: &str,
    role: Option<Role>,
    link: &Link,
) -> Result<Invitation, InvitationError> {
    let person = person_of_address(tx, email).await?;
    let offer = Offer { person, role, may_be_new: true, is_mailed: true };
    let invitation = put(tx, host, offer, link).await?;
    write(tx, host, &invitation, link).await?;
    Ok(invitation)
}

/// Makes a link to hand over, and mails nothing: for someone who waits, or by their address for anybody
/// who could be invited.
///
/// # Errors
/// Those of [`invite`], and [`InvitationError::PasswordNotChosen`].
pub async fn make_link(
    tx: &mut Tx,
    host: &Host<'_>,
    invitee: &Invitee,
    role: Option<Role>,
    link: &Link,
) -> Result<Invitation, InvitationError> {
    let (person, may_be_new) = match invitee {
        Invitee { id: None, user_id: None, email: Some(email) } => {
            (person_of_address(tx, email).await?, true)
        }
        _ => (person_waiting(tx, host, invitee).await?, false),
    };
    if !person.has_password {
        return Err(InvitationError::PasswordNotChosen);
    }
    put(tx, host, Offer { person, role, may_be_new, is_mailed: false }, link).await
}

/// Mails an invitation again, under a new token.
///
/// # Errors
/// [`InvitationError::NotFound`] when nobody like that waits.
pub async fn resend(
    tx: &mut Tx,
    host: &Host<'_>,
    invitee: &Invitee,
    link: &Link,
) -> Result<Invitation, InvitationError> {
    let person = person_waiting(tx, host, invitee).await?;
    let offer = Offer { person, role: None, may_be_new: false, is_mailed: true };
    let invitation = put(tx, host, offer, link).await?;
    write(tx, host, &invitation, link).await?;
    Ok(invitation)
}

/// Withdraws an invitation that waits, wherever the caller may invite.
///
/// # Errors
/// [`InvitationError::NotFound`] where there is none, or the caller may not invite.
pub async fn cancel(
    tx: &mut Tx,
    caller: UserId,
    actor: &Actor,
    workspace: Option<Uuid>,
    invitee: &Invitee,
) -> Result<Invitation, InvitationError> {
    if invitee.id.is_none() && (workspace.is_none() || *invitee == Invitee::default()) {
        return Err(InvitationError::Nobody(&["invitation_id"]));
    }
    let found = sqlx::query!(
        r#"select i.id, i.workspace_id, i.role as "role: Role", m.role as "own_role: Role",
                  p.granted as "granted?"
             from memberships m
             join invitations i on i.workspace_id = m.workspace_id
                               and i.accepted_at is null and i.cancelled_at is null
             join users u on u.id = i.user_id
             left join role_permissions p on p.workspace_id = m.workspace_id and p.role = m.role
                                         and p.permission = 'members:invite'
            where m.user_id = $1
              and ($2::uuid is null or i.workspace_id = $2)
              and ($3::uuid is null or i.id = $3)
              and ($4::uuid is null or i.user_id = $4)
              and (not $6 or u.email_key = $5)
              for update of i"#,
        caller.0,
        workspace,
        invitee.id,
        invitee.user_id,
        invitee.email.as_deref().and_then(Email::key_of),
        invitee.email.is_some(),
    )
    .fetch_optional(tx.conn())
    .await?
    .ok_or(InvitationError::NotFound)?;
    let changed = found.granted.map(|granted| Override { permission: "members:invite".to_owned(), granted });
    if !Held::of_role(found.own_role, changed.into_iter().collect()).may("members:invite") {
        return Err(InvitationError::NotFound);
    }
    if found.role > found.own_role {
        return Err(InvitationError::AboveOwnRole);
    }
    sqlx::query!("update invitations set cancelled_at = now() where id = $1", found.id)
        .execute(tx.conn())
        .await?;
    let invitation = find(tx, found.id).await?;
    let told = json!({ "user_id": invitation.user_id, "email": invitation.email });
    let event = Event::new("invitation", "cancelled", invitation.id, told);
    event.append(tx.conn(), WorkspaceId(found.workspace_id), actor).await?;
    Ok(invitation)
}

/// The active person of an address: who has shown that it is theirs, or will by accepting, because nobody can
/// sign in to the account yet. Holds off whoever would take them in, or delete them, meanwhile.
async fn person_of_address(tx: &mut Tx, email: &str) -> Result<Person, InvitationError> {
    let email: Email = email.parse().map_err(InvitationError::NotAnAddress)?;
    sqlx::query_as!(
        Person,
        r#"select id, email, name, password_hash is not null as "has_password!"
             from users
            where email_key = $1 and (email_verified_at is not null or password_hash is null)
              and is_active for key share"#,
        email.key(),
    )
    .fetch_optional(tx.conn())
    .await?
    .ok_or(InvitationError::NotRegistered)
}

/// Somebody who waits, likewise.
async fn person_waiting(tx: &mut Tx, host: &Host<'_>, invitee: &Invitee) -> Result<Person, InvitationError> {
    if *invitee == Invitee::default() {
        return Err(InvitationError::Nobody(&["member_id"]));
    }
    sqlx::query_as!(
        Person,
        r#"select u.id, u.email, u.name, u.password_hash is not null as "has_password!"
             from invitations i join users u on u.id = i.user_id
            where i.workspace_id = $1 and i.accepted_at is null and i.cancelled_at is null
              and ($2::uuid is null or i.id = $2)
              and ($3::uuid is null or i.user_id = $3)
              and (not $5 or u.email_key = $4)
              and u.is_active
              for key share of u"#,
        host.workspace.0,
        invitee.id,
        invitee.user_id,
        invitee.email.as_deref().and_then(Email::key_of),
        invitee.email.is_some(),
    )
    .fetch_optional(tx.conn())
    .await?
    .ok_or(InvitationError::NotFound)
}

/// Makes the person's invitation, or renews the one that waits, under a new token.
async fn put(tx: &mut Tx, host: &Host<'_>, offer: Offer, link: &Link) -> Result<Invitation, InvitationError> {
    let Offer { person, role, may_be_new, is_mailed } = offer;
    let is_member = sqlx::query_scalar!(
        r#"select exists (select from memberships where workspace_id = $1 and user_id = $2) as "is!""#,
        host.workspace.0,
        person.id,
    );
    if is_member.fetch_one(tx.conn()).await? {
        return Err(InvitationError::AlreadyMember);
    }
    let had = sqlx::query_scalar!(
        r#"select role as "role: Role" from invitations
            where workspace_id = $1 and user_id = $2 and accepted_at is null and cancelled_at is null
              for update"#,
        host.workspace.0,
        person.id,
    )
    .fetch_optional(tx.conn())
    .await?;
    if had.is_none() && !may_be_new {
        return Err(InvitationError::NotFound);
    }
    let role = role.or(had).unwrap_or(Role::Member);
    if role > host.role || had.is_some_and(|had| had > host.role) {
        return Err(InvitationError::AboveOwnRole);
    }
    let id = sqlx::query_scalar!(
        "insert into invitations (id, workspace_id, user_id, role, token_hash, invited_by, expires_at, is_mailed)
         values ($1, $2, $3, $4, $5, $6, $7, $8)
         on conflict (workspace_id, user_id) where accepted_at is null and cancelled_at is null
         do update set role = excluded.role, token_hash = excluded.token_hash,
                       invited_by = excluded.invited_by, is_mailed = excluded.is_mailed, sent_at = now(), expires_at = excluded.expires_at
         returning id",
        Uuid::now_v7(),
        host.workspace.0,
        person.id,
        role.name(),
        secret::hash(&link.token),
        host.actor.user_id.map(|user| user.0),
        jobs::clock::now() + LIFETIME,
        is_mailed,
    )
    .fetch_one(tx.conn())
    .await?;
    let verb = if had.is_some() { "renewed" } else { "created" };
    let told = json!({ "user_id": person.id, "email": person.email, "name": person.name, "role": role,
                       "is_mailed": is_mailed });
    Event::new("invitation", verb, id, told).append(tx.conn(), host.workspace, host.actor).await?;
    find(tx, id).await
}

/// An invitation that has not been accepted, as it is in this transaction.
async fn find(tx: &mut Tx, id: Uuid) -> Result<Invitation, InvitationError> {
    let row = sqlx::query!(
        r#"select i.id, i.workspace_id, i.user_id, u.email, u.name, i.role as "role: Role", i.invited_by,
                  i.created_at, i.sent_at, i.expires_at, i.cancelled_at
             from invitations i join users u on u.id = i.user_id
            where i.id = $1"#,
        id,
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
        user_id: row.user_id,
        email: row.email,
        name: row.name,
        role: row.role,
        status,
        invited_by: row.invited_by,
        created_at: row.created_at,
        sent_at: row.sent_at,
        expires_at: row.expires_at,
    })
}

/// Mails the link, in the workspace's name.
async fn write(
    tx: &mut Tx,
    host: &Host<'_>,
    invitation: &Invitation,
    link: &Link,
) -> Result<(), InvitationError> {
    let from = sqlx::query!(
        r#"select w.name, w.branding, u.name as "inviter?"
             from workspaces w left join users u on u.id = $2
            where w.id = $1"#,
        host.workspace.0,
        invitation.invited_by,
    )
    .fetch_one(tx.conn())
    .await?;
    let inviter = from.inviter.as_deref().and_then(mail::shown);
    let invites = inviter.map_or_else(|| "you are invited".to_owned(), |name| format!("{name} invites you"));
    let (title, workspace) = match mail::shown(&from.name) {
        Some(name) => (name.clone(), format!("the workspace \"{name}\"")),
        None => ("a workspace".to_owned(), "a workspace".to_owned()),
    };
    let letter = Letter {
        to: invitation.email.clone(),
        name: invitation.name.clone(),
        subject: format!("You are invited to {title}"),
        lines: vec![format!("{invites} to join {workspace} as {}.", invitation.role)],
        action: Some(Action { label: "Accept the invitation".to_owned(), url: link.url.clone() }),
        after: vec![
            "The link is good once, and for seven days. If you don't want to join, you need do nothing."
                .to_owned(),
        ],
    };
    let brand = Brand::of(&from.branding, &from.name);
    Ok(mail::post(tx, letter, &brand, Cause::Member(host.workspace), host.actor).await?)
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Link(…)")
    }
}
