//! Who calls, by what they bring: a session's access token, an API key or a personal token. One query
//! per request finds the credential together with what its holder is in the workspace in question.

mod standing;

use std::{collections::BTreeMap, net::IpAddr};

use chrono::{DateTime, Duration, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{PgPool, types::Json};
use uuid::Uuid;

pub use standing::{Admitted, Entry, still_admitted};

use crate::{
    Actor, CredentialType, SessionId, UserId, WorkspaceId,
    access::{Held, Override, Role, Scope, UnknownName},
    networks, secret,
};

/// What an API key begins with.
pub const API_KEY_PREFIX: &str = "mrk_";
/// What a personal token begins with.
pub const PERSONAL_TOKEN_PREFIX: &str = "mrp_";

/// A credential that a request brings, unchecked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Brought {
    /// The user and the session that an access token names; its signature is good.
    Session(UserId, SessionId),
    /// An API key, or a personal token: what it is shows at its beginning.
    Secret(String),
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// A person who has signed in, or a member of staff in their place.
    Session {
        /// The sign-in.
        session: SessionId,
        /// The person.
        user: UserId,
        /// The member of staff.
        impersonator: Option<UserId>,
    },
    /// A program of a workspace.
    ApiKey {
        /// The key.
        key: Uuid,
        /// Its workspace.
        workspace: WorkspaceId,
    },
    /// A program of a person.
    PersonalToken {
        /// The token.
        token: Uuid,
        /// The person.
        user: UserId,
        /// Whether it may do more than read.
        writes: bool,
    },
}

/// What a credential lives and dies with: what tickets and links are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Credential {
    /// A sign-in.
    #[serde(rename = "sid")]
    Session(SessionId),
    /// An API key.
    #[serde(rename = "key")]
    ApiKey(Uuid),
    /// A personal token.
    #[serde(rename = "pat")]
    PersonalToken(Uuid),
}

/// How far a workspace is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkspaceState {
    /// Its schema is being made.
    Provisioning,
    /// Its tables are older than this release: it has to be migrated first.
    Behind,
    /// It serves.
    Ready,
}

/// What a caller is in the workspace in question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Which.
    pub workspace: WorkspaceId,
    /// How far it is.
    pub state: WorkspaceState,
    /// What they may do there.
    pub held: Held,
}

/// A good credential, and what its holder is.
#[derive(Debug, Clone)]
pub struct Found {
    /// Who calls.
    pub principal: Principal,
    /// What they are in the workspace in question; none for someone who isn't in it.
    pub place: Option<Place>,
    /// The plan that limits them, of an API key's workspace.
    pub plan: String,
    /// The key's own limit of requests a minute.
    pub rate_per_minute: Option<u32>,
    /// Where they may come from; empty: from anywhere. The credential's and the workspace's must both allow it.
    pub ip_allowlists: [Vec<String>; 2],
    /// When the credential was last noted to be used, where that is noted.
    pub last_used_at: Option<DateTime<Utc>>,
}

impl Principal {
    /// The person, if one calls.
    #[must_use]
    pub fn user(&self) -> Option<UserId> {
        match self {
            Self::Session { user, .. } | Self::PersonalToken { user, .. } => Some(*user),
            Self::ApiKey { .. } => None,
        }
    }

    /// What their tickets live and die with.
    #[must_use]
    pub fn credential(&self) -> Credential {
        match *self {
            Self::Session { session, .. } => Credential::Session(session),
            Self::ApiKey { key, .. } => Credential::ApiKey(key),
            Self::PersonalToken { token, .. } => Credential::PersonalToken(token),
        }
    }

    /// Puts them into an actor.
    #[must_use]
    pub fn acting(&self, actor: Actor) -> Actor {
        let (kind, id) = match *self {
            Self::Session { session, .. } => (CredentialType::Session, session.0),
            Self::ApiKey { key, .. } => (CredentialType::ApiKey, key),
            Self::PersonalToken { token, .. } => (CredentialType::PersonalToken, token),
        };
        let impersonator_id = match *self {
            Self::Session { impersonator, .. } => impersonator,
            _ => None,
        };
        Actor {
            user_id: self.user(),
            credential_type: Some(kind),
            credential_id: Some(id),
            impersonator_id,
            ..actor
        }
    }
}

impl Credential {
    /// The session, key or token.
    #[must_use]
    pub fn id(self) -> Uuid {
        match self {
            Self::Session(id) => id.0,
            Self::ApiKey(id) | Self::PersonalToken(id) => id,
        }
    }
}

impl Found {
    /// Whether they may come from that address.
    #[must_use]
    pub fn may_come_from(&self, ip: Option<IpAddr>) -> bool {
        self.ip_allowlists.iter().all(|list| networks::let_in(list, ip))
    }
}

