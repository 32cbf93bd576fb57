//! Answering an invitation: showing it, and accepting it, once.
//!
//! Account, membership and the member in the workspace's schema are one commit.

use chrono::{DateTime, Utc};
use domain::{
    Actor, Email, Error, Event, MemberId, UserId, WorkspaceId,
    access::Role,
    audit::{self, Entry},
    secret,
    standing::Overrides,
    tenant_scope::TenantScope,
};
use jobs::{Database, Tx};
use poem_openapi::Object;
use serde_json::json;
use sqlx::{PgConnection, PgExecutor, types::Json};
use uuid::Uuid;

use super::{Backing, InvitedProfile, already_member};
use crate::invitations::InvitationId;
use crate::{
    personal_tokens,
    sessions::{self, Ended},
    signups,
    users::{Password, addresses, passwords},
};

/// An invitation, as the page that accepts it shows it.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct InvitationPreview {
    /// Workspace id.
    pub workspace_id: WorkspaceId,
    /// Workspace name.
    pub workspace_name: String,
    /// Name of the inviter; null if it was an API key or the account is deleted.
    pub inviter_name: Option<String>,
    /// Invited email address.
    pub email: String,
    /// Role on acceptance.
    pub role: Role,
    /// Whether accepting needs a sign-in with the invited address: the link was handed over, not emailed.
    pub requires_sign_in: bool,
    /// Whether a password must be chosen to accept without signing in: the address has no account, or its
    /// owner has not verified the address or chosen a password. Always false for a link that was handed over.
    pub requires_password: bool,
    /// Whether accepting creates an account. The workspace then manages it until its owner joins another one. Always
    /// false for a link that was handed over.
    pub creates_account: bool,
    /// Expiry time.
    pub expires_at: DateTime<Utc>,
}

/// A pending invitation to the caller.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct OwnInvitation {
    /// Invitation id, with which it is accepted.
    pub id: InvitationId,
    /// Workspace id.
    pub workspace_id: WorkspaceId,
    /// Workspace name.
    pub workspace_name: String,
    /// Name of the inviter; null if it was an API key or the account is deleted.
    pub inviter_name: Option<String>,
    /// Role on acceptance.
    pub role: Role,
    /// Time of the latest sending.
    pub sent_at: DateTime<Utc>,
    /// Expiry time.
    pub expires_at: DateTime<Utc>,
}

/// An accepted invitation.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct AcceptedInvitation {
    /// Workspace id.
    pub workspace_id: WorkspaceId,
    /// Workspace name.
    pub workspace_name: String,
    /// Id of the new member.
    pub member_id: MemberId,
    /// Account id.
    pub user_id: UserId,
    /// Email address of the account.
    pub email: String,
    /// Role in the workspace.
    pub role: Role,
}

/// Proof with which an invitee accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Came {
    /// The token of a link.
    WithToken(String),
    /// A sign-in, to accept the invitation of that id.
    ToAccept(InvitationId),
}

/// An invitee who accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answering {
    /// Proof.
    pub came: Came,
    /// Signed-in user, not impersonated.
    pub signed_in: Option<UserId>,
    /// Name of a new account.
    pub name: Option<String>,
}

/// An invitation that can be accepted.
struct Found {
    id: InvitationId,
    workspace_id: WorkspaceId,
    workspace_name: String,
    email: String,
    email_key: String,
    role: Role,
    is_mailed: bool,
    profile: Json<InvitedProfile>,
    inviter_name: Option<String>,
    backing_role: Option<Role>,
    backing_overrides: Option<Overrides>,
    offered_overrides: Option<Overrides>,
    expires_at: DateTime<Utc>,
    accepted_at: Option<DateTime<Utc>>,
    cancelled_at: Option<DateTime<Utc>>,
}

/// The account of an invited address.
struct Account {
    id: UserId,
    is_active: bool,
    has_password: bool,
    /// Whether its owner has proved to own the address.
    is_verified: bool,
}

