//! Actions of users on each other's profiles: in a workspace that both belong to, where the caller's role equals or
//! outranks the other's, as far as that role has the permission.
//!
//! An account belongs to its owner. An admin changes how a user is shown in the workspace, which is the member
//! there; the account itself, its address and its password only where the workspace manages it
//! ([`is_managed`]). The owner of any other account is asked by email.

use chrono::Duration;
use domain::{
    Actor, Error, Event, UserId, WorkspaceId,
    access::{Role, Scope},
    audit::{self, Entry},
    callers::Authority,
    mail::{self, Action, Brand, Cause, Letter},
    standing::{self, To, Whose, is_managed},
    tenant_scope::TenantScope,
};
use jobs::{Database, Tx};
use serde_json::json;
use sqlx::PgExecutor;
use url::Url;

use super::{
    User, find,
    letters::{page, reset_letter},
    passwords,
    profile::{self, Edited, ProfileChanges},
};
use crate::account_tokens::{self, HANDED_OVER_RESET, MAILED_RESET, NewToken, Purpose};

/// The caller of an action on another account, with the authority wherever the caller may enter now.
#[derive(Debug, Clone, Copy)]
pub struct Peer<'a> {
    caller: UserId,
    entered: &'a [Authority],
    within: Option<WorkspaceId>,
}

/// A workspace that two users belong to.
struct Shared<'a> {
    own: &'a Authority,
    /// Role of the other user there.
    theirs: Role,
}

impl<'a> Peer<'a> {
    /// A user with their authorities; with a given workspace, only the one there counts for actions that need
    /// a permission.
    #[must_use]
    pub fn new(caller: UserId, entered: &'a [Authority], within: Option<WorkspaceId>) -> Self {
        Self { caller, entered, within }
    }

    /// The workspaces that both belong to, or the given one if both do.
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

/// A user's profile as shown in a workspace that both belong to, if the caller may see it; the caller's own is the
/// account's.
///
/// # Errors
/// `record_not_found` if the two share no workspace; `forbidden` if the other one
/// outranks the caller in all that they share.
pub async fn view(database: &Database, peer: Peer<'_>, other: UserId) -> Result<User, Error> {
    if peer.caller == other {
        return find(&database.pool, other).await?.ok_or_else(Error::not_found);
    }
    // Nothing is written: dropped, it rolls back.
    let mut tx = database.begin().await?;
    let over = authority(peer.shared(tx.conn(), other).await?, "members:view")?;
    let Some(place) = over.first() else { return Err(Error::not_found()) };
    shown_in(&mut tx, place.own.workspace(), other).await
}

/// An account as shown in a workspace: the values of the member there, and else those of the account. The
/// pending address is shown where the workspace manages the account.
async fn shown_in(tx: &mut Tx, workspace: WorkspaceId, user: UserId) -> Result<User, Error> {
    let account = find(tx.conn(), user).await?.ok_or_else(Error::not_found)?;
    let is_managed = is_managed(tx.conn(), user, workspace).await?;
    let mut scope = TenantScope::enter(tx, workspace).await?;
    let member = sqlx::query!(
        "select display_name, title, phone, bio, avatar_url from members where user_id = $1",
        user.0,
    )
    .fetch_optional(scope.conn())
    .await?
    .ok_or_else(Error::not_found)?;
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

/// Those of the shared workspaces in which the caller may act on the other one; at least one.
fn authority<'a>(shared: Vec<Shared<'a>>, permission: &str) -> Result<Vec<Shared<'a>>, Error> {
    if shared.is_empty() {
        return Err(Error::not_found());
    }
    let over: Vec<_> = shared.into_iter().filter(|shared| shared.outranks(permission)).collect();
    if over.is_empty() {
        return Err(Error::forbidden(
            "a role that equals or outranks the user's is required, with the permission",
        ));
    }
    Ok(over)
}

/// The image that a caller may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureOf {
    /// The account's, for all of its workspaces.
    Account,
    /// The member's, for that workspace.
    Member(WorkspaceId),
}

/// The image of another user that the caller may set.
///
/// # Errors
/// As of [`edit`].
pub async fn picture_of(database: &Database, peer: Peer<'_>, other: UserId) -> Result<PictureOf, Error> {
    if peer.caller == other {
        return Ok(PictureOf::Account);
    }
    let mut tx = database.begin().await?;
    let over = authority(peer.shared(tx.conn(), other).await?, "members:edit")?;
    let place = only(&over)?.own.workspace();
    let is_managed = is_managed(tx.conn(), other, place).await?;
    Ok(if is_managed { PictureOf::Account } else { PictureOf::Member(place) })
}

