//! Finding credentials: one statement for each kind, for one credential or many.
//!
//! Each request does so, and planning these statements takes ten times as long as running them. So they hide
//! the number of credentials from the planner (`unnest((select $1))`): otherwise, a plan for the given
//! arguments would seem cheaper than the general one, and PostgreSQL would make one each time instead of
//! caching it (see `plan_cache_mode`).

use std::{collections::BTreeMap, net::IpAddr};

use chrono::{DateTime, Utc};
use sqlx::{PgPool, types::Json};
use uuid::Uuid;

use super::{
    Credential, Principal,
    authority::{Entry, Holder, Standing, judge},
};
use crate::{
    WorkspaceId,
    access::{Role, Scope},
    networks,
};

/// Key by which a credential is looked up.
#[derive(Debug, Clone)]
pub(super) enum Key {
    /// By its id.
    Id(Uuid),
    /// By the hash of its secret.
    Hash(Vec<u8>),
}

/// Workspaces for which a credential is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// This workspace, or else the only one that it is valid in, or none.
    One(Option<WorkspaceId>),
    /// All workspaces of the credential.
    Each,
}

/// A credential to try.
#[derive(Debug, Clone)]
pub(super) struct Try {
    pub(super) key: Key,
    pub(super) place: Place,
    pub(super) from: Option<IpAddr>,
}

/// A valid credential, and its access to one workspace.
#[derive(Debug, Clone)]
pub(super) struct Tried {
    /// Index among those that were tried.
    pub(super) index: usize,
    pub(super) principal: Principal,
    /// The workspace that was found; none without an active membership.
    pub(super) workspace: Option<WorkspaceId>,
    pub(super) entry: Entry,
    pub(super) details: Details,
}

/// Further details of a key or token.
#[derive(Debug, Clone, Default)]
pub(super) struct Details {
    pub(super) plan: String,
    pub(super) rate_per_minute: Option<u32>,
    pub(super) last_used_at: Option<DateTime<Utc>>,
    /// Whether its own allowlist refuses the address.
    pub(super) refused: bool,
}

/// The tried credentials, by column.
struct Columns {
    ids: Vec<Option<Uuid>>,
    hashes: Vec<Option<Vec<u8>>>,
    workspaces: Vec<Option<Uuid>>,
    each: Vec<bool>,
}

impl Columns {
    fn of(tries: &[Try]) -> Self {
        let (ids, hashes) = tries
            .iter()
            .map(|tried| match &tried.key {
                Key::Id(id) => (Some(*id), None),
                Key::Hash(hash) => (None, Some(hash.clone())),
            })
            .unzip();
        let (workspaces, each) = tries
            .iter()
            .map(|tried| match tried.place {
                Place::One(workspace) => (workspace.map(|id| id.0), false),
                Place::Each => (None, true),
            })
            .unzip();
        Self { ids, hashes, workspaces, each }
    }
}

/// An active membership in the form of a row.
struct Found {
    workspace_id: Option<WorkspaceId>,
    role: Option<Role>,
    overrides: Option<Json<BTreeMap<String, bool>>>,
    state: Option<String>,
    migrations: Option<Vec<i64>>,
    session_duration_secs: Option<i32>,
    ip_allowlist: Option<Vec<String>>,
}

impl Found {
    fn standing(self) -> Option<Standing> {
        let (Some(workspace), Some(role)) = (self.workspace_id, self.role) else { return None };
        Some(Standing {
            workspace,
            role,
            overrides: self.overrides.map(|Json(overrides)| overrides).unwrap_or_default(),
            state: self.state.unwrap_or_default(),
            migrations: self.migrations.unwrap_or_default(),
            session_duration_secs: self.session_duration_secs,
            ip_allowlist: self.ip_allowlist.unwrap_or_default(),
        })
    }
}

/// The index of a row among those that were tried.
fn index_of(n: i64) -> usize {
    usize::try_from(n - 1).unwrap_or(usize::MAX)
}

fn tried(tries: &[Try], index: usize, holder: &Holder, found: Found, details: Details) -> Tried {
    let asked = &tries[index];
    let standing = found.standing();
    let workspace = standing.as_ref().map(|standing| standing.workspace);
    let entry = match (standing, asked.place) {
        (Some(standing), _) => judge(holder, standing, asked.from),
        (None, Place::One(Some(_))) => Entry::Outside,
        (None, _) => Entry::Nowhere,
    };
    Tried { index, principal: holder.principal.clone(), workspace, entry, details }
}