impl Account {
    /// Whether reading the mailbox is sufficient to own it. An account with an unverified address may
    /// have been created by another person, with that person's password: the mailbox's reader chooses a new one.
    fn is_its_readers(&self) -> bool {
        self.has_password && self.is_verified
    }
}

impl Found {
    /// An invitation, if it can be accepted.
    async fn good(conn: &mut PgConnection, came: &Came) -> Result<Self, Error> {
        let (token, id) = named(came);
        let found = sqlx::query_as!(
            Self,
            r#"select i.id, i.workspace_id, w.name as workspace_name, i.email, i.email_key, i.role as "role: _",
                      i.is_mailed, i.profile as "profile: _", u.name as "inviter_name?",
                      b.role as "backing_role?: Role", b.overrides as "backing_overrides?: Overrides",
                      b.offered_overrides as "offered_overrides?: Overrides",
                      i.expires_at, i.accepted_at, i.cancelled_at
                 from invitations i
                 join workspaces w on w.id = i.workspace_id
                 left join users u on u.id = i.invited_by
                 left join invitation_backing b on b.invitation_id = i.id
                where i.token_hash = $1 or i.id = $2"#,
            token,
            id,
        )
        .fetch_optional(conn)
        .await?
        .ok_or_else(Error::not_found)?;
        match found {
            _ if found.accepted_at.is_some() => {
                Err(Error::gone("the invitation has already been accepted: sign in"))
            }
            _ if found.cancelled_at.is_some() || !found.is_backed() => Err(withdrawn()),
            _ if found.expires_at <= jobs::clock::now() => {
                Err(Error::gone("the invitation has expired: request another one"))
            }
            _ => Ok(found),
        }
    }

    /// Whether the user who answers for it could still send it.
    fn is_backed(&self) -> bool {
        let backing = Backing {
            role: self.backing_role,
            overrides: self.backing_overrides.clone(),
            offered_overrides: self.offered_overrides.clone(),
        };
        backing.holds(self.role)
    }

    /// The account of the invited address.
    async fn account(&self, conn: &mut PgConnection) -> Result<Option<Account>, Error> {
        Ok(sqlx::query_as!(
            Account,
            r#"select id, is_active, password_hash is not null as "has_password!",
                      email_verified_at is not null as "is_verified!"
                 from users where email_key = $1"#,
            self.email_key,
        )
        .fetch_optional(conn)
        .await?)
    }

    /// Checks that the invitee may accept: by an emailed token, which proves that they read the mailbox, or signed in
    /// to the account of the address. In every other case the answer is the same whatever account there is.
    fn check(&self, account: Option<&Account>, answering: &Answering) -> Result<(), Error> {
        let has_mail = self.is_mailed && matches!(answering.came, Came::WithToken(_));
        match (answering.signed_in, account) {
            (Some(user), Some(account)) if user == account.id => {
                if !has_mail && !account.is_verified {
                    return Err(Error::forbidden(
                        "verify the email address of the account first, or accept by the mailed link",
                    ));
                }
            }
            (Some(_), _) if matches!(answering.came, Came::ToAccept(_)) => {
                return Err(Error::not_found());
            }
            (Some(_), _) => {
                return Err(Error::forbidden(
                    "the invitation is for another email address: sign in with that one",
                ));
            }
            (None, _) if has_mail => {}
            (None, _) => {
                return Err(Error::unauthenticated(
                    "sign in with the invited address to accept this invitation",
                ));
            }
        }
        if account.is_some_and(|account| !account.is_active) {
            return Err(withdrawn());
        }
        Ok(())
    }
}

/// The refusal of an invitation that was withdrawn, or that its sender could not send any more.
fn withdrawn() -> Error {
    Error::gone("the invitation was withdrawn")
}

