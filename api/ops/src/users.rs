//! Accounts: finding one, staff status, deactivation, and impersonation.

use api_kit::{Answer, ApiError, Body, Created, Operator};
use chrono::{DateTime, Utc};
use domain::UserId;
use domain_accounts::users::{
    impersonation,
    staff::{self, Account},
};
use poem_openapi::{
    Object, OpenApi, Tags,
    param::{Path, Query},
    payload::Json,
};
use uuid::Uuid;

/// Accounts that match.
#[derive(Debug, Object)]
struct Accounts {
    /// One account, or none.
    items: Vec<Account>,
}

/// Changes to an account; absent fields stay unchanged.
#[derive(Debug, Object)]
struct AccountChanges {
    /// Whether the account is staff, which may act as other users.
    is_staff: Option<bool>,
    /// Whether the account may sign in. Deactivation ends its sessions at once.
    is_active: Option<bool>,
}

/// The staff account that will act as the user.
#[derive(Debug, Object)]
struct Impersonator {
    /// Id or email address of an active staff account.
    #[oai(validator(max_length = 254))]
    staff: String,
}

/// A token to act as another user.
#[derive(Debug, Object)]
struct ImpersonationToken {
    /// Token for `POST /api/v1/auth/impersonation/exchange`; can be used once.
    token: String,
    /// Expiry time of the token.
    expires_at: DateTime<Utc>,
}

#[derive(Tags)]
enum Tag {
    /// Accounts: sign-in and staff status.
    Accounts,
}

pub(crate) struct UsersApi;

#[OpenApi(prefix_path = "/users", tag = "Tag::Accounts")]
impl UsersApi {
    /// Find an account by its email address
    #[oai(path = "/", method = "get", operation_id = "find_accounts")]
    async fn find(&self, operator: Operator, email: Query<String>) -> Answer<Json<Accounts>> {
        let found = staff::by_email(&operator.database().pool, &email).await?;
        Ok(Json(Accounts { items: found.into_iter().collect() }))
    }

    /// Change an account's staff and activity status
    #[oai(path = "/:user_id", method = "patch", operation_id = "update_account")]
    async fn update(
        &self,
        operator: Operator,
        user_id: Path<UserId>,
        changes: Body<AccountChanges>,
    ) -> Answer<Json<Account>> {
        let AccountChanges { is_staff, is_active } = changes.0;
        let (user, actor) = (user_id.0, operator.actor());
        operator
            .change_shared(async |tx| staff::change(tx, user, is_staff, is_active, &actor).await)
            .await
            .map(Json)
    }

    /// Issue an impersonation token
    ///
    /// For a staff account; can be used once, within five minutes. The session that it opens, and everything
    /// done in it, is attributed to the staff account.
    #[oai(path = "/:user_id/impersonation", method = "post", operation_id = "create_impersonation_token")]
    async fn impersonate(
        &self,
        operator: Operator,
        user_id: Path<UserId>,
        who: Body<Impersonator>,
    ) -> Answer<Created<ImpersonationToken>> {
        let (app, database) = (operator.app(), operator.database());
        let staff = match who.staff.parse() {
            Ok(id) => UserId(id),
            Err(_) => {
                staff::by_email(&database.pool, &who.staff).await?.map_or(UserId(Uuid::nil()), |it| it.id)
            }
        };
        let (token, said) = app.keys.impersonation_token(user_id.0, staff).map_err(ApiError::internal)?;
        let actor = operator.actor();
        operator.change_shared(async |tx| impersonation::allow(tx, &said, &actor).await).await?;
        Ok(Created(ImpersonationToken { token, expires_at: said.expires }))
    }
}
