//! Handing a member's keys to another member. A key acts for the person in its `created_by`, and that person may have kept its
//! secret: so what is handed over is a successor with the same settings, and the old key is revoked.

use jobs::ScheduleId;
use poem_openapi::Object;
use serde_json::json;

use crate::{Accounts, ApiKeyId, Event, UserId, access::Scope, callers::API_KEY_PREFIX, makers, secret};

/// A new secret of a key, and its beginning.
#[must_use]
pub fn new_secret() -> (String, String) {
    let secret = format!("{API_KEY_PREFIX}{}", secret::generate());
    let shown = secret.chars().take(secret::SHOWN).collect();
    (secret, shown)
}

/// A key that was handed over, under its new secret.
#[derive(Clone, PartialEq, Eq, Object)]
pub struct HandedOverKey {
    /// Id of the new key.
    pub id: ApiKeyId,
    /// Id of the key whose place it takes, which is revoked.
    pub replaces: ApiKeyId,
    /// Name, as before.
    pub name: String,
    /// Secret of the new key. It is shown this once.
    pub key: String,
}

impl std::fmt::Debug for HandedOverKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandedOverKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A key that can still be used, or resumed.
pub struct Usable {
    id: ApiKeyId,
    name: String,
    scopes: Vec<Scope>,
}

impl Usable {
    /// Its scopes.
    #[must_use]
    pub fn scopes(&self) -> &[Scope] {
        &self.scopes
    }
}

/// The keys that act for a person and can still be used, or resumed. None of them changes before the transaction has ended.
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

/// Puts successors that act for `to` in the place of keys that [`lock_usable`] has found; answers with them, and with the
/// scheduled jobs that run as them. The caller has checked that the actor may, and checks that the successors may have
/// these run.
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