/// Sessions.
pub(super) async fn sessions(pool: &PgPool, tries: &[Try]) -> Result<Vec<Tried>, sqlx::Error> {
    let Columns { ids, workspaces, each, .. } = Columns::of(tries);
    let rows = sqlx::query!(
        r#"select q.n as "n!", s.id as "id!", s.user_id as "user_id!", s.impersonator_id,
                  s.created_at as "created_at!", m.workspace_id as "workspace_id?", m.role as "role?",
                  m.state as "state?", m.migrations as "migrations?",
                  m.session_duration_secs as "session_duration_secs?", m.ip_allowlist as "ip_allowlist?",
                  m.overrides as "overrides?: Json<BTreeMap<String, bool>>"
             from unnest((select $1::uuid[]), (select $2::uuid[]), (select $3::boolean[]))
                  with ordinality as q (id, workspace, each, n)
             join live_sessions s on s.id = q.id
             left join live_memberships m on m.user_id = s.user_id and (m.workspace_id = q.workspace or q.each)"#,
        &ids as &[Option<Uuid>],
        &workspaces as &[Option<Uuid>],
        &each,
    )
    .fetch_all(pool)
    .await?;
    let tried = rows.into_iter().map(|row| {
        let user = row.user_id;
        let holder = Holder {
            principal: Principal::Session { session: row.id, user, impersonator: row.impersonator_id },
            answerable: user,
            scopes: None,
            signed_in_at: Some(row.created_at),
        };
        let found = Found {
            workspace_id: row.workspace_id,
            role: row.role,
            overrides: row.overrides,
            state: row.state,
            migrations: row.migrations,
            session_duration_secs: row.session_duration_secs,
            ip_allowlist: row.ip_allowlist,
        };
        tried(tries, index_of(row.n), &holder, found, Details::default())
    });
    Ok(tried.collect())
}

/// API keys. A key whose maker has left is invalid until it is handed to another member.
pub(super) async fn api_keys(pool: &PgPool, tries: &[Try]) -> Result<Vec<Tried>, sqlx::Error> {
    let Columns { ids, hashes, workspaces, .. } = Columns::of(tries);
    let rows = sqlx::query!(
        r#"select q.n as "n!", k.id, k.workspace_id, k.scopes, k.ip_allowlist as own_allowlist, k.rate_per_minute,
                  k.last_used_at, w.plan, (q.workspace is not null and q.workspace <> k.workspace_id) as "elsewhere!",
                  m.user_id as "maker!", m.role as "role!", m.state as "state!",
                  m.migrations as "migrations!", m.session_duration_secs,
                  m.ip_allowlist as "ip_allowlist!", m.overrides as "overrides?: Json<BTreeMap<String, bool>>"
             from unnest((select $1::uuid[]), (select $2::bytea[]), (select $3::uuid[]))
                  with ordinality as q (id, hash, workspace, n)
             join api_keys k on k.id = coalesce(q.id, (select h.id from api_keys h where h.hash = q.hash))
             join workspaces w on w.id = k.workspace_id
             join live_memberships m on m.workspace_id = k.workspace_id and m.user_id = k.created_by
            where k.is_active and k.revoked_at is null and (k.expires_at is null or k.expires_at > now())"#,
        &ids as &[Option<Uuid>],
        &hashes as &[Option<Vec<u8>>],
        &workspaces as &[Option<Uuid>],
    )
    .fetch_all(pool)
    .await?;
    let tried = rows.into_iter().map(|row| {
        let index = index_of(row.n);
        let holder = Holder {
            principal: Principal::ApiKey { key: row.id, workspace: row.workspace_id },
            answerable: row.maker,
            scopes: Some(row.scopes),
            signed_in_at: None,
        };
        let details = Details {
            plan: row.plan,
            rate_per_minute: row.rate_per_minute.and_then(|rate| rate.try_into().ok()),
            last_used_at: row.last_used_at,
            refused: !networks::let_in(&row.own_allowlist, tries[index].from),
        };
        let found = Found {
            workspace_id: Some(row.workspace_id),
            role: Some(row.role),
            overrides: row.overrides,
            state: Some(row.state),
            migrations: Some(row.migrations),
            session_duration_secs: row.session_duration_secs,
            ip_allowlist: Some(row.ip_allowlist),
        };
        let mut tried = tried(tries, index, &holder, found, details);
        if row.elsewhere {
            tried.entry = Entry::Outside;
        }
        tried
    });
    Ok(tried.collect())
}

