//! API keys in the terms of the Platform API. Contract section "API Keys" (P-KEY). The same keys as the
//! Workspace API's; here a key is deleted by being revoked.

use api_kit::{Body, Can, CreatedWrapped, Fails, Limit, MaybeBody, Offset, TypeId, Wrapped, part_request};
use chrono::{DateTime, Utc};
use domain::{Acting, ApiKeyId, Error, Patch, UserId, access::Scope};
use domain_accounts::api_keys::{self, ApiKey, Filter, KeyChanges, NewKey, Rotation};
use jobs::Tx;
use poem_openapi::{
    Object, OpenApi, Tags,
    param::{Path, Query},
    payload::Json,
};

use crate::workspace::api_keys::{ManageApiKeys, ViewApiKeys};

/// An API key, without its secret.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct Key {
    /// API key id.
    id: TypeId<ApiKeyId>,
    /// Name.
    label: String,
    /// First characters of the key, for telling keys apart.
    prefix: String,
    /// Scopes that are granted to the key.
    scopes: Vec<Scope>,
    /// Networks that the key may be used from; empty for any address.
    ip_allowlist: Vec<String>,
    /// Maximum number of requests per minute; null for the plan's limit.
    rate_limit: Option<i32>,
    /// Whether the key is active: neither paused nor revoked.
    is_active: bool,
    /// Expiry time; null if the key does not expire.
    expires_at: Option<DateTime<Utc>>,
    /// Time of the last use, to the minute; null if the key has not been used.
    last_used_at: Option<DateTime<Utc>>,
    /// User id of the issuer; null if the account is deleted.
    created_by: Option<TypeId<UserId>>,
    /// Creation time.
    created_at: DateTime<Utc>,
    /// Time of the last change of the settings.
    updated_at: DateTime<Utc>,
    /// Revocation time; null if the key is not revoked.
    revoked_at: Option<DateTime<Utc>>,
    /// Id of the key that replaced this one; null if there is none.
    replaced_by: Option<TypeId<ApiKeyId>>,
}

impl From<ApiKey> for Key {
    fn from(key: ApiKey) -> Self {
        Self {
            id: TypeId(key.id),
            label: key.name,
            prefix: key.prefix,
            scopes: key.scopes,
            ip_allowlist: key.ip_allowlist,
            rate_limit: key.rate_per_minute,
            is_active: key.is_active,
            expires_at: key.expires_at,
            last_used_at: key.last_used_at,
            created_by: key.created_by.map(TypeId),
            created_at: key.created_at,
            updated_at: key.updated_at,
            revoked_at: key.revoked_at,
            replaced_by: key.replaced_by.map(TypeId),
        }
    }
}

/// An API key to issue.
#[derive(Debug, Object)]
struct KeyToCreate {
    /// Name: one line, at most 200 characters.
    label: String,
    /// Scopes to grant: at least one, and only scopes that the issuer has.
    scopes: Vec<Scope>,
    /// IP addresses, and networks in CIDR notation, that the key may be used from; at most 100. Empty for any
    /// address.
    #[oai(default)]
    ip_allowlist: Vec<String>,
    /// Expiry time; null if the key does not expire.
    expires_at: Option<DateTime<Utc>>,
    /// Maximum number of requests per minute; a value above the plan's limit has no effect. Null for the plan's
    /// limit.
    rate_limit: Option<i32>,
}

/// Changes to an API key; absent fields stay unchanged.
#[derive(Debug, Object)]
struct KeyToUpdate {
    /// Name: one line, at most 200 characters.
    label: Option<String>,
    /// Scopes to grant: at least one, and only scopes that the issuer has.
    scopes: Option<Vec<Scope>>,
    /// IP addresses, and networks in CIDR notation, that the key may be used from; at most 100. Empty for any
    /// address.
    ip_allowlist: Option<Vec<String>>,
    /// Maximum number of requests per minute; null for the plan's limit.
    rate_limit: Patch<i32>,
}

/// Settings of the new key that differ from those of the rotated one.
#[derive(Debug, Default, Object)]
struct KeyToRotate {
    /// Name; that of the rotated key if absent.
    label: Option<String>,
    /// Scopes to grant; those of the rotated key if absent.
    scopes: Option<Vec<Scope>>,
}

/// A newly issued API key.
#[derive(Debug, Object)]
struct CreatedKey {
    /// The key, without its secret.
    key: Key,
    /// The whole key, for the `Authorization` header. Shown only in this answer.
    token: String,
}

/// A rotated API key and its replacement.
#[derive(Debug, Object)]
struct RotatedKey {
    /// The rotated key, now revoked.
    old_key: Key,
    /// The new key, without its secret.
    new_key: Key,
    /// The whole new key, for the `Authorization` header. Shown only in this answer.
    token: String,
}

/// The Platform API uses `label` for a key's name, in errors as well.
fn relabelled(error: Error) -> Error {
    error.rename_fields(|field| match field.as_str() {
        "name" => "label".to_owned(),
        "rate_per_minute" => "rate_limit".to_owned(),
        _ => field,
    })
}

