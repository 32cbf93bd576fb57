//! The makers of scheduled jobs: the user or the API key in whose name their jobs run. A scheduled job whose
//! maker may no longer start it is disabled, with the reason, when the maker's access changes; and at its
//! next occurrence, for changes without an action, such as a key that expires.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use jobs::{Act, Database, ScheduleId, Tx};
use serde_json::json;
use sqlx::{PgConnection, types::Json};

use crate::{
    Actor, ApiKeyId, Event, WorkspaceId,
    access::{Denied, Grants, Override, Role, Scope},
};

/// The permission for creating, changing and so keeping a scheduled job.
const MANAGE: &str = "schedules:manage";

/// Selection of scheduled jobs.
#[derive(Debug, Clone, Copy)]
enum Of<'a> {
    Workspace(WorkspaceId),
    These(&'a [ScheduleId]),
}

/// An enabled scheduled job of a workspace, with its maker's present access.
struct Made {
    id: ScheduleId,
    workspace_id: WorkspaceId,
    name: String,
    kind: String,
    by_key: bool,
    key_is_active: Option<bool>,
    key_has_expired: Option<bool>,
    key_scopes: Option<Vec<Scope>>,
    role: Option<Role>,
    overrides: Option<Json<BTreeMap<String, bool>>>,
}

impl Made {
    /// The reason why its maker may no longer run it; none while the maker may.
    fn refused(&self) -> Option<String> {
        let maker = if self.by_key { "the API key that it runs as" } else { "the user that it runs as" };
        if self.by_key {
            match (self.key_is_active, self.key_has_expired) {
                (Some(true), Some(true)) => return Some(format!("{maker} has expired")),
                (Some(true), _) => {}
                _ => return Some(format!("{maker} is revoked, paused or deleted")),
            }
        }
        let Some(role) = self.role else {
            let out = "is no longer an active member of the workspace";
            return Some(if self.by_key {
                format!("the user who answers for {maker} {out}")
            } else {
                format!("{maker} {out}")
            });
        };
        let overrides = self.overrides.iter().flat_map(|Json(overrides)| overrides);
        let overrides = overrides
            .map(|(permission, granted)| Override { permission: permission.clone(), granted: *granted })
            .collect();
        let mut grants = Grants::of_role(role, overrides);
        if let Some(scopes) = &self.key_scopes {
            grants = grants.within(scopes.clone());
        }
        let lacking = grants.need(MANAGE).and_then(|()| match jobs::kinds::named(&self.kind) {
            Some(_) => grants.need_for_job(&self.kind, Act::Start),
            None => Ok(()), // of a newer release, which judges it
        });
        lacking.err().map(|Denied { permission, .. }| format!("{maker} no longer has {permission}"))
    }
}

/// Disables the scheduled jobs of a workspace whose makers may no longer run them.
pub async fn disable_refused(
    conn: &mut PgConnection,
    workspace: WorkspaceId,
    actor: &Actor,
) -> Result<(), sqlx::Error> {
    disable(conn, Of::Workspace(workspace), actor).await?;
    Ok(())
}

/// The same at their occurrence, for the leader; answers those that it disabled.
pub fn disable_refused_when_due<'a>(
    tx: &'a mut Tx,
    schedules: &'a [ScheduleId],
) -> BoxFuture<'a, Result<HashSet<ScheduleId>, sqlx::Error>> {
    Box::pin(async move { disable(tx.conn(), Of::These(schedules), &Actor::default()).await })
}

/// Enqueues due jobs, as the leader does.
pub async fn enqueue_due(database: &Database, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
    jobs::schedules::enqueue_due(database, now, Some(disable_refused_when_due)).await
}

/// Of scheduled jobs, the reason why the maker of the first one may not run it; none if all may.
pub async fn first_refused(
    conn: &mut PgConnection,
    schedules: &[ScheduleId],
) -> Result<Option<String>, sqlx::Error> {
    for made in enabled(conn, Of::These(schedules)).await? {
        if let Some(reason) = made.refused() {
            return Ok(Some(format!("scheduled job {:?}: {reason}", made.name)));
        }
    }
    Ok(None)
}

/// The enabled ones among those, with their makers. None of them changes before the transaction has ended.
async fn enabled(conn: &mut PgConnection, of: Of<'_>) -> Result<Vec<Made>, sqlx::Error> {
    let (workspace, ids) = match of {
        Of::Workspace(workspace) => (Some(workspace.0), None),
        Of::These(ids) => (None, Some(ids)),
    };
    // Those of the installation and those that operators created have neither a user nor a key.
    sqlx::query_as!(
        Made,
        r#"select s.id, s.workspace_id as "workspace_id!", s.name, s.kind,
                  coalesce(s.origin->>'credential_type' = $3, false) as "by_key!",
                  k.is_active and k.revoked_at is null as "key_is_active?",
                  k.expires_at <= now() as "key_has_expired?", k.scopes as "key_scopes?",
                  m.role as "role?", m.overrides as "overrides?: Json<BTreeMap<String, bool>>"
             from schedules s
             left join api_keys k on s.origin->>'credential_type' = $3
                                 and k.id = (s.origin->>'credential_id')::uuid and k.workspace_id = s.workspace_id
             left join live_memberships m
               on m.workspace_id = s.workspace_id
              and m.user_id = case when s.origin->>'credential_type' = $3 then k.created_by
                                   else (s.origin->>'user_id')::uuid end
            where s.enabled and s.workspace_id is not null
              and (s.origin->>'credential_type' = $3 or s.origin->>'user_id' is not null)
              and ($1::uuid is null or s.workspace_id = $1) and ($2::uuid[] is null or s.id = any($2))
            order by s.id
              for update of s"#,
        workspace,
        ids as Option<&[ScheduleId]>,
        "api_key",
    )
    .fetch_all(conn)
    .await
}

async fn disable(
    conn: &mut PgConnection,
    of: Of<'_>,
    actor: &Actor,
) -> Result<HashSet<ScheduleId>, sqlx::Error> {
    let mut disabled = HashSet::new();
    for schedule in enabled(&mut *conn, of).await? {
        let Some(reason) = schedule.refused() else { continue };
        sqlx::query!(
            "update schedules set enabled = false, disabled_reason = $2, updated_at = now() where id = $1",
            schedule.id.0,
            reason,
        )
        .execute(&mut *conn)
        .await?;
        let change = json!({ "name": schedule.name, "enabled": false, "disabled_reason": reason });
        Event::new("scheduled_job", "updated", schedule.id, change)
            .append(&mut *conn, schedule.workspace_id, actor)
            .await?;
        disabled.insert(schedule.id);
    }
    Ok(disabled)
}

/// Makes the successor of a rotated key the maker of the key's scheduled jobs; answers their ids.
pub async fn hand_to_successor(
    conn: &mut PgConnection,
    workspace: WorkspaceId,
    old: ApiKeyId,
    new: ApiKeyId,
) -> Result<Vec<ScheduleId>, sqlx::Error> {
    sqlx::query_scalar!(
        "update schedules set origin = origin || jsonb_build_object('credential_id', $3::uuid::text), updated_at = now()
          where workspace_id = $1 and origin->>'credential_type' = 'api_key'
            and origin->>'credential_id' = $2::uuid::text
      returning id",
        workspace.0,
        old.0,
        new.0,
    )
    .fetch_all(conn)
    .await
}
