//! Being invited: seeing what an invitation leads to, and accepting it, once.
//!
//! Account, membership and the member in the workspace's schema are one commit.

use chrono::{DateTime, Utc};
use domain::{
    Actor, Email, Event, MemberId, UserId, WorkspaceId,
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

use super::{Backing, InvitationError, InvitedProfile};
use crate::invitations::InvitationId;
use crate::{
    personal_tokens,
    sessions::{self, Ended},
    signups,
    users::{Password, addresses, passwords},
};

/// What an invitation leads to, for the page that accepts it.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct InvitationPreview {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// What it is called.
    pub workspace_name: String,
    /// Who invited; none when a program did, or they are gone.
    pub inviter_name: Option<String>,
    /// Invited address.
    pub email: String,
    /// Role on acceptance.
    pub role: Role,
    /// Whether accepting takes a sign-in with the invited address: the link was handed over, not mailed.
    pub requires_sign_in: bool,
    /// Whether a password has to be chosen to accept without signing in: there is no account with the address, or its
    /// owner has not verified the address or chosen a password. Always false for a link that was handed over.
    pub requires_password: bool,
    /// Whether accepting makes an account. The workspace then manages it until its owner joins another one. Always
    /// false for a link that was handed over.
    pub creates_account: bool,
    /// Until when it can be accepted.
    pub expires_at: DateTime<Utc>,
}

/// An invitation that waits for the caller.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct OwnInvitation {
    /// Id of the invitation, with which it is accepted.
    pub id: InvitationId,
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// What it is called.
    pub workspace_name: String,
    /// Who invited; none when a program did, or they are gone.
    pub inviter_name: Option<String>,
    /// Role on acceptance.
    pub role: Role,
    /// When it was last sent.
    pub sent_at: DateTime<Utc>,
    /// Until when it can be accepted.
    pub expires_at: DateTime<Utc>,
}

/// Someone has come in.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct AcceptedInvitation {
    /// Where.
    pub workspace_id: WorkspaceId,
    /// What it is called.
    pub workspace_name: String,
    /// The member that they are there.
    pub member_id: MemberId,
    /// The person.
    pub user_id: UserId,
    /// The address that they sign in with.
    pub email: String,
    /// What they are there.
    pub role: Role,
}

/// With what somebody comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Came {
    /// With the token of a link.
    WithToken(String),
    /// With a sign-in, to accept the invitation of that id.
    ToAccept(InvitationId),
}

/// Somebody who accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answering {
    /// With what they come.
    pub came: Came,
    /// Who has signed in, in person.
    pub signed_in: Option<UserId>,
    /// What a new account is to be called.
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
    /// Whether its owner has shown that the address is theirs.
    is_verified: bool,
}

impl Account {
    /// Whether reading the mailbox is enough to be its owner. An account of an address that nobody has verified may
    /// be anybody's, with a password of theirs: who reads the mailbox chooses a new one.
    fn is_its_readers(&self) -> bool {
        self.has_password && self.is_verified
    }
}

impl Found {
    /// An invitation, if it can be accepted.
    async fn good(conn: &mut PgConnection, came: &Came) -> Result<Self, InvitationError> {
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
        .ok_or(InvitationError::NotFound)?;
        match found {
            _ if found.accepted_at.is_some() => Err(InvitationError::Accepted),
            _ if found.cancelled_at.is_some() || !found.is_backed() => Err(InvitationError::Cancelled),
            _ if found.expires_at <= jobs::clock::now() => Err(InvitationError::Expired),
            _ => Ok(found),
        }
    }

    /// Whether the person who answers for it could still send it.
    fn is_backed(&self) -> bool {
        let backing = Backing {
            role: self.backing_role,
            overrides: self.backing_overrides.clone(),
            offered_overrides: self.offered_overrides.clone(),
        };
        backing.holds(self.role)
    }

