//! Workspaces: who they belong to, and how one is made.

pub mod details;
pub mod provisioning;
pub mod removal;
pub mod roster;
pub mod schema;

mod branding;
mod slug;

use chrono::{DateTime, Utc};
use poem_openapi::Object;
use sqlx::PgPool;
use uuid::Uuid;

pub use branding::{Branding, BrandingChanges};
pub use details::{Workspace, WorkspaceChanges};

use crate::{Actor, UserId, WorkspaceDb, WorkspaceId, access::Role};

/// Whoever lets people into a workspace and out of it: where, and as what.
#[derive(Debug, Clone, Copy)]
pub struct Host<'a> {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// What they are there.
    pub role: Role,
    /// Who they are.
    pub actor: &'a Actor,
}

/// A workspace, as one of its people sees it.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct Membership {
    /// The workspace.
    pub id: Uuid,
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
    pub id: Uuid,
    /// The person.
    pub user_id: Uuid,
    /// What they are called here.
    pub name: String,
    /// Where they are reached.
    pub email: String,
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

/// The workspaces that a person may enter, by name.
pub async fn of_user(pool: &PgPool, user: UserId) -> Result<Vec<Membership>, sqlx::Error> {
    sqlx::query_as!(
        Membership,
        "select w.id, w.name, w.slug, m.role
           from memberships m join workspaces w on w.id = m.workspace_id
          where m.user_id = $1 and m.is_active and w.state = 'ready'
          order by w.name, w.id",
        user.0,
    )
    .fetch_all(pool)
    .await
}

/// The workspace that a person has switched to, if they may enter it still.
pub async fn current_of(pool: &PgPool, user: UserId) -> Result<Option<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "select w.id
           from users u
           join memberships m on m.user_id = u.id and m.is_active
           join workspaces w on w.id = m.workspace_id and w.id = u.current_workspace_id and w.state = 'ready'
          where u.id = $1",
        user.0,
    )
    .fetch_optional(pool)
    .await
}

/// The member that the acting person is. Where they say nothing of themselves in this workspace, it is what
/// their account says.
pub async fn own_member(db: &mut WorkspaceDb) -> Result<Option<Member>, sqlx::Error> {
    let user = db.user_id();
    db.with_accounts().await?;
    sqlx::query_as!(
        Member,
        r#"select m.id, m.user_id, m.name, m.email, coalesce(m.title, u.title) as title,
                  coalesce(m.phone, u.phone) as phone, coalesce(m.bio, u.bio) as bio,
                  coalesce(m.avatar_url, 'avatar:' || u.avatar_key, u.avatar_url) as avatar_url, m.created_at
             from members m join users u on u.id = m.user_id
            where m.user_id = $1 and m.is_active"#,
        user,
    )
    .fetch_optional(db.conn())
    .await
}