/// Personal tokens. One for a single workspace is invalid where its user has left.
pub(super) async fn personal_tokens(pool: &PgPool, tries: &[Try]) -> Result<Vec<Tried>, sqlx::Error> {
    let Columns { ids, hashes, workspaces, each } = Columns::of(tries);
    let rows = sqlx::query!(
        r#"select q.n as "n!", t.id, t.user_id, t.workspace_id as bound_to, t.scopes,
                  t.ip_allowlist as own_allowlist, t.last_used_at,
                  m.workspace_id as "workspace_id?", m.role as "role?", m.state as "state?",
                  m.migrations as "migrations?", m.session_duration_secs as "session_duration_secs?",
                  m.ip_allowlist as "ip_allowlist?", m.overrides as "overrides?: Json<BTreeMap<String, bool>>"
             from unnest((select $1::uuid[]), (select $2::bytea[]), (select $3::uuid[]), (select $4::boolean[]))
                  with ordinality as q (id, hash, workspace, each, n)
             join personal_tokens t
               on t.id = coalesce(q.id, (select h.id from personal_tokens h where h.hash = q.hash))
             join users u on u.id = t.user_id and u.is_active
             left join live_memberships m
               on m.user_id = t.user_id
              and (m.workspace_id = coalesce(t.workspace_id, q.workspace) or (q.each and t.workspace_id is null))
            where t.revoked_at is null and (t.expires_at is null or t.expires_at > now())
              and (t.workspace_id is null or m.workspace_id is not null)"#,
        &ids as &[Option<Uuid>],
        &hashes as &[Option<Vec<u8>>],
        &workspaces as &[Option<Uuid>],
        &each,
    )
    .fetch_all(pool)
    .await?;
    let tried = rows.into_iter().map(|row| {
        let index = index_of(row.n);
        let scopes = row.scopes;
        let user = row.user_id;
        let writes = scopes.iter().any(|&scope| scope != Scope::Read);
        let holder = Holder {
            principal: Principal::PersonalToken { token: row.id, user, writes },
            answerable: user,
            scopes: Some(scopes),
            signed_in_at: None,
        };
        let details = Details {
            last_used_at: row.last_used_at,
            refused: !networks::let_in(&row.own_allowlist, tries[index].from),
            ..Details::default()
        };
        let found = Found {
            workspace_id: row.workspace_id,
            role: row.role,
            overrides: row.overrides,
            state: row.state,
            migrations: row.migrations,
            session_duration_secs: row.session_duration_secs,
            ip_allowlist: row.ip_allowlist,
        };
        let mut tried = tried(tries, index, &holder, found, details);
        if let (Some(bound_to), Place::One(Some(named))) = (row.bound_to, tries[index].place)
            && bound_to != named
        {
            tried.entry = Entry::Outside;
        }
        tried
    });
    Ok(tried.collect())
}

/// Credentials by their ids; invalid ones are left out.
pub(super) async fn by_id(
    pool: &PgPool,
    asked: &[(Credential, Place, Option<IpAddr>)],
) -> Result<Vec<Tried>, sqlx::Error> {
    let mut all = Vec::with_capacity(asked.len());
    for kind in [Kind::Session, Kind::ApiKey, Kind::PersonalToken] {
        let (places, tries): (Vec<_>, Vec<_>) = asked
            .iter()
            .enumerate()
            .filter(|(_, (credential, ..))| Kind::of(*credential) == kind)
            .map(|(index, &(credential, place, from))| {
                (index, Try { key: Key::Id(credential.id()), place, from })
            })
            .unzip();
        if tries.is_empty() {
            continue;
        }
        let found = match kind {
            Kind::Session => sessions(pool, &tries).await?,
            Kind::ApiKey => api_keys(pool, &tries).await?,
            Kind::PersonalToken => personal_tokens(pool, &tries).await?,
        };
        all.extend(found.into_iter().map(|tried| Tried { index: places[tried.index], ..tried }));
    }
    Ok(all)
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum Kind {
    Session,
    ApiKey,
    PersonalToken,
}

impl Kind {
    fn of(credential: Credential) -> Self {
        match credential {
            Credential::Session(_) => Self::Session,
            Credential::ApiKey(_) => Self::ApiKey,
            Credential::PersonalToken(_) => Self::PersonalToken,
        }
    }
}
