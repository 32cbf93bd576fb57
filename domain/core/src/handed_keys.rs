//! Reassigning a member's keys to another member. A key acts for the user in its `created_by`, and that user may have
//! kept its secret: so the other member gets a successor with the same settings, and the old key is revoked.

use jobs::ScheduleId;
use poem_openapi::Object;
use serde_json::json;

use crate::{Accounts, ApiKeyId, Event, UserId, access::Scope, callers::API_KEY_PREFIX, makers, secret};

/// A new secret of a key, and its first characters.
#[must_use]
pub fn new_secret() -> (String, String) {
    let secret = format!("{API_KEY_PREFIX}{}", secret::generate());
    let shown = secret.chars().take(secret::SHOWN).collect();
    (secret, shown)
}

/// A reassigned key, with its new secret.
#[derive(Clone, PartialEq, Eq, Object)]
pub struct HandedOverKey {
    /// Id of the new key.
    pub id: ApiKeyId,
    /// Id of the key that it replaces, which is revoked.
    pub replaces: ApiKeyId,
    /// Name, as before.
    pub name: String,
    /// Secret of the new key. Shown only in this answer.
    pub key: String,
}

impl std::fmt::Debug for HandedOverKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandedOverKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A key that is valid, or can be resumed.
pub struct Usable {
    id: ApiKeyId,
    name: String,
    scopes: Vec<Scope>,
}

impl Usable {
    /// Scopes of the key.
    #[must_use]
    pub fn scopes(&self) -> &[Scope] {
        &self.scopes
    }
}

/// The keys that act for a user and are valid, or can be resumed. None of them changes before the transaction
/// has ended.
pub async fn lock_usable(accounts: &mut Accounts<'_>, from: UserId) -> Result<Vec<Usable>, sqlx::Error> {
    let workspace = accounts.workspace();
    sqlx::query_as!(
        Usable,
        "select id, name, scopes from api_keys
          where workspace_id = $1 and created_by = $2 and revoked_at is null
            and (expires_at is null or expires_at > now())
          order by id
            for update",
        workspace.0,
        from.0,
    )
    .fetch_all(accounts.conn())
    .await
}

/// Replaces keys that [`lock_usable`] has found by successors that act for `to`; answers them, and the
/// scheduled jobs that run as them. The caller has checked the actor's permissions, and checks that the successors
/// may run these jobs.
pub async fn hand_over(
    accounts: &mut Accounts<'_>,
    keys: Vec<Usable>,
    to: UserId,
) -> Result<(Vec<HandedOverKey>, Vec<ScheduleId>), sqlx::Error> {
    let workspace = accounts.workspace();
    let secrets: Vec<(String, String)> = keys.iter().map(|_| new_secret()).collect();
    let old: Vec<ApiKeyId> = keys.iter().map(|key| key.id).collect();
    let new: Vec<ApiKeyId> = keys.iter().map(|_| ApiKeyId::new()).collect();
    let prefixes: Vec<String> = secrets.iter().map(|(_, shown)| shown.clone()).collect();
    let hashes: Vec<Vec<u8>> = secrets.iter().map(|(secret, _)| secret::hash(secret)).collect();
    let revoked_by = accounts.actor().user_id.map(|user| user.0);
    sqlx::query!(
        "with handed as (
             select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::bytea[]) as h (old, new, prefix, hash)
         ), made as (
             insert into api_keys (id, workspace_id, name, description, prefix, hash, scopes, ip_allowlist,
                                   rate_per_minute, is_active, expires_at, created_by)
             select h.new, k.workspace_id, k.name, k.description, h.prefix, h.hash, k.scopes, k.ip_allowlist,
                    k.rate_per_minute, k.is_active, k.expires_at, $5
               from api_keys k join handed h on h.old = k.id
         )
         update api_keys k
            set is_active = false, revoked_at = now(), revoked_by = $6, replaced_by = h.new, updated_at = now()
           from handed h where h.old = k.id",
        &old as &[ApiKeyId],
        &new as &[ApiKeyId],
        &prefixes,
        &hashes,
        to.0,
        revoked_by,
    )
    .execute(accounts.conn())
    .await?;
    let (mut handed, mut schedules) = (Vec::with_capacity(keys.len()), Vec::new());
    for ((key, new), (secret, shown)) in keys.into_iter().zip(new).zip(secrets) {
        schedules.extend(makers::hand_to_successor(accounts.conn(), workspace, key.id, new).await?);
        let details = json!({ "replaced_by": new, "name": key.name, "prefix": shown, "scopes": key.scopes,
                           "created_by": to });
        accounts.record(Event::new("api_key", "rotated", key.id, details)).await?;
        handed.push(HandedOverKey { id: new, replaces: key.id, name: key.name, key: secret });
    }
    Ok((handed, schedules))
}