/// Looks a credential up, and what its holder is in a workspace: the one that is named, or else an API
/// key's own. None when the credential is not good, or no longer.
pub async fn find(
    pool: &PgPool,
    brought: &Brought,
    workspace: Option<WorkspaceId>,
) -> Result<Option<Found>, sqlx::Error> {
    match brought {
        Brought::Session(user, session) => by_session(pool, *user, *session, workspace).await,
        Brought::Secret(secret) if secret.starts_with(API_KEY_PREFIX) => {
            by_api_key(pool, &secret::hash(secret), workspace).await
        }
        Brought::Secret(secret) => by_personal_token(pool, &secret::hash(secret), workspace).await,
    }
}

async fn by_session(
    pool: &PgPool,
    user: UserId,
    session: SessionId,
    workspace: Option<WorkspaceId>,
) -> Result<Option<Found>, sqlx::Error> {
    let row = sqlx::query!(
        r#"select s.impersonator_id, s.created_at, m.role as "role?", w.state as "state?",
                  w.schema_version as "schema_version?",
                  g.session_duration_secs as "session_duration_secs?",
                  coalesce(g.ip_allowlist, '{}') as "ip_allowlist!",
                  (select json_object_agg(p.permission, p.granted) from role_permissions p
                    where p.workspace_id = m.workspace_id and p.role = m.role)
                  as "overrides: Json<BTreeMap<String, bool>>"
             from sessions s
             join users u on u.id = s.user_id
             left join memberships m on m.user_id = u.id and m.workspace_id = $3 and m.is_active
             left join workspaces w on w.id = m.workspace_id
             left join governance g on g.workspace_id = m.workspace_id
            where s.id = $1 and s.user_id = $2 and s.revoked_at is null and u.is_active"#,
        session.0,
        user.0,
        workspace.map(|id| id.0),
    )
    .fetch_optional(pool)
    .await?;
    let Some(row) = row else { return Ok(None) };
    // A workspace may want people to sign in again sooner than their session ends.
    let longest = row.session_duration_secs.map(|seconds| Duration::seconds(seconds.into()));
    if longest.is_some_and(|longest| row.created_at + longest < jobs::clock::now()) {
        return Ok(None);
    }
    let place = match (workspace, row.role) {
        (Some(workspace), Some(role)) => Some(Place {
            workspace,
            state: state(row.state.as_deref(), row.schema_version),
            held: Held::of_role(role_named(&role)?, overrides(row.overrides)),
        }),
        _ => None,
    };
    Ok(Some(Found {
        principal: Principal::Session { session, user, impersonator: row.impersonator_id.map(UserId) },
        place,
        plan: String::new(),
        rate_per_minute: None,
        ip_allowlists: [Vec::new(), row.ip_allowlist],
        last_used_at: None,
    }))
}

async fn by_api_key(
    pool: &PgPool,
    hash: &[u8],
    named: Option<WorkspaceId>,
) -> Result<Option<Found>, sqlx::Error> {
    let row = sqlx::query!(
        r#"select k.id, k.workspace_id, k.scopes, k.ip_allowlist, k.rate_per_minute, k.last_used_at,
                  w.plan, w.state, w.schema_version,
                  coalesce(g.ip_allowlist, '{}') as "workspace_allowlist!"
             from api_keys k
             join workspaces w on w.id = k.workspace_id
             left join governance g on g.workspace_id = k.workspace_id
            where k.hash = $1 and k.is_active and k.revoked_at is null
              and (k.expires_at is null or k.expires_at > now())"#,
        hash,
    )
    .fetch_optional(pool)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let workspace = WorkspaceId(row.workspace_id);
    // Programs of a workspace set it up like its admins do, within their scopes.
    let held = Held::of_role(Role::Admin, Vec::new()).within(scopes(&row.scopes)?);
    let place = Place { workspace, state: state(Some(&row.state), Some(row.schema_version)), held };
    Ok(Some(Found {
        principal: Principal::ApiKey { key: row.id, workspace },
        place: named.is_none_or(|named| named == workspace).then_some(place),
        plan: row.plan,
        rate_per_minute: row.rate_per_minute.and_then(|rate| rate.try_into().ok()),
        ip_allowlists: [row.ip_allowlist, row.workspace_allowlist],
        last_used_at: row.last_used_at,
    }))
}