    /// The account of the invited address.
    async fn account(&self, conn: &mut PgConnection) -> Result<Option<Account>, InvitationError> {
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

    /// Checks that whoever came may accept: with a mailed token, which shows that they read the mailbox, or signed in
    /// to the account of the address. To anybody else it says the same whatever account there is.
    fn check(&self, account: Option<&Account>, answering: &Answering) -> Result<(), InvitationError> {
        let has_mail = self.is_mailed && matches!(answering.came, Came::WithToken(_));
        match (answering.signed_in, account) {
            (Some(user), Some(account)) if user == account.id => {
                if !has_mail && !account.is_verified {
                    return Err(InvitationError::NotVerified);
                }
            }
            (Some(_), _) if matches!(answering.came, Came::ToAccept(_)) => {
                return Err(InvitationError::NotFound);
            }
            (Some(_), _) => return Err(InvitationError::OfAnother),
            (None, _) if has_mail => {}
            (None, _) => return Err(InvitationError::SignInFirst),
        }
        if account.is_some_and(|account| !account.is_active) {
            return Err(InvitationError::Cancelled);
        }
        Ok(())
    }
}

/// What a query finds an invitation by.
fn named(came: &Came) -> (Option<Vec<u8>>, Option<Uuid>) {
    match came {
        Came::WithToken(token) => (Some(secret::hash(token)), None),
        Came::ToAccept(id) => (None, Some(id.0)),
    }
}

/// What a token leads to.
///
/// # Errors
/// [`InvitationError::NotFound`] for a token that is unknown or was replaced, and why one is not good any more.
pub async fn preview(database: &Database, token: &str) -> Result<InvitationPreview, InvitationError> {
    let mut conn = database.pool.acquire().await?;
    let found = Found::good(&mut conn, &Came::WithToken(token.to_owned())).await?;
    // Whoever made a link to hand over holds it, too, and is told nothing of the address.
    let account = if found.is_mailed { Some(found.account(&mut conn).await?) } else { None };
    if account.as_ref().is_some_and(|account| account.as_ref().is_some_and(|account| !account.is_active)) {
        return Err(InvitationError::Cancelled);
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

/// The invitations that wait for a person's verified address and can be accepted, the newest first.
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

/// Hashes the password that whoever accepts has to choose, before any transaction, since that takes a while. None
/// where none is needed: then nothing is looked at.
///
/// # Errors
/// Those of [`accept`]; [`InvitationError::PasswordMissing`] and [`InvitationError::Password`].
pub async fn password_hash(
    database: &Database,
    answering: &Answering,
    password: Option<String>,
) -> Result<Option<String>, InvitationError> {
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
    let password = password.ok_or(InvitationError::PasswordMissing)?;
    let email = found.email.parse::<Email>().ok();
    let password =
        Password::parse_at_least(password, email.as_ref(), fewest).map_err(InvitationError::Password)?;
    let hash = password.hash().await?;
    Ok(Some(hash))
}

/// Lets somebody in: account where there was none, membership and member. `hash` is that of [`password_hash`].
/// However many come with one invitation at once, one is let in.
///
/// # Errors
/// Those of [`preview`]; [`InvitationError::SignInFirst`], [`InvitationError::OfAnother`] and
/// [`InvitationError::NotVerified`] for who doesn't show that the invitation is theirs;
/// [`InvitationError::AlreadyMember`].
pub async fn accept(
    tx: &mut Tx,
    answering: &Answering,
    hash: Option<&str>,
    actor: &Actor,
) -> Result<AcceptedInvitation, InvitationError> {
    lock(tx, &answering.came).await?;
    let found = Found::good(tx.conn(), &answering.came).await?;
    let account = found.account(tx.conn()).await?;
    found.check(account.as_ref(), answering)?;
    let workspace = found.workspace_id;
    // The token, or the sign-in, shows who it is.
    let acting = |user| Actor { user_id: Some(user), ..actor.clone() };
    let made = match &account {
        None => make_account(tx, &found, answering, hash, actor).await?,
        Some(_) => None,
    };
    let account = match (&made, account) {
        // Somebody was quicker: the address has an account by now.
        (None, None) => {
            lock(tx, &answering.came).await?;
            found.account(tx.conn()).await?
        }
        (_, account) => account,
    };
    let user = match (made, account) {
        (Some(user), _) => user,
        (None, None) => return Err(InvitationError::NotFound),
        (None, Some(account)) => {
            let user = account.id;
            if answering.signed_in.is_none() && !account.is_its_readers() {
                let hash = hash.ok_or(InvitationError::PasswordMissing)?;
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
    // A membership that was kept when they were taken out is taken up again.
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
    .ok_or(InvitationError::AlreadyMember)?;
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

/// Whoever comes with the same invitation waits here; so does whoever takes the person out of another workspace,
/// who may delete their account. The person comes before the invitation in both.
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

/// An account of the address, managed by the workspace that has invited it; none when it has one by now.
async fn make_account(
    tx: &mut Tx,
    found: &Found,
    answering: &Answering,
    hash: Option<&str>,
    actor: &Actor,
) -> Result<Option<UserId>, InvitationError> {
    let hash = hash.ok_or(InvitationError::PasswordMissing)?;
    let said = answering.name.as_deref().or(found.profile.0.display_name.as_deref());
    let local_part = found.email.rsplit_once('@').map_or(found.email.as_str(), |(local, _)| local);
    let name = signups::name(said.unwrap_or(local_part)).map_err(InvitationError::Name)?;
    let user = UserId::new();
    // A sign-up of the address that is under way will find it taken.
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

/// Makes an account its mailbox's reader's: the password is theirs from now on, and whatever let anybody else in
/// is worthless.
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

/// The member in the workspace's own schema: with what the inviter wrote, and else with nothing of its own, so that
/// it shows what the account says, now and later.
async fn create_member(
    tx: &mut Tx,
    workspace: WorkspaceId,
    user: UserId,
    member: MemberId,
    profile: InvitedProfile,
) -> Result<(), InvitationError> {
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
    // Somebody who is here and switched off: whoever may switches them on.
    if created.rows_affected() == 1 { Ok(()) } else { Err(InvitationError::AlreadyMember) }
}
