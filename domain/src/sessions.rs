//! Sessions: one per sign-in. A session's access tokens are checked against it on every request, so
//! that signing out ends them at once.

use sqlx::PgPool;

use crate::{SessionId, UserId, WorkspaceId, access::Role};

/// How far a workspace is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkspaceState {
    /// Its schema is being made.
    Provisioning,
    /// It serves.
    Ready,
}

/// What a live session amounts to in a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The role there; none for someone who isn't a member, or when no workspace was asked about.
    pub role: Option<Role>,
    /// How far the workspace is.
    pub state: Option<WorkspaceState>,
}

/// Looks a session up together with its user's membership of a workspace: one query per request.
/// None when the session has ended, isn't the user's, or the user is not active.
pub async fn standing(
    pool: &PgPool,
    session: SessionId,
    user: UserId,
    workspace: Option<WorkspaceId>,
) -> Result<Option<Standing>, sqlx::Error> {
    let row = sqlx::query!(
        r#"select m.role as "role?", w.state as "state?"
             from sessions s
             join users u on u.id = s.user_id
             left join memberships m on m.user_id = u.id and m.workspace_id = $3
             left join workspaces w on w.id = m.workspace_id
            where s.id = $1 and s.user_id = $2 and s.revoked_at is null and u.is_active"#,
        session.0,
        user.0,
        workspace.map(|id| id.0),
    )
    .fetch_optional(pool)
    .await?;
    row.map(|row| {
        Ok(Standing {
            role: row
                .role
                .map(|name| name.parse())
                .transpose()
                .map_err(|e: crate::access::UnknownRole| sqlx::Error::Decode(e.into()))?,
            state: row.state.map(|state| match state.as_str() {
                "ready" => WorkspaceState::Ready,
                _ => WorkspaceState::Provisioning,
            }),
        })
    })
    .transpose()
}

/// Whether a session has not ended and its user is active.
pub async fn is_alive(pool: &PgPool, session: SessionId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select from sessions s join users u on u.id = s.user_id
                           where s.id = $1 and s.revoked_at is null and u.is_active) as "alive!""#,
        session.0,
    )
    .fetch_one(pool)
    .await
}
