//! What people may do to each other: in a workspace that both are in, whose role there equals or outranks the
//! other's, as far as their role holds the permission.
//!
//! An account belongs to its person. An admin changes how somebody is shown in the workspace, which is their member
//! there; the account itself, its address and its password only where the workspace manages it
//! ([`is_managed`]). Whoever's account is their own is asked by mail.

use chrono::Duration;
use domain::{
    Actor, Event, UserId, WorkspaceId,
    access::{Role, Scope},
    audit::{self, Entry},
    callers::Authority,
    mail::{self, Action, Brand, Cause, Letter},
    standing::{self, StandingError, To, Whose, is_managed},
    tenant_scope::TenantScope,
};
use jobs::{Database, Tx};
use serde_json::json;
use sqlx::PgExecutor;
use url::Url;

use super::{
    User, UserError, find,
    letters::{page, reset_letter},
    passwords,
    profile::{self, Edited, ProfileChanges},
};
use crate::account_tokens::{self, HANDED_OVER_RESET, MAILED_RESET, NewToken, Purpose};

/// What a caller brings to somebody else's account: who they are, and their authority wherever they may enter now.
#[derive(Debug, Clone, Copy)]
pub struct Peer<'a> {
    caller: UserId,
    entered: &'a [Authority],
    within: Option<WorkspaceId>,
}

/// A workspace that two people are in.
struct Shared<'a> {
    own: &'a Authority,
    /// What the other one is there.
    theirs: Role,
}

impl<'a> Peer<'a> {
    /// A person with their authorities, of which only the one in the workspace that is named counts where no more
    /// is needed.
    #[must_use]
    pub fn new(caller: UserId, entered: &'a [Authority], within: Option<WorkspaceId>) -> Self {
        Self { caller, entered, within }
    }

    /// The workspaces that both are in, or the one that is named if both are.
    async fn shared(
        self,
        database: impl PgExecutor<'_>,
        other: UserId,
    ) -> Result<Vec<Shared<'a>>, sqlx::Error> {
        let counts = |own: &&Authority| self.within.is_none_or(|workspace| workspace == own.workspace());
        let own: Vec<_> = self.entered.iter().filter(counts).collect();
        let workspaces: Vec<_> = own.iter().map(|own| own.workspace().0).collect();
        let rows = sqlx::query!(
            r#"select workspace_id as "workspace_id!", role as "role!" from live_memberships
                where user_id = $1 and workspace_id = any($2)"#,
            other.0,
            &workspaces,
        )
        .fetch_all(database)
        .await?;
        let shared = own.into_iter().filter_map(|own| {
            let theirs = rows.iter().find(|row| row.workspace_id == own.workspace())?.role;
            Some(Shared { own, theirs })
        });
        Ok(shared.collect())
    }
}

impl Shared<'_> {
    fn outranks(&self, permission: &str) -> bool {
        self.own.may(permission) && self.own.role() >= self.theirs
    }
}

/// Somebody's profile as it is in a workspace that the two share, for who may see it; one's own is the account's.
///
/// # Errors
/// [`UserError::NotFound`] where the two share no workspace; [`UserError::Forbidden`] where the other one
/// outranks the caller in all that they share.
pub async fn view(database: &Database, peer: Peer<'_>, other: UserId) -> Result<User, UserError> {
    if peer.caller == other {
        return find(&database.pool, other).await?.ok_or(UserError::NotFound);
    }
    // Nothing is written: dropped, it rolls back.
    let mut tx = database.begin().await?;
    let over = authority(peer.shared(tx.conn(), other).await?, "members:view")?;
    let Some(place) = over.first() else { return Err(UserError::NotFound) };
    shown_in(&mut tx, place.own.workspace(), other).await
}

/// An account as a workspace shows it: the values of the member there, and else those of the account. The address that
/// is to replace the account's is shown where the workspace manages the account.
async fn shown_in(tx: &mut Tx, workspace: WorkspaceId, user: UserId) -> Result<User, UserError> {
    let account = find(tx.conn(), user).await?.ok_or(UserError::NotFound)?;
    let is_managed = is_managed(tx.conn(), user, workspace).await?;
    let mut scope = TenantScope::enter(tx, workspace).await?;
    let member = sqlx::query!(
        "select display_name, title, phone, bio, avatar_url from members where user_id = $1",
        user.0,
    )
    .fetch_optional(scope.conn())
    .await?
    .ok_or(UserError::NotFound)?;
    scope.leave().await?;
    Ok(User {
        name: member.display_name.unwrap_or(account.name),
        title: member.title.or(account.title),
        phone: member.phone.or(account.phone),
        bio: member.bio.or(account.bio),
        avatar_url: member.avatar_url.or(account.avatar_url),
        pending_email: account.pending_email.filter(|_| is_managed),
        ..account
    })
}