/// The keys by which a query finds an invitation.
fn named(came: &Came) -> (Option<Vec<u8>>, Option<Uuid>) {
    match came {
        Came::WithToken(token) => (Some(secret::hash(token)), None),
        Came::ToAccept(id) => (None, Some(id.0)),
    }
}

/// The invitation of a token.
///
/// # Errors
/// `record_not_found` for a token that is unknown or was replaced; the reason why one is no longer valid.
pub async fn preview(database: &Database, token: &str) -> Result<InvitationPreview, Error> {
    let mut conn = database.pool.acquire().await?;
    let found = Found::good(&mut conn, &Came::WithToken(token.to_owned())).await?;
    // The maker of a handed-over link holds it, too, and must learn nothing about the address.
    let account = if found.is_mailed { Some(found.account(&mut conn).await?) } else { None };
    if account.as_ref().is_some_and(|account| account.as_ref().is_some_and(|account| !account.is_active)) {
        return Err(withdrawn());
    }
    Ok(InvitationPreview {
        workspace_id: found.workspace_id,
        workspace_name: found.workspace_name,
        inviter_name: found.inviter_name,
        email: found.email,
        role: found.role,
        requires_sign_in: !found.is_mailed,
        requires_password: account
            .as_ref()
            .is_some_and(|account| !account.as_ref().is_some_and(Account::is_its_readers)),
        creates_account: account.is_some_and(|account| account.is_none()),
        expires_at: found.expires_at,
    })
}

/// The pending invitations to a user's verified address that can be accepted, the newest first.
pub async fn waiting_for(
    database: impl PgExecutor<'_>,
    user: UserId,
) -> Result<Vec<OwnInvitation>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select i.id, i.workspace_id, w.name as workspace_name, s.name as "inviter_name?", i.role,
                  i.sent_at, i.expires_at, b.role as "backing_role: Role", b.overrides as "overrides?: Overrides",
                  b.offered_overrides as "offered_overrides?: Overrides"
             from users u
             join invitations i on i.email_key = u.email_key and i.accepted_at is null and i.cancelled_at is null
                               and i.expires_at > now()
             join workspaces w on w.id = i.workspace_id and w.state = 'ready'
             join invitation_backing b on b.invitation_id = i.id
             left join users s on s.id = i.invited_by
            where u.id = $1 and u.email_verified_at is not null
            order by i.sent_at desc, i.id"#,
        user.0,
    )
    .fetch_all(database)
    .await?;
    let open = rows.into_iter().filter_map(|row| {
        let backing = Backing {
            role: row.backing_role,
            overrides: row.overrides,
            offered_overrides: row.offered_overrides,
        };
        backing.holds(row.role).then_some(OwnInvitation {
            id: row.id,
            workspace_id: row.workspace_id,
            workspace_name: row.workspace_name,
            inviter_name: row.inviter_name,
            role: row.role,
            sent_at: row.sent_at,
            expires_at: row.expires_at,
        })
    });
    Ok(open.collect())
}

/// Hashes the password that an invitee must choose, before any transaction, since that takes a while. None
/// if none is needed: then the given one is ignored.
///
/// # Errors
/// Those of [`accept`]; `parameter_missing` and `record_invalid`.
pub async fn password_hash(
    database: &Database,
    answering: &Answering,
    password: Option<String>,
) -> Result<Option<String>, Error> {
    let mut conn = database.pool.acquire().await?;
    let found = Found::good(&mut conn, &answering.came).await?;
    let account = found.account(&mut conn).await?;
    found.check(account.as_ref(), answering)?;
    if answering.signed_in.is_some() || account.as_ref().is_some_and(Account::is_its_readers) {
        return Ok(None);
    }
    let fewest = match &account {
        Some(account) => passwords::fewest_characters(&mut *conn, account.id).await?,
        None => passwords::fewest_characters_in(&mut *conn, found.workspace_id).await?,
    };
    drop(conn);
    let password = password.ok_or_else(|| Error::missing(["password"]))?;
    let email = found.email.parse::<Email>().ok();
    let password = Password::parse_at_least(password, email.as_ref(), fewest)
        .map_err(|reason| Error::invalid("password", reason))?;
    let hash = password.hash().await?;
    Ok(Some(hash))
}

