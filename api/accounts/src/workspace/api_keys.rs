//! API keys, for programs of a workspace. Contract section "API Keys" (W-KEY). The same keys as the Platform
//! API's, which calls them by other names.

use api_kit::{Limit, Offset, part_request, prelude::*};
use domain::ApiKeyId;
use domain_accounts::api_keys::{self, ApiKey, Filter, KeyChanges, NewKey, Rotation};
use poem_openapi::Object;

permissions! { ViewApiKeys = "api_keys:view", ManageApiKeys = "api_keys:manage" }

/// A key just issued.
#[derive(Debug, Object)]
struct IssuedApiKey {
    #[oai(flatten)]
    api_key: ApiKey,
    /// The whole key, for the `Authorization` header. It is shown here and never again.
    key: String,
}

/// How many keys.
#[derive(Debug, Object)]
struct ApiKeyCount {
    /// That many.
    count: i64,
}

#[derive(Tags)]
enum Tag {
    /// Keys for programs: issue them, pause them, end them.
    #[oai(rename = "API Keys")]
    ApiKeys,
}

/// See the module.
pub struct ApiKeysApi;

#[OpenApi(prefix_path = "/api-keys", tag = "Tag::ApiKeys")]
impl ApiKeysApi {
    /// List the workspace's API keys, the newest first
    #[oai(path = "/", method = "get", operation_id = "list_api_keys")]
    async fn list(
        &self,
        can: Can<ViewApiKeys>,
        /// Keys to pass over.
        #[oai(default)]
        skip: Query<Offset>,
        /// Keys in the answer, at most 200.
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

    /// Look at an API key
    #[oai(path = "/:api_key_id", method = "get", operation_id = "get_api_key")]
    async fn get(&self, can: Can<ViewApiKeys>, api_key_id: Path<ApiKeyId>) -> Answer<Json<ApiKey>> {
        let mut reader = can.app().database.reader().await?;
        Ok(Json(api_keys::get(reader.conn(), can.workspace, api_key_id.0).await?))
    }

    /// Issue an API key
    ///
    /// The whole key is in this answer and nowhere else. With a key one does what admins do, within its
    /// scopes; a key gets no more than its issuer may do (403). The plan limits the keys that are
    /// neither revoked nor expired (402 `limit_exceeded`).
    #[oai(path = "/", method = "post", operation_id = "create_api_key", tag = "Fails::LimitExceeded")]
    async fn create(&self, can: Can<ManageApiKeys>, key: Body<NewKey>) -> Answer<Created<IssuedApiKey>> {
        let issued = can.change_shared(async |tx, by| api_keys::issue(tx, by, key.0).await).await?;
        Ok(Created(IssuedApiKey { api_key: issued.key, key: issued.secret }))
    }

    /// Revoke an API key
    ///
    /// For good: it never opens anything again, and can't be changed any more. It stays in the list.
    #[oai(path = "/:api_key_id/revoke", method = "post", operation_id = "revoke_api_key")]
    async fn revoke(&self, can: Can<ManageApiKeys>, api_key_id: Path<ApiKeyId>) -> Answer<Json<ApiKey>> {
        can.change_shared(async |tx, by| api_keys::revoke(tx, by, api_key_id.0).await).await.map(Json)
    }

    /// Put a new API key in an API key's place
    ///
    /// The new one has the same settings, and is shown here alone; the old one is revoked at the same moment.
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

    /// Pause an API key, or let it go on
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
    /// A change by which the key can do more (another scope, a wider allowlist, a higher rate, the end of a pause) needs all
    /// that the key then holds through its maker, in a role not below the maker's (403 otherwise).
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

    /// Erase an API key
    ///
    /// It opens nothing any more, and nothing is left of it but the audit. To keep it in sight, revoke it.
    #[oai(path = "/:api_key_id", method = "delete", operation_id = "delete_api_key")]
    async fn delete(&self, can: Can<ManageApiKeys>, api_key_id: Path<ApiKeyId>) -> Answer<NoContent> {
        let id = api_key_id.0;
        can.change_shared(async |tx, by| api_keys::delete(tx, by, id).await).await?;
        Ok(NoContent)
    }
}