#[derive(Tags)]
enum Tag {
    /// API keys for programs: issue, pause and revoke them.
    #[oai(rename = "API Keys")]
    ApiKeys,
}

/// Routes of the section.
pub struct KeysApi;

#[OpenApi(prefix_path = "/v1/keys", tag = "Tag::ApiKeys")]
impl KeysApi {
    /// List the API keys, the newest first
    ///
    /// Revoked keys are included.
    #[oai(path = "/", method = "get", operation_id = "list_keys")]
    async fn list(
        &self,
        can: Can<ViewApiKeys>,
        /// Maximum number of keys in the answer, at most 200.
        #[oai(default)]
        limit: Query<Limit>,
        /// Number of keys to skip.
        #[oai(default)]
        offset: Query<Offset>,
    ) -> Wrapped<Vec<Key>> {
        let mut reader = can.app().database.reader().await?;
        let part = part_request(limit.0, offset.0);
        let keys = api_keys::list(reader.conn(), can.workspace, Filter::default(), part).await?;
        Ok(Json(can.wrap(keys.into_iter().map(Key::from).collect())))
    }

    /// Issue an API key
    ///
    /// Only this answer shows the whole key. A key is granted no more than its issuer has (403). The plan
    /// limits the number of keys that are neither revoked nor expired (402 `limit_exceeded`;
    /// `plan_limits.api_keys` of `/v1/usage`).
    #[oai(path = "/", method = "post", operation_id = "create_key", tag = "Fails::LimitExceeded")]
    async fn create(&self, can: Can<ManageApiKeys>, key: Body<KeyToCreate>) -> CreatedWrapped<CreatedKey> {
        let KeyToCreate { label, scopes, ip_allowlist, expires_at, rate_limit } = key.0;
        let new = NewKey {
            name: label,
            description: None,
            scopes,
            ip_allowlist,
            rate_per_minute: rate_limit,
            expires_at,
        };
        let work =
            async |tx: &mut Tx, by: &Acting<'_>| api_keys::issue(tx, by, new).await.map_err(relabelled);
        let issued = can.change_shared(work).await?;
        Ok(api_kit::Created(can.wrap(CreatedKey { key: issued.key.into(), token: issued.secret })))
    }

    /// Change an API key's settings
    ///
    /// A change that lets the key do more (another scope, a wider allowlist, a higher rate, the end of a pause)
    /// needs all permissions that the key then has through the user that it acts for, and a role not below
    /// that user's (403 otherwise).
    #[oai(path = "/:key_id", method = "patch", operation_id = "update_key", tag = "Fails::KeyRevoked")]
    async fn update(
        &self,
        can: Can<ManageApiKeys>,
        key_id: Path<TypeId<ApiKeyId>>,
        changes: Body<KeyToUpdate>,
    ) -> Wrapped<Key> {
        let KeyToUpdate { label, scopes, ip_allowlist, rate_limit } = changes.0;
        let changes = KeyChanges {
            name: label,
            scopes,
            ip_allowlist,
            rate_per_minute: rate_limit,
            ..KeyChanges::default()
        };
        let id = key_id.0.0;
        let work = async |tx: &mut Tx, by: &Acting<'_>| {
            api_keys::change(tx, by, id, changes).await.map_err(relabelled)
        };
        let key = can.change_shared(work).await?;
        Ok(Json(can.wrap(key.into())))
    }

    /// Revoke an API key
    ///
    /// Permanent: a revoked key is never accepted again. It stays in the list.
    #[oai(path = "/:key_id", method = "delete", operation_id = "revoke_key")]
    async fn revoke(&self, can: Can<ManageApiKeys>, key_id: Path<TypeId<ApiKeyId>>) -> Wrapped<Key> {
        let key = can.change_shared(async |tx, by| api_keys::revoke(tx, by, key_id.0.0).await).await?;
        Ok(Json(can.wrap(key.into())))
    }

    /// Rotate an API key
    ///
    /// Issues a new key with the same settings except those given here, and revokes the old key at the
    /// same moment. Only this answer shows the whole new key.
    #[oai(
        path = "/:key_id/rotate",
        method = "post",
        operation_id = "rotate_key",
        tag = "Fails::KeyRevoked",
        tag = "Fails::KeyExpired"
    )]
    async fn rotate(
        &self,
        can: Can<ManageApiKeys>,
        key_id: Path<TypeId<ApiKeyId>>,
        rotation: MaybeBody<KeyToRotate>,
    ) -> Wrapped<RotatedKey> {
        let KeyToRotate { label, scopes } = rotation.0.unwrap_or_default();
        let (id, rotation) = (key_id.0.0, Rotation { name: label, scopes });
        let work = async |tx: &mut Tx, by: &Acting<'_>| {
            api_keys::rotate(tx, by, id, rotation).await.map_err(relabelled)
        };
        let (old, new) = can.change_shared(work).await?;
        let rotated = RotatedKey { old_key: old.into(), new_key: new.key.into(), token: new.secret };
        Ok(Json(can.wrap(rotated)))
    }
}
