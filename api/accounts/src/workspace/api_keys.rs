//! API keys for programs of a workspace. Contract section "API Keys" (W-KEY). The same keys as the Platform
//! API's, which uses other field names.

use api_kit::{Limit, Offset, part_request, prelude::*};
use domain::ApiKeyId;
use domain_accounts::api_keys::{self, ApiKey, Filter, KeyChanges, NewKey, Rotation};
use poem_openapi::Object;

permissions! { ViewApiKeys = "api_keys:view", ManageApiKeys = "api_keys:manage" }

/// A newly issued API key.
#[derive(Debug, Object)]
struct IssuedApiKey {
    #[oai(flatten)]
    api_key: ApiKey,
    /// The whole key, for the `Authorization` header. Shown only in this answer.
    key: String,
}

/// Number of API keys.
#[derive(Debug, Object)]
struct ApiKeyCount {
    /// Number of keys.
    count: i64,
}

#[derive(Tags)]
enum Tag {
    /// API keys for programs: issue, pause and revoke them.
    #[oai(rename = "API Keys")]
    ApiKeys,
}

/// Routes of the section.
pub struct ApiKeysApi;

#[OpenApi(prefix_path = "/api-keys", tag = "Tag::ApiKeys")]
impl ApiKeysApi {
    /// List the workspace's API keys, the newest first
    #[oai(path = "/", method = "get", operation_id = "list_api_keys")]
    async fn list(
        &self,
        can: Can<ViewApiKeys>,
        /// Number of keys to skip.
        #[oai(default)]
        skip: Query<Offset>,
        /// Maximum number of keys in the answer, at most 200.
        #[oai(default)]
        limit: Query<Limit>,
        is_active: Query<Option<bool>>,
        is_revoked: Query<Option<bool>>,
    ) -> Answer<Json<Vec<ApiKey>>> {
        let filter = Filter { is_active: is_active.0, is_revoked: is_revoked.0 };
        let mut reader = can.app().database.reader().await?;
        let part = part_request(limit.0, skip.0);
        Ok(Json(api_keys::list(reader.conn(), can.workspace, filter, part).await?))
    }

    /// Count the workspace's API keys
    #[oai(path = "/count", method = "get", operation_id = "count_api_keys")]
    async fn count(
        &self,
        can: Can<ViewApiKeys>,
        is_active: Query<Option<bool>>,
        is_revoked: Query<Option<bool>>,
    ) -> Answer<Json<ApiKeyCount>> {
        let filter = Filter { is_active: is_active.0, is_revoked: is_revoked.0 };
        let mut reader = can.app().database.reader().await?;
        Ok(Json(ApiKeyCount { count: api_keys::count(reader.conn(), can.workspace, filter).await? }))
    }

    /// Show an API key
    #[oai(path = "/:api_key_id", method = "get", operation_id = "get_api_key")]
    async fn get(&self, can: Can<ViewApiKeys>, api_key_id: Path<ApiKeyId>) -> Answer<Json<ApiKey>> {
        let mut reader = can.app().database.reader().await?;
        Ok(Json(api_keys::get(reader.conn(), can.workspace, api_key_id.0).await?))
    }

    /// Issue an API key
    ///
    /// Only this answer shows the whole key. A key has the permissions of the user that it acts for (`created_by`),
    /// within its scopes, and is granted no more than its issuer has (403). The plan limits the number of keys that are
    /// neither revoked nor expired (402 `limit_exceeded`).
    #[oai(path = "/", method = "post", operation_id = "create_api_key", tag = "Fails::LimitExceeded")]
    async fn create(&self, can: Can<ManageApiKeys>, key: Body<NewKey>) -> Answer<Created<IssuedApiKey>> {
        let issued = can.change_shared(async |tx, by| api_keys::issue(tx, by, key.0).await).await?;
        Ok(Created(IssuedApiKey { api_key: issued.key, key: issued.secret }))
    }

    /// Revoke an API key
    ///
    /// Permanent: a revoked key is never accepted again and cannot be changed. It stays in the list.
    #[oai(path = "/:api_key_id/revoke", method = "post", operation_id = "revoke_api_key")]
    async fn revoke(&self, can: Can<ManageApiKeys>, api_key_id: Path<ApiKeyId>) -> Answer<Json<ApiKey>> {
        can.change_shared(async |tx, by| api_keys::revoke(tx, by, api_key_id.0).await).await.map(Json)
    }

    /// Rotate an API key
    ///
    /// Issues a new key with the same settings and revokes the old key at the same moment. Only this answer shows the
    /// whole new key.
    #[oai(
        path = "/:api_key_id/rotate",
        method = "post",
        operation_id = "rotate_api_key",
        tag = "Fails::KeyRevoked",
        tag = "Fails::KeyExpired"
    )]
    async fn rotate(
        &self,
        can: Can<ManageApiKeys>,
        api_key_id: Path<ApiKeyId>,
    ) -> Answer<Json<IssuedApiKey>> {
        let id = api_key_id.0;
        let (_, new) =
            can.change_shared(async |tx, by| api_keys::rotate(tx, by, id, Rotation::default()).await).await?;
        Ok(Json(IssuedApiKey { api_key: new.key, key: new.secret }))
    }

    /// Pause or resume an API key
    #[oai(
        path = "/:api_key_id/toggle",
        method = "post",
        operation_id = "toggle_api_key",
        tag = "Fails::KeyRevoked"
    )]
    async fn toggle(&self, can: Can<ManageApiKeys>, api_key_id: Path<ApiKeyId>) -> Answer<Json<ApiKey>> {
        can.change_shared(async |tx, by| api_keys::toggle(tx, by, api_key_id.0).await).await.map(Json)
    }

    /// Change an API key's settings
    ///
    /// A change that lets the key do more (another scope, a wider allowlist, a higher rate, the end of a pause)
    /// needs all permissions that the key then has through the user that it acts for, and a role not below
    /// that user's (403 otherwise).
    #[oai(
        path = "/:api_key_id",
        method = "patch",
        operation_id = "update_api_key",
        tag = "Fails::KeyRevoked"
    )]
    async fn update(
        &self,
        can: Can<ManageApiKeys>,
        api_key_id: Path<ApiKeyId>,
        changes: Body<KeyChanges>,
    ) -> Answer<Json<ApiKey>> {
        let id = api_key_id.0;
        can.change_shared(async |tx, by| api_keys::change(tx, by, id, changes.0).await).await.map(Json)
    }

    /// Delete an API key
    ///
    /// The key becomes invalid and is removed from the list; only the audit log still names it. To keep it in
    /// the list, revoke it instead.
    #[oai(path = "/:api_key_id", method = "delete", operation_id = "delete_api_key")]
    async fn delete(&self, can: Can<ManageApiKeys>, api_key_id: Path<ApiKeyId>) -> Answer<NoContent> {
        let id = api_key_id.0;
        can.change_shared(async |tx, by| api_keys::delete(tx, by, id).await).await?;
        Ok(NoContent)
    }
}
