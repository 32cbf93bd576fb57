//! Personal tokens, for a user's own programs. Not in the contract, which presupposes a source of tokens.

use api_kit::{Answer, App, Body, Created, Fails, InPerson, NoContent, SignedIn, Whole};
use domain::PersonalTokenId;
use domain_accounts::personal_tokens::{self, NewToken, PersonalToken};
use jobs::Tx;
use poem::web::Data;
use poem_openapi::{Object, OpenApi, param::Path, payload::Json};

use super::Tag;

/// A newly created personal token.
#[derive(Debug, Object)]
struct NewPersonalToken {
    #[oai(flatten)]
    personal_token: PersonalToken,
    /// The token itself. Shown only in this answer.
    token: String,
}

/// Routes of the section.
pub struct TokensApi;

#[OpenApi(prefix_path = "/auth/tokens", tag = "Tag::Authentication")]
impl TokensApi {
    /// List the caller's personal tokens
    ///
    /// The newest first, without revoked ones.
    #[oai(path = "/", method = "get", operation_id = "list_personal_tokens")]
    async fn list(&self, app: Data<&App>, caller: SignedIn) -> Answer<Json<Whole<PersonalToken>>> {
        let mut reader = app.database.reader().await?;
        Ok(Json(personal_tokens::of_user(reader.conn(), caller.user).await?.into()))
    }

    /// Create a personal token
    ///
    /// The token can read what its user may see, in all of the user's workspaces or in the given one, and
    /// change nothing; the operator can allow more. A user has at most 50 tokens at a time. While one of the
    /// workspaces of the token needs a more recent sign-in, the answer is 401.
    #[oai(path = "/", method = "post", operation_id = "create_personal_token", tag = "Fails::LimitExceeded")]
    async fn create(
        &self,
        app: Data<&App>,
        caller: InPerson,
        token: Body<NewToken>,
    ) -> Answer<Created<NewPersonalToken>> {
        let within = match token.workspace_id {
            // The token is valid for all of the user's workspaces, for longer than the session: all must admit
            // the session.
            None => {
                caller.admitted_by_all(&app).await?;
                None
            }
            Some(workspace) => {
                let entry = caller.authority_in(&app, workspace).await;
                // A workspace that the caller doesn't belong to is a wrong value of the body, reported with all
                // others.
                entry.map(Some).or_else(|error| if error.is_not_found() { Ok(None) } else { Err(error) })?
            }
        };
        let (user, actor) = (caller.user, caller.actor());
        let create =
            async |tx: &mut Tx| personal_tokens::create(tx, user, &actor, within.as_ref(), token.0).await;
        let (personal_token, token) = caller.change_shared(&app, create).await?;
        Ok(Created(NewPersonalToken { personal_token, token }))
    }

    /// Revoke one of the caller's personal tokens
    #[oai(path = "/:token_id", method = "delete", operation_id = "revoke_personal_token")]
    async fn revoke(
        &self,
        app: Data<&App>,
        caller: InPerson,
        token_id: Path<PersonalTokenId>,
    ) -> Answer<NoContent> {
        let (user, actor) = (caller.user, caller.actor());
        let revoke = async |tx: &mut Tx| personal_tokens::revoke(tx, user, &actor, *token_id).await;
        caller.change_shared(&app, revoke).await.map(|()| NoContent)
    }
}