/// Accepts an invitation: creates the account if there is none, the membership and the member. `hash` is that of
/// [`password_hash`]. Of any number of concurrent calls with one invitation, one succeeds.
///
/// # Errors
/// Those of [`preview`]; `token_invalid` and `forbidden` if the caller doesn't prove that the invitation is theirs;
/// `already_member`.
pub async fn accept(
    tx: &mut Tx,
    answering: &Answering,
    hash: Option<&str>,
    actor: &Actor,
) -> Result<AcceptedInvitation, Error> {
    lock(tx, &answering.came).await?;
    let found = Found::good(tx.conn(), &answering.came).await?;
    let account = found.account(tx.conn()).await?;
    found.check(account.as_ref(), answering)?;
    let workspace = found.workspace_id;
    // The token, or the sign-in, identifies the user.
    let acting = |user| Actor { user_id: Some(user), ..actor.clone() };
    let made = match &account {
        None => make_account(tx, &found, answering, hash, actor).await?,
        Some(_) => None,
    };
    let account = match (&made, account) {
        // A concurrent request was faster: the address has an account by now.
        (None, None) => {
            lock(tx, &answering.came).await?;
            found.account(tx.conn()).await?
        }
        (_, account) => account,
    };
    let user = match (made, account) {
        (Some(user), _) => user,
        (None, None) => return Err(Error::not_found()),
        (None, Some(account)) => {
            let user = account.id;
            if answering.signed_in.is_none() && !account.is_its_readers() {
                let hash = hash.ok_or_else(|| Error::missing(["password"]))?;
                take_account(tx, user, hash, &acting(user)).await?;
            } else if found.is_mailed && matches!(answering.came, Came::WithToken(_)) {
                addresses::verify(tx, user).await?;
            }
            user
        }
    };
    let actor = acting(user);
    sqlx::query!(
        "update invitations set accepted_at = now(), user_id = $2 where id = $1",
        found.id.0,
        user.0
    )
    .execute(tx.conn())
    .await?;
    let data = json!({ "user_id": user, "email": found.email });
    Event::new("invitation", "accepted", found.id, data).record(tx, workspace, &actor).await?;
    // A membership that was kept at the member's removal is used again.
    let member = sqlx::query_scalar!(
        "insert into memberships as m (id, workspace_id, user_id, role) values ($1, $2, $3, $4)
         on conflict (workspace_id, user_id)
             do update set role = excluded.role, is_active = true where not m.is_active
         returning id",
        found.id.0,
        workspace.0,
        user.0,
        found.role.name(),
    )
    .fetch_optional(tx.conn())
    .await?
    .ok_or_else(already_member)?;
    create_member(tx, workspace, user, member, found.profile.0).await?;
    let told = json!({ "user_id": user, "role": found.role });
    Event::new("member", "created", member, told).record(tx, workspace, &actor).await?;
    Ok(AcceptedInvitation {
        workspace_id: workspace,
        workspace_name: found.workspace_name,
        member_id: member,
        user_id: user,
        email: found.email,
        role: found.role,
    })
}

/// Concurrent requests with the same invitation wait here; so does the removal of the user from another workspace,
/// which may delete the account. The account's row comes before the invitation's in both.
async fn lock(tx: &mut Tx, came: &Came) -> Result<(), sqlx::Error> {
    let (token, id) = named(came);
    sqlx::query!(
        "select u.id from users u
          where u.email_key = (select email_key from invitations where token_hash = $1 or id = $2) for update",
        token,
        id,
    )
    .fetch_optional(tx.conn())
    .await?;
    sqlx::query!("select id from invitations where token_hash = $1 or id = $2 for update", token, id)
        .fetch_optional(tx.conn())
        .await?;
    Ok(())
}