/// Those of the shared workspaces in which the caller has a say over the other one; at least one.
fn authority<'a>(shared: Vec<Shared<'a>>, permission: &str) -> Result<Vec<Shared<'a>>, UserError> {
    if shared.is_empty() {
        return Err(UserError::NotFound);
    }
    let over: Vec<_> = shared.into_iter().filter(|shared| shared.outranks(permission)).collect();
    if over.is_empty() {
        return Err(UserError::Forbidden(
            "this needs a role that equals or outranks theirs, with the permission for it",
        ));
    }
    Ok(over)
}

/// Whose picture a caller may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureOf {
    /// The account's, in all of its workspaces.
    Account,
    /// The member's of that workspace.
    Member(WorkspaceId),
}

/// Which picture of somebody the caller may set.
///
/// # Errors
/// As of [`edit`].
pub async fn picture_of(database: &Database, peer: Peer<'_>, other: UserId) -> Result<PictureOf, UserError> {
    if peer.caller == other {
        return Ok(PictureOf::Account);
    }
    let mut tx = database.begin().await?;
    let over = authority(peer.shared(tx.conn(), other).await?, "members:edit")?;
    let place = only(&over)?.own.workspace();
    let is_managed = is_managed(tx.conn(), other, place).await?;
    Ok(if is_managed { PictureOf::Account } else { PictureOf::Member(place) })
}

/// The one workspace that a change is about.
fn only<'a, 'b>(over: &'a [Shared<'b>]) -> Result<&'a Shared<'b>, UserError> {
    match over {
        [only] => Ok(only),
        _ => Err(UserError::Missing(vec!["X-Workspace-Id".to_owned()])),
    }
}

/// Edits somebody else's profile in the workspace that is named, or in the only one that the two share, and their
/// role there: their account where the workspace manages it (another address is confirmed by `link`), and else their
/// member.
///
/// # Errors
/// [`UserError::NotFound`] and [`UserError::Forbidden`] as of [`view`], with the permission `members:edit`;
/// [`UserError::Forbidden`] also for a role above one's own, and for the address of an account that the workspace
/// doesn't manage; [`UserError::Missing`] of the workspace where the two share several; [`UserError::LastOwner`].
pub async fn edit(
    tx: &mut Tx,
    peer: Peer<'_>,
    other: UserId,
    changes: ProfileChanges,
    role: Option<Role>,
    link: &str,
    actor: &Actor,
) -> Result<Edited, UserError> {
    let both = peer.shared(tx.conn(), other).await?;
    // One's own profile takes no permission; one's own role does.
    let over = if peer.caller == other && role.is_none() { both } else { authority(both, "members:edit")? };
    if let Some(role) = role {
        change_role(tx, only(&over)?, other, role, actor).await?;
    }
    let before = passwords::owner(tx.conn(), other).await?.email;
    if peer.caller != other && is_managed(tx.conn(), other, only(&over)?.own.workspace()).await? {
        if changes.moves_from(&before) {
            check_covers(tx, only(&over)?.own, other).await?;
        }
        return profile::edit(tx, other, changes, link, actor).await;
    }
    if changes.moves_from(&before) {
        return Err(UserError::Forbidden(
            "the address is the account's: only its owner changes it, at /auth/me",
        ));
    }
    let changes = ProfileChanges { email: None, ..changes };
    if peer.caller == other {
        profile::edit(tx, other, changes, link, actor).await
    } else {
        let place = only(&over)?.own.workspace();
        if changes == ProfileChanges::default() {
            tx.mark_noted(); // nothing changes but the role, which is noted
        } else {
            profile::edit_member(tx, (place, other), changes, actor).await?;
        }
        Ok(Edited { user: shown_in(tx, place, other).await?, dropped_picture: None })
    }
}

async fn change_role(
    tx: &mut Tx,
    shared: &Shared<'_>,
    other: UserId,
    role: Role,
    actor: &Actor,
) -> Result<(), UserError> {
    if role == shared.theirs {
        return Ok(());
    }
    let (workspace, to) = (shared.own.workspace(), To { role: Some(role), is_active: None });
    let changed =
        standing::change(tx.conn(), workspace, (shared.own.held(), actor), Whose::Person(other), to).await?;
    let data = json!({ "user_id": other, "fields": ["role"], "from": changed.from, "role": role });
    Event::new("member", "updated", changed.member, data).record(tx, workspace, actor).await?;
    Ok(())
}

/// Mails a member what they need to choose a new password: a link that is good for an hour, where the workspace
/// manages their account; and else the page on which they ask for one themselves.
///
/// # Errors
/// [`UserError::NotFound`] for who isn't a member; [`UserError::Forbidden`] for who outranks the caller.
pub async fn mail_reset(
    tx: &mut Tx,
    admin: &Authority,
    member: UserId,
    link: &str,
    actor: &Actor,
) -> Result<(), UserError> {
    let brand = check_may_reset(tx, admin, member).await?;
    let passwords::Owner { email, name } = passwords::owner(tx.conn(), member).await?;
    let why = "an admin of your workspace asks you to choose a new password.";
    let letter = if is_managed(tx.conn(), member, admin.workspace()).await? {
        check_covers(tx, admin, member).await?;
        let url = reset_link(tx, admin, member, link, MAILED_RESET).await?;
        reset_letter((email, name), url, why)
    } else {
        ask_for_reset((email, name), page(parsed(link)?, "forgot-password", &[]), why)
    };
    note_reset(tx, admin, member, "mail", actor).await?;
    Ok(mail::post(tx, letter, &brand, Cause::Member(admin.workspace()), actor).await?)
}

