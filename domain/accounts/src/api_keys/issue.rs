//! Issuing and rotating keys: the only operations that know a secret.

use chrono::{DateTime, Utc};
use domain::{
    Acting, ApiKeyId, Error, Event, FieldErrors, Text, WorkspaceId, access::Scope, handed_keys::new_secret,
    makers, networks, secret, text::InvalidText, usage,
};
use jobs::Tx;
use poem_openapi::Object;
use serde_json::json;

use super::{ApiKey, get, locked, revoked};
use crate::signups;

/// An API key to issue.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct NewKey {
    /// Name: one line, at most 200 characters.
    pub name: String,
    /// Description, at most 2,000 characters; null if none.
    pub description: Option<String>,
    /// Scopes to grant: at least one, and only scopes that the issuer has.
    pub scopes: Vec<Scope>,
    /// IP addresses, and networks in CIDR notation, that the key may be used from; at most 100. Empty for any
    /// address.
    #[oai(default)]
    pub ip_allowlist: Vec<String>,
    /// Maximum number of requests per minute; a value above the plan's limit has no effect. Null for the plan's
    /// limit.
    pub rate_per_minute: Option<i32>,
    /// Expiry time; null if the key does not expire.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Settings of a successor that differ from those of its predecessor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rotation {
    /// Name.
    pub name: Option<String>,
    /// Scopes.
    pub scopes: Option<Vec<Scope>>,
}

/// A newly issued key, with its secret, which is shown only now.
#[derive(Clone)]
pub struct Issued {
    /// The key.
    pub key: ApiKey,
    /// The secret, for the `Authorization` header.
    pub secret: String,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued").field("key", &self.key).finish_non_exhaustive()
    }
}

/// The checks that creation and change of a key share.
pub(super) struct Checks {
    pub(super) errors: FieldErrors,
}

impl Checks {
    pub(super) fn new() -> Self {
        Self { errors: FieldErrors::new() }
    }

    fn note(&mut self, field: &str, reason: &str) {
        self.errors.insert(field.to_owned(), vec![reason.to_owned()]);
    }

    pub(super) fn name(&mut self, name: &str) -> String {
        signups::name(name).unwrap_or_else(|reason| {
            self.note("name", &reason);
            String::new()
        })
    }

    pub(super) fn description(&mut self, description: &str) -> Text<2000> {
        description.parse().unwrap_or_else(|invalid: InvalidText| {
            self.note("description", &invalid.to_string());
            Text::default()
        })
    }

    pub(super) fn scopes(&mut self, scopes: &[Scope]) -> Vec<String> {
        if scopes.is_empty() {
            self.note("scopes", "must have at least one");
        }
        names(scopes)
    }

    pub(super) fn networks(&mut self, list: &[String]) -> Vec<String> {
        networks::checked(list, "ip_allowlist", &mut self.errors)
    }

    pub(super) fn rate(&mut self, rate: Option<i32>) {
        if rate.is_some_and(|rate| rate < 1) {
            self.note("rate_per_minute", "must be at least 1");
        }
    }

    fn expiry(&mut self, at: Option<DateTime<Utc>>) {
        if at.is_some_and(|at| at <= jobs::clock::now()) {
            self.note("expires_at", "must be in the future");
        }
    }

    pub(super) fn done(self) -> Result<(), Error> {
        if self.errors.is_empty() { Ok(()) } else { Err(Error::invalid_fields(self.errors)) }
    }
}

/// Each scope once, by its name in the database.
fn names(scopes: &[Scope]) -> Vec<String> {
    Scope::EACH
        .into_iter()
        .filter(|scope| scopes.contains(scope))
        .map(|scope| scope.name().to_owned())
        .collect()
}

/// Whether the caller may grant all of these.
pub(super) fn may_give(by: &Acting<'_>, scopes: &[Scope]) -> Result<(), Error> {
    match scopes.iter().find(|&&scope| !by.held.may_give(scope)) {
        Some(&scope) => Err(Error::forbidden(format!(
            "you cannot give a key the scope {scope}: it would exceed your own permissions"
        ))),
        None => Ok(()),
    }
}