/// The one workspace of a change.
fn only<'a, 'b>(over: &'a [Shared<'b>]) -> Result<&'a Shared<'b>, Error> {
    match over {
        [only] => Ok(only),
        _ => Err(Error::missing(["X-Workspace-Id"])),
    }
}

/// Changes another user's profile in the given workspace, or in the only one that the two share, and the user's
/// role there: the account where the workspace manages it (another address is confirmed by `link`), and else the
/// member.
///
/// # Errors
/// `record_not_found` and `forbidden` as of [`view`], with the permission `members:edit`;
/// `forbidden` also for a role above the caller's, and for the address of an account that the workspace
/// doesn't manage; `parameter_missing` of the workspace if the two share several; `last_owner`.
pub async fn edit(
    tx: &mut Tx,
    peer: Peer<'_>,
    other: UserId,
    changes: ProfileChanges,
    role: Option<Role>,
    link: &str,
    actor: &Actor,
) -> Result<Edited, Error> {
    let both = peer.shared(tx.conn(), other).await?;
    // The own profile needs no permission; the own role does.
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
        return Err(Error::forbidden("only the account's owner can change its address, at /auth/me"));
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
) -> Result<(), Error> {
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

/// Emails a member the means to reset the password: a link that is valid for an hour, where the workspace
/// manages the account; and else a link to the page for requesting one.
///
/// # Errors
/// `record_not_found` if there is no such member; `forbidden` if the member outranks the caller.
pub async fn mail_reset(
    tx: &mut Tx,
    admin: &Authority,
    member: UserId,
    link: &str,
    actor: &Actor,
) -> Result<(), Error> {
    let brand = check_may_reset(tx, admin, member).await?;
    let passwords::Owner { email, name } = passwords::owner(tx.conn(), member).await?;
    let why = "An admin of your workspace asks you to choose a new password.";
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

/// The email to the owner of an account that no workspace manages: the request, and the page for it. It gives no
/// access, and affects no link that the owner has requested.
fn ask_for_reset((to, name): (String, String), url: String, why: &str) -> Letter {
    Letter {
        to,
        name,
        subject: "Choose a new password".to_owned(),
        lines: vec![why.to_owned()],
        action: Some(Action { label: "Ask for a link".to_owned(), url }),
        after: vec![
            "If you don't want a new password, ignore this email; your password stays valid.".to_owned(),
        ],
    }
}

/// A link for a member to reset the password, to be handed over; valid for 24 hours. Its holder
/// gets access, so it is only for accounts that the workspace manages.
///
/// # Errors
/// As of [`mail_reset`]; `forbidden` also for an account that the workspace doesn't manage, and for
/// API keys.
pub async fn hand_over_reset(
    tx: &mut Tx,
    admin: &Authority,
    member: UserId,
    link: &str,
    actor: &Actor,
) -> Result<String, Error> {
    if admin.user().is_none() {
        return Err(Error::forbidden("this endpoint requires a user session"));
    }
    check_may_reset(tx, admin, member).await?;
    if !is_managed(tx.conn(), member, admin.workspace()).await? {
        return Err(Error::forbidden("only the account's owner can reset its password, by email"));
    }
    check_covers(tx, admin, member).await?;
    let url = reset_link(tx, admin, member, link, HANDED_OVER_RESET).await?;
    note_reset(tx, admin, member, "link", actor).await?;
    Ok(url)
}

/// Checks that an admin may reset a member's password; answers the brand of the email.
async fn check_may_reset(tx: &mut Tx, admin: &Authority, member: UserId) -> Result<Brand, Error> {
    let found = sqlx::query!(
        r#"select m.role as "role!", w.name, w.branding
           from live_memberships m join workspaces w on w.id = m.workspace_id
          where m.workspace_id = $1 and m.user_id = $2"#,
        admin.workspace().0,
        member.0,
    )
    .fetch_optional(tx.conn())
    .await?
    .ok_or_else(Error::not_found)?;
    if found.role > admin.role() {
        return Err(Error::forbidden("a role that equals or outranks the user's is required"));
    }
    Ok(Brand::of(&found.branding, &found.name))
}

/// Checks that an admin has all permissions of a member: access to an account, or changing its address, gives all
/// permissions of its owner.
async fn check_covers(tx: &mut Tx, admin: &Authority, member: UserId) -> Result<(), Error> {
    let scopes = vec![Scope::All];
    if standing::covers_program(tx.conn(), admin.workspace(), admin.held(), member, scopes).await? {
        Ok(())
    } else {
        Err(Error::forbidden("the account has permissions that you lack"))
    }
}

async fn reset_link(
    tx: &mut Tx,
    admin: &Authority,
    member: UserId,
    link: &str,
    lifetime: Duration,
) -> Result<String, Error> {
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