async fn by_personal_token(
    pool: &PgPool,
    hash: &[u8],
    workspace: Option<WorkspaceId>,
) -> Result<Option<Found>, sqlx::Error> {
    let row = sqlx::query!(
        r#"select t.id, t.user_id, t.workspace_id, t.scopes, t.ip_allowlist, t.last_used_at,
                  m.role as "role?", w.state as "state?", w.schema_version as "schema_version?",
                  coalesce(g.ip_allowlist, '{}') as "workspace_allowlist!",
                  (select json_object_agg(p.permission, p.granted) from role_permissions p
                    where p.workspace_id = m.workspace_id and p.role = m.role)
                  as "overrides: Json<BTreeMap<String, bool>>"
             from personal_tokens t
             join users u on u.id = t.user_id
             left join memberships m on m.user_id = u.id and m.is_active and m.workspace_id = coalesce($2, t.workspace_id)
                  and (t.workspace_id is null or t.workspace_id = m.workspace_id)
             left join workspaces w on w.id = m.workspace_id
             left join governance g on g.workspace_id = m.workspace_id
            where t.hash = $1 and t.revoked_at is null and u.is_active
              and (t.expires_at is null or t.expires_at > now())"#,
        hash,
        workspace.map(|id| id.0),
    )
    .fetch_optional(pool)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let scopes = scopes(&row.scopes)?;
    let writes = scopes.iter().any(|&scope| scope != Scope::Read);
    let place = match (workspace.or(row.workspace_id.map(WorkspaceId)), row.role) {
        (Some(workspace), Some(role)) => Some(Place {
            workspace,
            state: state(row.state.as_deref(), row.schema_version),
            held: Held::of_role(role_named(&role)?, overrides(row.overrides)).within(scopes),
        }),
        _ => None,
    };
    Ok(Some(Found {
        principal: Principal::PersonalToken { token: row.id, user: UserId(row.user_id), writes },
        place,
        plan: String::new(),
        rate_per_minute: None,
        ip_allowlists: [row.ip_allowlist, row.workspace_allowlist],
        last_used_at: row.last_used_at,
    }))
}

/// Whether a credential still is good.
pub async fn is_alive(pool: &PgPool, credential: Credential) -> Result<bool, sqlx::Error> {
    match credential {
        Credential::Session(session) => crate::sessions::is_alive(pool, session).await,
        Credential::ApiKey(key) => {
            sqlx::query_scalar!(
                r#"select exists (select from api_keys where id = $1 and is_active and revoked_at is null
                    and (expires_at is null or expires_at > now())) as "alive!""#,
                key,
            )
            .fetch_one(pool)
            .await
        }
        Credential::PersonalToken(token) => {
            sqlx::query_scalar!(
                r#"select exists (select from personal_tokens t join users u on u.id = t.user_id
                    where t.id = $1 and u.is_active and t.revoked_at is null
                      and (t.expires_at is null or t.expires_at > now())) as "alive!""#,
                token,
            )
            .fetch_one(pool)
            .await
        }
    }
}

/// Notes that a key or token is in use: for its owner, who sees when it last was.
pub async fn note_use(pool: &PgPool, credential: Credential) -> Result<(), sqlx::Error> {
    match credential {
        Credential::Session(_) => {}
        Credential::ApiKey(key) => {
            sqlx::query!("update api_keys set last_used_at = now() where id = $1", key).execute(pool).await?;
        }
        Credential::PersonalToken(token) => {
            sqlx::query!("update personal_tokens set last_used_at = now() where id = $1", token)
                .execute(pool)
                .await?;
        }
    }
    Ok(())
}

/// A workspace whose tables are older than this release has to be migrated first.
fn state(state: Option<&str>, schema_version: Option<i64>) -> WorkspaceState {
    let newest = crate::migrations::workspace_version();
    match state {
        Some("ready") if schema_version.is_some_and(|version| version < newest) => WorkspaceState::Behind,
        Some("ready") => WorkspaceState::Ready,
        _ => WorkspaceState::Provisioning,
    }
}

fn overrides(found: Option<Json<BTreeMap<String, bool>>>) -> Vec<Override> {
    let found = found.map(|Json(found)| found).unwrap_or_default();
    found.into_iter().map(|(permission, granted)| Override { permission, granted }).collect()
}

fn role_named(name: &str) -> Result<Role, sqlx::Error> {
    name.parse().map_err(|error: UnknownName| sqlx::Error::Decode(error.into()))
}

/// Scopes as the database names them.
pub(crate) fn scopes(names: &[String]) -> Result<Vec<Scope>, sqlx::Error> {
    let scopes: Result<_, UnknownName> = names.iter().map(|name| name.parse()).collect();
    scopes.map_err(|error| sqlx::Error::Decode(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowlist_lets_in_its_networks_and_an_empty_one_everybody() {
        let mut found = Found {
            principal: Principal::ApiKey { key: Uuid::nil(), workspace: WorkspaceId(Uuid::nil()) },
            place: None,
            plan: String::new(),
            rate_per_minute: None,
            ip_allowlists: [vec![], vec![]],
            last_used_at: None,
        };
        let home = "10.1.2.3".parse().ok();
        assert!(found.may_come_from(home) && found.may_come_from(None));
        found.ip_allowlists = [vec!["10.0.0.0/8".to_owned()], vec![]];
        assert!(found.may_come_from(home) && !found.may_come_from("11.0.0.1".parse().ok()));
        assert!(found.may_come_from("::ffff:10.9.9.9".parse().ok()), "a mapped address is the same");
        assert!(!found.may_come_from(None));
        found.ip_allowlists[1] = vec!["192.168.0.0/16".to_owned()];
        assert!(!found.may_come_from(home), "both must allow it");
    }
}
