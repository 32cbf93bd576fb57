//! Workspaces: their members, and their creation.

pub mod details;
pub mod provisioning;
pub mod removal;
pub mod roster;

mod branding;
mod slug;

use chrono::{DateTime, Utc};
use domain::{
    Actor, MemberId, UserId, WorkspaceDb, WorkspaceId,
    access::{Held, Role},
    callers::{Authority, switched_to},
};
use poem_openapi::Object;
use sqlx::PgPool;

pub use branding::{Branding, BrandingChanges};
pub use details::{Workspace, WorkspaceChanges};

/// A caller who changes the members of a workspace.
#[derive(Debug, Clone, Copy)]
pub struct Host<'a> {
    /// Workspace.
    pub(crate) workspace: WorkspaceId,
    /// Role of the caller there.
    pub(crate) role: Role,
    /// Actor.
    pub(crate) actor: &'a Actor,
    /// Permissions of the caller there.
    pub(crate) held: &'a Held,
    /// User who answers for the change: the caller, or the maker of the key.
    pub(crate) answerable: UserId,
}

impl<'a> Host<'a> {
    /// The holder of that authority, in one request.
    #[must_use]
    pub fn new(authority: &'a Authority, actor: &'a Actor) -> Self {
        Self {
            workspace: authority.workspace(),
            role: authority.role(),
            actor,
            held: authority.held(),
            answerable: authority.answerable(),
        }
    }
}

/// A workspace, as a member sees it.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct Membership {
    /// Workspace id.
    pub id: WorkspaceId,
    /// Name.
    pub name: String,
    /// Slug: the name in URLs.
    pub slug: String,
    /// Role of the user in it.
    pub role: String,
}

/// A user's member in a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct Member {
    /// Member id.
    pub id: MemberId,
    /// Account id.
    pub user_id: UserId,
    /// Name shown in this workspace.
    pub name: String,
    /// Email address.
    pub email: String,
    /// Role in this workspace.
    pub role: Role,
    /// Job title; null if none is set.
    pub title: Option<String>,
    /// Phone number; null if none is set.
    pub phone: Option<String>,
    /// Short biography; null if none is set.
    pub bio: Option<String>,
    /// URL of the avatar image; null if none is set.
    pub avatar_url: Option<String>,
    /// Time of joining the workspace.
    pub created_at: DateTime<Utc>,
}

/// The workspaces that a user may enter now, sorted by name.
pub async fn entered(pool: &PgPool, authorities: &[Authority]) -> Result<Vec<Membership>, sqlx::Error> {
    let ids: Vec<_> = authorities.iter().map(|authority| authority.workspace().0).collect();
    let roles: Vec<_> = authorities.iter().map(|authority| authority.role().name().to_owned()).collect();
    sqlx::query_as!(
        Membership,
        r#"select w.id, w.name, w.slug, o.role as "role!"
             from unnest($1::uuid[], $2::text[]) as o (id, role)
             join workspaces w on w.id = o.id
            order by w.name, w.id"#,
        &ids,
        &roles,
    )
    .fetch_all(pool)
    .await
}

/// The workspace that a user has last switched to, if the user may enter it now.
pub async fn current(
    pool: &PgPool,
    user: UserId,
    authorities: &[Authority],
) -> Result<Option<WorkspaceId>, sqlx::Error> {
    let current = switched_to(pool, user).await?;
    Ok(current.filter(|id| authorities.iter().any(|authority| authority.workspace() == *id)))
}

/// The member of the acting user, with that role. Values that are not set in this workspace are those of
/// the account.
pub async fn own_member(db: &mut WorkspaceDb, role: Role) -> Result<Option<Member>, sqlx::Error> {
    let user = db.user_id();
    let query = sqlx::query_as!(
        Member,
        r#"select m.id, m.user_id, coalesce(m.display_name, m.name) as "name!", m.email,
                  $2::text as "role!: Role", coalesce(m.title, u.title) as title,
                  coalesce(m.phone, u.phone) as phone, coalesce(m.bio, u.bio) as bio,
                  coalesce(m.avatar_url, 'avatar:' || u.avatar_key, u.avatar_url) as avatar_url, m.created_at
             from members m join users u on u.id = m.user_id
            where m.user_id = $1 and m.is_active"#,
        user,
        role.name(),
    );
    db.with_accounts(async |accounts| query.fetch_optional(accounts.conn()).await).await
}