/// Issues a key.
///
/// # Errors
/// `record_invalid` with all that is wrong, `forbidden`, `limit_exceeded`.
pub async fn issue(tx: &mut Tx, by: &Acting<'_>, new: NewKey) -> Result<Issued, Error> {
    let mut checks = Checks::new();
    let name = checks.name(&new.name);
    let description = new.description.as_deref().map(|text| checks.description(text));
    let scopes = checks.scopes(&new.scopes);
    let ip_allowlist = checks.networks(&new.ip_allowlist);
    checks.rate(new.rate_per_minute);
    checks.expiry(new.expires_at);
    checks.done()?;
    may_give(by, &new.scopes)?;
    make_room(tx, by.workspace).await?;
    let (id, (secret, shown)) = (ApiKeyId::new(), new_secret());
    sqlx::query!(
        "insert into api_keys (id, workspace_id, name, description, prefix, hash, scopes, ip_allowlist,
                               rate_per_minute, expires_at, created_by)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        id.0,
        by.workspace.0,
        name,
        description.as_deref(),
        shown,
        secret::hash(&secret),
        &scopes,
        &ip_allowlist,
        new.rate_per_minute,
        new.expires_at,
        by.answerable.0,
    )
    .execute(tx.conn())
    .await?;
    let told = json!({ "name": name, "prefix": shown, "scopes": scopes, "expires_at": new.expires_at });
    by.record(tx, Event::new("api_key", "created", id.0, told)).await?;
    Ok(Issued { key: get(tx.conn(), by.workspace, id).await?, secret })
}

/// Ensures that the plan allows one more key, until the transaction ends.
async fn make_room(tx: &mut Tx, workspace: WorkspaceId) -> Result<(), Error> {
    sqlx::query!("select id from workspaces where id = $1 for no key update", workspace.0)
        .fetch_optional(tx.conn())
        .await?;
    let Some(most) = usage::plan(tx.conn(), workspace).await?.api_keys.map(i64::from) else { return Ok(()) };
    let live = sqlx::query_scalar!(
        r#"select count(*) as "live!" from api_keys
            where workspace_id = $1 and revoked_at is null and (expires_at is null or expires_at > now())"#,
        workspace.0,
    )
    .fetch_one(tx.conn())
    .await?;
    if live >= most {
        return Err(Error::limit_exceeded(format!(
            "the plan allows {most} API keys that are neither revoked nor expired: revoke one, or choose a larger plan"
        )));
    }
    Ok(())
}

/// Issues a key with the settings of another one, which is revoked, in one transaction. Answers the old key and
/// the new one.
///
/// # Errors
/// `key_revoked`, `key_expired`, and those of [`issue`].
pub async fn rotate(
    tx: &mut Tx,
    by: &Acting<'_>,
    id: ApiKeyId,
    rotation: Rotation,
) -> Result<(ApiKey, Issued), Error> {
    let old = locked(tx.conn(), by.workspace, id).await?;
    if old.is_revoked {
        return Err(revoked());
    }
    if old.expires_at.is_some_and(|at| at <= jobs::clock::now()) {
        return Err(Error::conflict(
            "key_expired",
            "the key has expired, and so would its successor: create another one",
        ));
    }
    may_give(by, &old.scopes)?;
    let mut checks = Checks::new();
    let name = rotation.name.map_or_else(|| old.name.clone(), |name| checks.name(&name));
    let given = rotation.scopes.unwrap_or_else(|| old.scopes.clone());
    let scopes = checks.scopes(&given);
    checks.done()?;
    may_give(by, &given)?;
    let (new, (secret, shown)) = (ApiKeyId::new(), new_secret());
    let user = by.actor.user_id.map(|user| user.0);
    sqlx::query!(
        "insert into api_keys (id, workspace_id, name, description, prefix, hash, scopes, ip_allowlist,
                               rate_per_minute, is_active, expires_at, created_by)
         select $3, workspace_id, $4, description, $5, $6, $7, ip_allowlist, rate_per_minute, is_active,
                expires_at, $8
           from api_keys where workspace_id = $1 and id = $2",
        by.workspace.0,
        id.0,
        new.0,
        name,
        shown,
        secret::hash(&secret),
        &scopes,
        by.answerable.0,
    )
    .execute(tx.conn())
    .await?;
    sqlx::query!(
        "update api_keys
            set is_active = false, revoked_at = now(), revoked_by = $3, replaced_by = $4, updated_at = now()
          where workspace_id = $1 and id = $2",
        by.workspace.0,
        id.0,
        user,
        new.0,
    )
    .execute(tx.conn())
    .await?;
    let told = json!({ "replaced_by": new, "name": name, "prefix": shown, "scopes": scopes });
    by.record(tx, Event::new("api_key", "rotated", id.0, told)).await?;
    makers::hand_to_successor(tx.conn(), by.workspace, id, new).await?;
    makers::disable_refused(tx.conn(), by.workspace, by.actor).await?;
    let old = get(tx.conn(), by.workspace, id).await?;
    Ok((old, Issued { key: get(tx.conn(), by.workspace, new).await?, secret }))
}
