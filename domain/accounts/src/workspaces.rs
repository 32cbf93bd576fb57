//! Workspaces: who they belong to, and how one is made.

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

/// Whoever lets people into a workspace and out of it: where, and as what.
#[derive(Debug, Clone, Copy)]
pub struct Host<'a> {
    /// The workspace.
    pub(crate) workspace: WorkspaceId,
    /// What they are there.
    pub(crate) role: Role,
    /// Who they are.
    pub(crate) actor: &'a Actor,
    /// What they may do there.
    pub(crate) held: &'a Held,
    /// Who answers for what they do: themselves, or the maker of the key.
    pub(crate) answerable: UserId,
}

impl<'a> Host<'a> {
    /// Whoever has that authority, in one request.
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

/// A workspace, as one of its people sees it.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct Membership {
    /// The workspace.
    pub id: WorkspaceId,
    /// What it is called.
    pub name: String,
    /// Its name for URLs.
    pub slug: String,
    /// The person's role in it.
    pub role: String,
}

/// Who a person is in one workspace.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct Member {
    /// The member.
    pub id: MemberId,
    /// The person.
    pub user_id: UserId,
    /// What they are called here.
    pub name: String,
    /// Where they are reached.
    pub email: String,
    /// Role in this workspace.
    pub role: Role,
    /// What they do.
    pub title: Option<String>,
    /// Their telephone.
    pub phone: Option<String>,
    /// A few words about them.
    pub bio: Option<String>,
    /// Their picture.
    pub avatar_url: Option<String>,
    /// Since when they are here.
    pub created_at: DateTime<Utc>,
}

/// The workspaces that a person may enter now, by name.
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

/// The workspace that a person has switched to, if they may enter it now.
pub async fn current(
    pool: &PgPool,
    user: UserId,
    authorities: &[Authority],
) -> Result<Option<WorkspaceId>, sqlx::Error> {
    let current = switched_to(pool, user).await?;
    Ok(current.filter(|id| authorities.iter().any(|authority| authority.workspace() == *id)))
}

/// The member that the acting person is, in that role. Where they say nothing of themselves in this workspace, it is what
/// their account says.
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