/// A new account with the address, managed by the inviting workspace; none if the address has one by now.
async fn make_account(
    tx: &mut Tx,
    found: &Found,
    answering: &Answering,
    hash: Option<&str>,
    actor: &Actor,
) -> Result<Option<UserId>, Error> {
    let hash = hash.ok_or_else(|| Error::missing(["password"]))?;
    let said = answering.name.as_deref().or(found.profile.0.display_name.as_deref());
    let local_part = found.email.rsplit_once('@').map_or(found.email.as_str(), |(local, _)| local);
    let name = signups::name(said.unwrap_or(local_part)).map_err(|reason| Error::invalid("name", reason))?;
    let user = UserId::new();
    // A concurrent sign-up with the address will find it taken.
    let made = sqlx::query!(
        "insert into users (id, email, email_key, email_verified_at, name, password_hash, activated_at, managed_by)
         values ($1, $2, $3, now(), $4, $5, now(), $6)
         on conflict (email_key) do nothing",
        user.0,
        found.email,
        found.email_key,
        name,
        hash,
        found.workspace_id.0,
    )
    .execute(tx.conn())
    .await?;
    if made.rows_affected() == 0 {
        return Ok(None);
    }
    let actor = Actor { user_id: Some(user), ..actor.clone() };
    let entry = Entry::new(
        "user",
        "created",
        user.0,
        json!({ "by": "invitation", "managed_by": found.workspace_id }),
    );
    audit::record(tx, None, &actor, entry).await?;
    Ok(Some(user))
}

/// Makes an account that of its mailbox's reader: the password is theirs from now on, and all other credentials
/// become invalid.
async fn take_account(tx: &mut Tx, user: UserId, hash: &str, actor: &Actor) -> Result<(), sqlx::Error> {
    addresses::take_over(tx, user).await?;
    sqlx::query!(
        "update users set password_hash = $2, activated_at = coalesce(activated_at, now()), updated_at = now()
          where id = $1",
        user.0,
        hash,
    )
    .execute(tx.conn())
    .await?;
    sessions::end_all(tx, user, None, Ended::PasswordChanged).await?;
    personal_tokens::revoke_all(tx, user, actor).await?;
    sqlx::query!("update account_tokens set used_at = now() where user_id = $1 and used_at is null", user.0)
        .execute(tx.conn())
        .await?;
    let entry = Entry::new("password", "changed", user.0, json!({ "by": "invitation" }));
    audit::record(tx, None, actor, entry).await
}

/// The member in the workspace's own schema: with the profile that the inviter wrote, and otherwise empty, so that
/// it shows the account's values, now and later.
async fn create_member(
    tx: &mut Tx,
    workspace: WorkspaceId,
    user: UserId,
    member: MemberId,
    profile: InvitedProfile,
) -> Result<(), Error> {
    let person = sqlx::query!(
        "update users set current_workspace_id = coalesce(current_workspace_id, $2) where id = $1
         returning email, name",
        user.0,
        workspace.0,
    )
    .fetch_one(tx.conn())
    .await?;
    let mut scope = TenantScope::enter(tx, workspace).await?;
    let created = sqlx::query!(
        "insert into members (id, user_id, name, email, display_name, title, phone, bio)
         values ($1, $2, $3, $4, $5, $6, $7, $8)
         on conflict (user_id) do nothing",
        member.0,
        user.0,
        person.name,
        person.email,
        profile.display_name,
        profile.title,
        profile.phone,
        profile.bio,
    )
    .execute(scope.conn())
    .await?;
    scope.leave().await?;
    // A deactivated member: only a member with the permission reactivates it.
    if created.rows_affected() == 1 { Ok(()) } else { Err(already_member()) }
}
