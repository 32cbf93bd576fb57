//! Accounts: finding one, making somebody staff, letting nobody in by one, and acting as somebody.

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

/// Accounts.
#[derive(Debug, Object)]
struct Accounts {
    /// One, or none.
    items: Vec<Account>,
}

/// What is to be different; what is absent stays as it is.
#[derive(Debug, Object)]
struct AccountChanges {
    /// Whether they are staff, who may act as others.
    is_staff: Option<bool>,
    /// Whether they may sign in. Who no longer may is out at once.
    is_active: Option<bool>,
}

/// Who acts as somebody.
#[derive(Debug, Object)]
struct Impersonator {
    /// The id or the address of an active member of staff.
    #[oai(validator(max_length = 254))]
    staff: String,
}

/// A token to act as somebody.
#[derive(Debug, Object)]
struct ImpersonationToken {
    /// For `POST /api/v1/auth/impersonation/exchange`; good once.
    token: String,
    /// Until when it may be exchanged.
    expires_at: DateTime<Utc>,
}

#[derive(Tags)]
enum Tag {
    /// Accounts: who may sign in, who is staff.
    Accounts,
}

pub(crate) struct UsersApi;

#[OpenApi(prefix_path = "/users", tag = "Tag::Accounts")]
impl UsersApi {
    /// Find an account by its address
    #[oai(path = "/", method = "get", operation_id = "find_accounts")]
    async fn find(&self, operator: Operator, email: Query<String>) -> Answer<Json<Accounts>> {
        let found = staff::by_email(&operator.database().pool, &email).await?;
        Ok(Json(Accounts { items: found.into_iter().collect() }))
    }

    /// Make somebody staff or not, active or not
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

    /// Hand out a token to act as somebody
    ///
    /// For a member of staff, good once and for five minutes. The session that it opens says who acts, and so
    /// does everything that is done in it.
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
