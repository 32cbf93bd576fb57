//! Personal tokens: what each may do. People make read-only ones; more is granted here.

use api_kit::{Answer, Body, Fails, Operator};
use domain::{PersonalTokenId, access::Scope};
use domain_accounts::personal_tokens::{self, PersonalToken};
use jobs::Tx;
use poem_openapi::{
    Object, OpenApi, Tags,
    param::{Path, Query},
    payload::Json,
};

/// A person's tokens.
#[derive(Debug, Object)]
struct PersonalTokens {
    /// The newest first, revoked ones too; at most 500.
    items: Vec<PersonalToken>,
}

/// What a token is to be allowed.
#[derive(Debug, Object)]
struct Grant {
    /// In place of those that it has: at least one.
    scopes: Vec<Scope>,
}

#[derive(Tags)]
enum Tag {
    /// Tokens for people's programs.
    #[oai(rename = "Personal Tokens")]
    PersonalTokens,
}

pub(crate) struct PersonalTokensApi;

#[OpenApi(prefix_path = "/personal-tokens", tag = "Tag::PersonalTokens")]
impl PersonalTokensApi {
    /// List the personal tokens of whoever has an address
    #[oai(path = "/", method = "get", operation_id = "find_personal_tokens")]
    async fn find(&self, operator: Operator, email: Query<String>) -> Answer<Json<PersonalTokens>> {
        let mut reader = operator.database().reader().await?;
        Ok(Json(PersonalTokens { items: personal_tokens::by_email(reader.conn(), &email).await? }))
    }

    /// Say what a personal token may do
    ///
    /// From its next request on.
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
