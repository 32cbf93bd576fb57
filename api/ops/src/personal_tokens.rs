//! Personal tokens and their scopes. Users create read-only tokens; further scopes are granted here.

use api_kit::{Answer, Body, Fails, Operator};
use domain::{PersonalTokenId, access::Scope};
use domain_accounts::personal_tokens::{self, PersonalToken};
use jobs::Tx;
use poem_openapi::{
    Object, OpenApi, Tags,
    param::{Path, Query},
    payload::Json,
};

/// Personal tokens of a user.
#[derive(Debug, Object)]
struct PersonalTokens {
    /// Tokens, the newest first, including revoked ones; at most 500.
    items: Vec<PersonalToken>,
}

/// Scopes to grant to a token.
#[derive(Debug, Object)]
struct Grant {
    /// Scopes, in place of the present ones: at least one.
    scopes: Vec<Scope>,
}

#[derive(Tags)]
enum Tag {
    /// Personal tokens of users.
    #[oai(rename = "Personal Tokens")]
    PersonalTokens,
}

pub(crate) struct PersonalTokensApi;

#[OpenApi(prefix_path = "/personal-tokens", tag = "Tag::PersonalTokens")]
impl PersonalTokensApi {
    /// List the personal tokens of the account with an email address
    #[oai(path = "/", method = "get", operation_id = "find_personal_tokens")]
    async fn find(&self, operator: Operator, email: Query<String>) -> Answer<Json<PersonalTokens>> {
        let mut reader = operator.database().reader().await?;
        Ok(Json(PersonalTokens { items: personal_tokens::by_email(reader.conn(), &email).await? }))
    }

    /// Set the scopes of a personal token
    ///
    /// Takes effect with the token's next request.
    #[oai(
        path = "/:token_id",
        method = "patch",
        operation_id = "grant_personal_token",
        tag = "Fails::TokenRevoked"
    )]
    async fn grant(
        &self,
        operator: Operator,
        token_id: Path<PersonalTokenId>,
        grant: Body<Grant>,
    ) -> Answer<Json<PersonalToken>> {
        let actor = operator.actor();
        let grant = async |tx: &mut Tx| personal_tokens::grant(tx, &actor, *token_id, &grant.scopes).await;
        operator.change_shared(grant).await.map(Json)
    }
}
