//! API keys, as apps on the platform know them. Contract section "API Keys" (P-KEY). The same keys as the
//! Workspace API's; here a key is deleted by being revoked.

use api_kit::{Body, Can, CreatedWrapped, Fails, Limit, MaybeBody, Offset, TypeId, Wrapped, part_request};
use chrono::{DateTime, Utc};
use domain::{Acting, ApiKeyId, Patch, UserId, access::Scope};
use domain_accounts::api_keys::{self, ApiKey, ApiKeyError, Filter, KeyChanges, NewKey, Rotation};
use jobs::Tx;
use poem_openapi::{
    Object, OpenApi, Tags,
    param::{Path, Query},
    payload::Json,
};

use crate::workspace::api_keys::{ManageApiKeys, ViewApiKeys};

/// A key, without the secret.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct Key {
    /// Its id.
    id: TypeId<ApiKeyId>,
    /// What it is called.
    label: String,
    /// Its first characters, by which people tell keys apart.
    prefix: String,
    /// What it may do.
    scopes: Vec<Scope>,
    /// Networks that it may be used from; empty: from anywhere.
    ip_allowlist: Vec<String>,
    /// Requests a minute, where they are fewer than the plan's.
    rate_limit: Option<i32>,
    /// Whether it is neither paused nor revoked.
    is_active: bool,
    /// When it is over by itself.
    expires_at: Option<DateTime<Utc>>,
    /// When it was last used, to the minute.
    last_used_at: Option<DateTime<Utc>>,
    /// The person who issued it.
    created_by: Option<TypeId<UserId>>,
    /// Since when there is this key.
    created_at: DateTime<Utc>,
    /// When its settings last changed.
    updated_at: DateTime<Utc>,
    /// When it was revoked.
    revoked_at: Option<DateTime<Utc>>,
    /// The key that took its place.
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

/// A key to issue.
#[derive(Debug, Object)]
struct KeyToCreate {
    /// What it is called: one line, at most 200 characters.
    label: String,
    /// What it may do: at least one, and only what the issuer has.
    scopes: Vec<Scope>,
    /// Addresses, and networks in CIDR notation, that it may be used from; at most 100. Empty: from anywhere.
    #[oai(default)]
    ip_allowlist: Vec<String>,
    /// When it is over by itself.
    expires_at: Option<DateTime<Utc>>,
    /// Requests a minute; more than the plan's has no effect.
    rate_limit: Option<i32>,
}

/// Changes to a key; what is absent stays as it is.
#[derive(Debug, Object)]
struct KeyToUpdate {
    /// What it is called: one line, at most 200 characters.
    label: Option<String>,
    /// What it may do: at least one, and only what the issuer has.
    scopes: Option<Vec<Scope>>,
    /// Addresses, and networks in CIDR notation, that it may be used from; at most 100. Empty: from anywhere.
    ip_allowlist: Option<Vec<String>>,
    /// Requests a minute; null: what the plan says.
    rate_limit: Patch<i32>,
}

/// What is to be different with a key's successor.
#[derive(Debug, Default, Object)]
struct KeyToRotate {
    /// What it is called.
    label: Option<String>,
    /// What it may do.
    scopes: Option<Vec<Scope>>,
}

/// A key just issued.
#[derive(Debug, Object)]
struct CreatedKey {
    /// The key.
    key: Key,
    /// What goes into the `Authorization` header. It is shown here and never again.
    token: String,
}

/// A key, and the one that took its place.
#[derive(Debug, Object)]
struct RotatedKey {
    /// Revoked.
    old_key: Key,
    /// Issued.
    new_key: Key,
    /// What goes into the `Authorization` header. It is shown here and never again.
    token: String,
}

/// This surface calls names labels, in errors as well.
fn relabelled(error: ApiKeyError) -> ApiKeyError {
    let ApiKeyError::Invalid(errors) = error else { return error };
    let renamed = |field: String| match field.as_str() {
        "name" => "label".to_owned(),
        "rate_per_minute" => "rate_limit".to_owned(),
        _ => field,
    };
    ApiKeyError::Invalid(errors.into_iter().map(|(field, reasons)| (renamed(field), reasons)).collect())
}

#[derive(Tags)]
enum Tag {
    /// Keys for programs: issue them, pause them, end them.
    #[oai(rename = "API Keys")]
    ApiKeys,
}

/// See the module.
pub struct KeysApi;

#[OpenApi(prefix_path = "/v1/keys", tag = "Tag::ApiKeys")]
impl KeysApi {
    /// List the API keys, the newest first
    ///
    /// Revoked ones, too.
    #[oai(path = "/", method = "get", operation_id = "list_keys")]
    async fn list(
        &self,
        can: Can<ViewApiKeys>,
        /// Keys in the answer, at most 200.
        #[oai(default)]
        limit: Query<Limit>,
        /// Keys to pass over.
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
    /// The whole key is in this answer and nowhere else. A key gets no more than its issuer may do (403). The
    /// plan limits the keys that are neither revoked nor expired (402 `limit_exceeded`; `plan_limits.api_keys` of
    /// `/v1/usage`).
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
    /// A change by which the key can do more (another scope, a wider allowlist, a higher rate, the end of a pause) needs all
    /// that the key then holds through its maker, in a role not below the maker's (403 otherwise).
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
    /// For good: it never opens anything again. It stays in the list.
    #[oai(path = "/:key_id", method = "delete", operation_id = "revoke_key")]
    async fn revoke(&self, can: Can<ManageApiKeys>, key_id: Path<TypeId<ApiKeyId>>) -> Wrapped<Key> {
        let key = can.change_shared(async |tx, by| api_keys::revoke(tx, by, key_id.0.0).await).await?;
        Ok(Json(can.wrap(key.into())))
    }

    /// Put a new API key in an API key's place
    ///
    /// The new one has the same settings but for what is given here, and is shown here alone; the old one is
    /// revoked at the same moment.
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
