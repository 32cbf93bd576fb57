//! What people may do to each other's accounts: in a workspace that both are in, whose role there equals or
//! outranks the other's, as far as their role holds the permission.
//!
//! An account reaches further than one workspace. What would hand it over, another address or a link to
//! choose a password, needs that authority in *all* workspaces that the person belongs to.

use jobs::{Database, Tx};
use serde_json::json;
use sqlx::{PgExecutor, PgPool};

use super::{
    User, UserError, find,
    letters::{page, reset_letter},
    passwords,
    profile::{self, Edited, ProfileChanges},
};
use crate::{
    Actor, UserId, WorkspaceId,
    access::Role,
    account_tokens::{self, HANDED_OVER_RESET, MAILED_RESET, NewToken, Purpose},
    audit::{self, Entry},
    callers::Authority,
    mail::{self, Brand, Cause},
    members::standing::{self, StandingError, To, Whose},
};

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

    fn everywhere(self) -> Self {
        Self { within: None, ..self }
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
            r#"select workspace_id as "workspace_id!", role as "role!: Role" from live_memberships
                where user_id = $1 and workspace_id = any($2)"#,
            other.0,
            &workspaces,
        )
        .fetch_all(database)
        .await?;
        let shared = own.into_iter().filter_map(|own| {
            let theirs = rows.iter().find(|row| row.workspace_id == own.workspace().0)?.role;
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

/// Somebody's profile, for who may see it.
///
/// # Errors
/// [`UserError::NotFound`] where the two share no workspace; [`UserError::Forbidden`] where the other one
/// outranks the caller in all that they share.
pub async fn view(pool: &PgPool, peer: Peer<'_>, other: UserId) -> Result<User, UserError> {
    if peer.caller != other {
        authority(peer.shared(pool, other).await?, "members:view")?;
    }
    find(pool, other).await?.ok_or(UserError::NotFound)
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

/// Checks that the caller may change somebody else's profile.
///
/// # Errors
/// As of [`view`], with the permission `members:edit`.
pub async fn check_may_edit(pool: &PgPool, peer: Peer<'_>, other: UserId) -> Result<(), UserError> {
    if peer.caller != other {
        authority(peer.shared(pool, other).await?, "members:edit")?;
    }
    Ok(())
}

/// Edits somebody else's profile (another address is confirmed by `link`), and their role in the workspace that is
/// named, or in the only one that the two share.
///
/// # Errors
/// As of [`check_may_edit`]; [`UserError::Forbidden`] also for a role above one's own, and for the address of
/// somebody whose account reaches further than the caller's authority; [`UserError::LastOwner`].
pub async fn edit(
    database: &Database,
    peer: Peer<'_>,
    other: UserId,
    changes: ProfileChanges,
    role: Option<Role>,
    link: &str,
    actor: &Actor,
) -> Result<Edited, UserError> {
    let mut tx = database.begin().await?;
    let both = peer.shared(tx.conn(), other).await?;
    // One's own profile takes no permission; one's own role does.
    let over = if peer.caller == other && role.is_none() { both } else { authority(both, "members:edit")? };
    let before = passwords::owner(tx.conn(), other).await?.email;
    if changes.moves_from(&before) {
        check_all_of_them(&mut tx, peer, other, "members:edit").await?;
    }
    if let Some(role) = role {
        let [only] = &over[..] else { return Err(UserError::Missing(vec!["X-Workspace-Id".to_owned()])) };
        change_role(&mut tx, only, other, role, actor).await?;
    }
    let edited = profile::edit(&mut tx, other, changes, link, actor).await?;
    tx.commit().await?;
    Ok(edited)
}

/// Checks that the caller has a say over somebody in every workspace that they belong to, and that they are
/// not staff, who reach further than any.
async fn check_all_of_them(
    tx: &mut Tx,
    peer: Peer<'_>,
    other: UserId,
    permission: &str,
) -> Result<(), UserError> {
    let over = authority(peer.everywhere().shared(tx.conn(), other).await?, permission)?;
    let over: Vec<_> = over.iter().map(|shared| shared.own.workspace()).collect();
    let theirs = standing::keeping(tx.conn(), other).await?;
    let is_staff = sqlx::query_scalar!("select is_staff from users where id = $1", other.0)
        .fetch_optional(tx.conn())
        .await?;
    if is_staff != Some(false) || theirs.iter().any(|keeping| !over.contains(&keeping.workspace)) {
        return Err(UserError::Forbidden(
            "their account opens more than you answer for: only they themselves can do this, by mail",
        ));
    }
    Ok(())
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
        standing::change(tx.conn(), workspace, shared.own.held(), Whose::Person(other.0), to).await?;
    let change = json!({ "user_id": other, "from": changed.from, "to": role });
    let entry = Entry::new("member", "role_changed", changed.member, change);
    audit::record(tx, Some(workspace), actor, entry).await?;
    Ok(())
}

/// Mails a member a link to choose a new password; good for an hour.
///
/// # Errors
/// [`UserError::NotFound`] for who isn't a member; [`UserError::Forbidden`] for who outranks the caller.
pub async fn mail_reset(
    database: &Database,
    admin: &Authority,
    member: UserId,
    link: &str,
    actor: &Actor,
) -> Result<(), UserError> {
    let mut tx = database.begin().await?;
    let (url, brand) = reset_link(&mut tx, admin, member, link, false, actor).await?;
    let passwords::Owner { email, name } = passwords::owner(tx.conn(), member).await?;
    let why = "an admin of your workspace asks you to choose a new password.";
    let letter = reset_letter((email, name), url, why);
    mail::post(&mut tx, letter, &brand, Cause::Member(admin.workspace()), actor).await?;
    Ok(tx.commit().await?)
}

/// A link for a member to choose a new password by, to be handed over; good for 24 hours. Whoever holds it
/// is let in, so it needs a say over all that the member's account opens.
///
/// # Errors
/// As of [`mail_reset`]; [`UserError::Forbidden`] also for who belongs to workspaces where the caller has no say,
/// and for programs, which have a say in one only.
pub async fn hand_over_reset(
    database: &Database,
    admin: &Authority,
    entered: &[Authority],
    member: UserId,
    link: &str,
    actor: &Actor,
) -> Result<String, UserError> {
    let Some(user) = admin.user() else {
        return Err(UserError::Forbidden("this is for people, not for programs"));
    };
    let mut tx = database.begin().await?;
    let (url, _) = reset_link(&mut tx, admin, member, link, true, actor).await?;
    check_all_of_them(&mut tx, Peer::new(user, entered, None), member, "members:reset_password").await?;
    tx.commit().await?;
    Ok(url)
}

async fn reset_link(
    tx: &mut Tx,
    admin: &Authority,
    member: UserId,
    link: &str,
    handed_over: bool,
    actor: &Actor,
) -> Result<(String, Brand), UserError> {
    let found = sqlx::query!(
        r#"select m.role as "role!: Role", w.name, w.branding
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
    let new = NewToken {
        user: member,
        purpose: Purpose::PasswordReset,
        workspace: Some(admin.workspace()),
        created_by: admin.user(),
        lifetime: if handed_over { HANDED_OVER_RESET } else { MAILED_RESET },
        is_mailed: !handed_over,
    };
    let token = account_tokens::issue(tx, new).await?;
    let link = link.parse().map_err(|_| sqlx::Error::Configuration("APP_URL makes no links".into()))?;
    let entry = Entry::new("password", "reset_allowed", member.0, json!({ "handed_over": handed_over }));
    audit::record(tx, Some(admin.workspace()), actor, entry).await?;
    Ok((page(link, "reset-password", &[("token", &token)]), Brand::of(&found.branding, &found.name)))
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
