//! Changes to a key after it was issued, except its rotation.

use domain::{Acting, ApiKeyId, Error, Event, Patch, UserId, access::Scope, makers, networks, standing};
use jobs::Tx;
use poem_openapi::Object;
use serde_json::json;

use super::{
    ApiKey, get,
    issue::{Checks, may_give},
    locked, revoked,
};

/// Changes to an API key; absent fields stay unchanged. The secret is changed by rotating the key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Object)]
pub struct KeyChanges {
    /// Name: one line, at most 200 characters.
    pub name: Option<String>,
    /// Description, at most 2,000 characters; null clears it.
    pub description: Patch<String>,
    /// Scopes to grant: at least one, and only scopes that the issuer has.
    pub scopes: Option<Vec<Scope>>,
    /// IP addresses, and networks in CIDR notation, that the key may be used from; at most 100. Empty for any
    /// address.
    pub ip_allowlist: Option<Vec<String>>,
    /// Maximum number of requests per minute; null for the plan's limit.
    pub rate_per_minute: Patch<i32>,
    /// Whether the key is active; false pauses it.
    pub is_active: Option<bool>,
}

/// Changes a key's settings.
///
/// # Errors
/// `key_revoked`; `forbidden` for a key of which the caller lacks a scope, and for a change by which the key may do more
/// for a user with more permissions than the caller; those of [`issue`](super::issue()).
pub async fn change(
    tx: &mut Tx,
    by: &Acting<'_>,
    id: ApiKeyId,
    changes: KeyChanges,
) -> Result<ApiKey, Error> {
    let key = locked(tx.conn(), by.workspace, id).await?;
    if key.is_revoked {
        return Err(revoked());
    }
    may_give(by, &key.scopes)?;
    let mut checks = Checks::new();
    let name = changes.name.map(|name| checks.name(&name));
    let description = changes.description.value().map(|text| checks.description(text));
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
        description.as_deref(),
        scopes.as_deref(),
        ip_allowlist.as_deref(),
        changes.rate_per_minute.is_given(),
        rate,
        changes.is_active,
    )
    .execute(tx.conn())
    .await?;
    let key = get(tx.conn(), by.workspace, id).await?;
    let details = json!({
        "name": key.name,
        "scopes": key.scopes,
        "ip_allowlist": key.ip_allowlist,
        "rate_per_minute": key.rate_per_minute,
        "is_active": key.is_active,
    });
    by.record(tx, Event::new("api_key", "updated", id.0, details)).await?;
    makers::disable_refused(tx.conn(), by.workspace, by.actor).await?;
    Ok(key)
}

/// Checks that a caller has all permissions that a key with those scopes has through the user who answers for it. A
/// caller who knows the key's secret would otherwise gain that user's permissions by a change of the key.
async fn may_act_as(
    tx: &mut Tx,
    by: &Acting<'_>,
    person: Option<UserId>,
    scopes: Vec<Scope>,
) -> Result<(), Error> {
    let is_covered = match person {
        Some(person) => standing::covers_program(tx.conn(), by.workspace, by.grants, person, scopes).await?,
        None => false,
    };
    if !is_covered {
        return Err(Error::forbidden(
            "this change lets the key do more than the caller may do here, through the user that it acts for: rotate \
             the key instead",
        ));
    }
    Ok(())
}

/// Pauses or resumes a key.
///
/// # Errors
/// `key_revoked`; `forbidden` for resuming it.
pub async fn toggle(tx: &mut Tx, by: &Acting<'_>, id: ApiKeyId) -> Result<ApiKey, Error> {
    let is_active = Some(!locked(tx.conn(), by.workspace, id).await?.is_active);
    change(tx, by, id, KeyChanges { is_active, ..KeyChanges::default() }).await
}

/// Revokes a key permanently. A revoked one stays unchanged.
pub async fn revoke(tx: &mut Tx, by: &Acting<'_>, id: ApiKeyId) -> Result<ApiKey, Error> {
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

/// Deletes a key. Its audit entries stay.
pub async fn delete(tx: &mut Tx, by: &Acting<'_>, id: ApiKeyId) -> Result<(), Error> {
    may_give(by, &locked(tx.conn(), by.workspace, id).await?.scopes)?;
    let gone = sqlx::query!(
        "delete from api_keys where workspace_id = $1 and id = $2 returning name, prefix",
        by.workspace.0,
        id.0,
    )
    .fetch_optional(tx.conn())
    .await?
    .ok_or_else(Error::not_found)?;
    let details = json!({ "name": gone.name, "prefix": gone.prefix });
    by.record(tx, Event::new("api_key", "deleted", id.0, details)).await?;
    Ok(makers::disable_refused(tx.conn(), by.workspace, by.actor).await?)
}
