//! What happens to a key after it was issued, but for being rotated.

use domain::{Acting, ApiKeyId, Event, Patch, UserId, access::Scope, makers, networks, standing};
use jobs::Tx;
use poem_openapi::Object;
use serde_json::json;

use super::{
    ApiKey, ApiKeyError, get,
    issue::{Checks, may_give},
    locked,
};

/// Changes to a key; what is absent stays as it is. The secret is changed by rotating the key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Object)]
pub struct KeyChanges {
    /// What it is called: one line, at most 200 characters.
    pub name: Option<String>,
    /// What it is for, at most 2,000 characters; null clears it.
    pub description: Patch<String>,
    /// What it may do: at least one, and only what the issuer has.
    pub scopes: Option<Vec<Scope>>,
    /// Addresses, and networks in CIDR notation, that it may be used from; at most 100. Empty: from anywhere.
    pub ip_allowlist: Option<Vec<String>>,
    /// Requests a minute; null: what the plan says.
    pub rate_per_minute: Patch<i32>,
    /// Whether it is good: false pauses it.
    pub is_active: Option<bool>,
}

/// Changes a key's settings.
///
/// # Errors
/// [`ApiKeyError::Revoked`], [`ApiKeyError::MoreThanHeld`] for a key of which the caller lacks a scope,
/// [`ApiKeyError::OfMore`] for a change by which the key may do more for a person who holds more than the caller, and
/// those of [`issue`](super::issue()).
pub async fn change(
    tx: &mut Tx,
    by: &Acting<'_>,
    id: ApiKeyId,
    changes: KeyChanges,
) -> Result<ApiKey, ApiKeyError> {
    let key = locked(tx.conn(), by.workspace, id).await?;
    if key.is_revoked {
        return Err(ApiKeyError::Revoked);
    }
    may_give(by, &key.scopes)?;
    let mut checks = Checks::new();
    let name = changes.name.map(|name| checks.name(&name));
    checks.description(changes.description.value().map_or("", String::as_str));
    let scopes = changes.scopes.as_deref().map(|scopes| checks.scopes(scopes));
    let ip_allowlist = changes.ip_allowlist.as_deref().map(|list| checks.networks(list));
    let rate = changes.rate_per_minute.over(key.rate_per_minute);
    checks.rate(rate);
    checks.done()?;
    may_give(by, changes.scopes.as_deref().unwrap_or_default())?;
    let does_more =
        changes.scopes.as_ref().is_some_and(|scopes| scopes.iter().any(|scope| !scope.is_in(&key.scopes)))
            || ip_allowlist.as_ref().is_some_and(|list| networks::is_wider(list, &key.ip_allowlist))
            || key.rate_per_minute.is_some_and(|old| rate.is_none_or(|new| new > old))
            || (changes.is_active == Some(true) && !key.is_active);
    if does_more {
        may_act_as(tx, by, key.created_by, changes.scopes.unwrap_or(key.scopes)).await?;
    }
    sqlx::query!(
        "update api_keys
            set name = coalesce($3, name), description = case when $4 then $5 else description end,
                scopes = coalesce($6, scopes), ip_allowlist = coalesce($7, ip_allowlist),
                rate_per_minute = case when $8 then $9 else rate_per_minute end,
                is_active = coalesce($10, is_active), updated_at = now()
          where workspace_id = $1 and id = $2",
        by.workspace.0,
        id.0,
        name,
        changes.description.is_given(),
        changes.description.value(),
        scopes.as_deref(),
        ip_allowlist.as_deref(),
        changes.rate_per_minute.is_given(),
        rate,
        changes.is_active,
    )
    .execute(tx.conn())
    .await?;
    let key = get(tx.conn(), by.workspace, id).await?;
    let told = json!({
        "name": key.name,
        "scopes": key.scopes,
        "ip_allowlist": key.ip_allowlist,
        "rate_per_minute": key.rate_per_minute,
        "is_active": key.is_active,
    });
    by.record(tx, Event::new("api_key", "updated", id.0, told)).await?;
    makers::disable_refused(tx.conn(), by.workspace, by.actor).await?;
    Ok(key)
}

/// Checks that a caller holds what a key with those scopes does for the person who answers for it. A caller who knows
/// the key's secret would otherwise gain that person's authority by a change of the key.
async fn may_act_as(
    tx: &mut Tx,
    by: &Acting<'_>,
    person: Option<UserId>,
    scopes: Vec<Scope>,
) -> Result<(), ApiKeyError> {
    let is_covered = match person {
        Some(person) => standing::covers_program(tx.conn(), by.workspace, by.held, person, scopes).await?,
        None => false,
    };
    if is_covered { Ok(()) } else { Err(ApiKeyError::OfMore) }
}

/// Pauses a key, or lets it go on.
///
/// # Errors
/// [`ApiKeyError::Revoked`]; [`ApiKeyError::OfMore`] for letting it go on.
pub async fn toggle(tx: &mut Tx, by: &Acting<'_>, id: ApiKeyId) -> Result<ApiKey, ApiKeyError> {
    let is_active = Some(!locked(tx.conn(), by.workspace, id).await?.is_active);
    change(tx, by, id, KeyChanges { is_active, ..KeyChanges::default() }).await
}

/// Ends a key for good. One that was revoked before stays as it is.
pub async fn revoke(tx: &mut Tx, by: &Acting<'_>, id: ApiKeyId) -> Result<ApiKey, ApiKeyError> {
    let key = locked(tx.conn(), by.workspace, id).await?;
    may_give(by, &key.scopes)?;
    if key.is_revoked {
        tx.mark_noted(); // nothing changes
        return Ok(key);
    }
    sqlx::query!(
        "update api_keys set is_active = false, revoked_at = now(), revoked_by = $3, updated_at = now()
          where workspace_id = $1 and id = $2",
        by.workspace.0,
        id.0,
        by.actor.user_id.map(|user| user.0),
    )
    .execute(tx.conn())
    .await?;
    by.record(tx, Event::new("api_key", "revoked", id.0, json!({ "name": key.name, "prefix": key.prefix })))
        .await?;
    makers::disable_refused(tx.conn(), by.workspace, by.actor).await?;
    get(tx.conn(), by.workspace, id).await
}

/// Erases a key. What the audit knows of it stays.
pub async fn delete(tx: &mut Tx, by: &Acting<'_>, id: ApiKeyId) -> Result<(), ApiKeyError> {
    may_give(by, &locked(tx.conn(), by.workspace, id).await?.scopes)?;
    let gone = sqlx::query!(
        "delete from api_keys where workspace_id = $1 and id = $2 returning name, prefix",
        by.workspace.0,
        id.0,
    )
    .fetch_optional(tx.conn())
    .await?
    .ok_or(ApiKeyError::NotFound)?;
    let told = json!({ "name": gone.name, "prefix": gone.prefix });
    by.record(tx, Event::new("api_key", "deleted", id.0, told)).await?;
    Ok(makers::disable_refused(tx.conn(), by.workspace, by.actor).await?)
}