/// The letter to a person whose account is their own: what they are asked, and where they would do it. It lets nobody
/// in, and touches no link that they have asked for.
fn ask_for_reset((to, name): (String, String), url: String, why: &str) -> Letter {
    Letter {
        to,
        name,
        subject: "Choose a new password".to_owned(),
        lines: vec![why.to_owned()],
        action: Some(Action { label: "Ask for a link".to_owned(), url }),
        after: vec!["If you don't want a new password, do nothing: the old one stays as it is.".to_owned()],
    }
}

/// A link for a member to choose a new password by, to be handed over; good for 24 hours. Whoever holds it
/// is let in, so it is only for accounts that the workspace manages.
///
/// # Errors
/// As of [`mail_reset`]; [`UserError::Forbidden`] also for an account that the workspace doesn't manage, and for
/// programs.
pub async fn hand_over_reset(
    tx: &mut Tx,
    admin: &Authority,
    member: UserId,
    link: &str,
    actor: &Actor,
) -> Result<String, UserError> {
    if admin.user().is_none() {
        return Err(UserError::Forbidden("this is for people, not for programs"));
    }
    check_may_reset(tx, admin, member).await?;
    if !is_managed(tx.conn(), member, admin.workspace()).await? {
        return Err(UserError::Forbidden(
            "the account is its owner's: only they can choose a new password, by mail",
        ));
    }
    check_covers(tx, admin, member).await?;
    let url = reset_link(tx, admin, member, link, HANDED_OVER_RESET).await?;
    note_reset(tx, admin, member, "link", actor).await?;
    Ok(url)
}

/// Checks that an admin may let a member choose a new password; answers in which brand they write.
async fn check_may_reset(tx: &mut Tx, admin: &Authority, member: UserId) -> Result<Brand, UserError> {
    let found = sqlx::query!(
        r#"select m.role as "role!", w.name, w.branding
           from live_memberships m join workspaces w on w.id = m.workspace_id
          where m.workspace_id = $1 and m.user_id = $2"#,
        admin.workspace().0,
        member.0,
    )
    .fetch_optional(tx.conn())
    .await?
    .ok_or(UserError::NotFound)?;
    if found.role > admin.role() {
        return Err(UserError::Forbidden("this needs a role that equals or outranks theirs"));
    }
    Ok(Brand::of(&found.branding, &found.name))
}

/// Checks that an admin holds all that a member does: opening an account, or moving it to another address, gives all
/// that its owner may do.
async fn check_covers(tx: &mut Tx, admin: &Authority, member: UserId) -> Result<(), UserError> {
    let scopes = vec![Scope::All];
    if standing::covers_program(tx.conn(), admin.workspace(), admin.held(), member, scopes).await? {
        Ok(())
    } else {
        Err(StandingError::MoreThanHeld(admin.role()).into())
    }
}

async fn reset_link(
    tx: &mut Tx,
    admin: &Authority,
    member: UserId,
    link: &str,
    lifetime: Duration,
) -> Result<String, UserError> {
    let new = NewToken {
        user: member,
        purpose: Purpose::PasswordReset,
        workspace: Some(admin.workspace()),
        created_by: admin.user(),
        lifetime,
        is_mailed: lifetime == MAILED_RESET,
    };
    let token = account_tokens::issue(tx, new).await?;
    Ok(page(parsed(link)?, "reset-password", &[("token", &token)]))
}

async fn note_reset(
    tx: &mut Tx,
    admin: &Authority,
    member: UserId,
    by: &str,
    actor: &Actor,
) -> Result<(), sqlx::Error> {
    let entry = Entry::new("password", "reset_allowed", member.0, json!({ "by": by }));
    audit::record(tx, Some(admin.workspace()), actor, entry).await
}

fn parsed(link: &str) -> Result<Url, sqlx::Error> {
    link.parse().map_err(|_| sqlx::Error::Configuration("APP_URL makes no links".into()))
}

impl From<StandingError> for UserError {
    fn from(error: StandingError) -> Self {
        match error {
            StandingError::NotFound => Self::NotFound,
            StandingError::Above(_) => Self::Forbidden("nobody can give a role above their own"),
            StandingError::MoreThanHeld(_) => Self::Forbidden("that role may do what the caller may not"),
            StandingError::LastOwner => Self::LastOwner,
            StandingError::Database(error) => Self::Database(error),
        }
    }
}
