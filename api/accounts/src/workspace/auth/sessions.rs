//! The caller's sessions, and ending them. Not in the contract: needed by the owner of a lost device.

use api_kit::{Answer, App, InPerson, NoContent, SignedIn, Whole};
use domain::SessionId;
use domain_accounts::sessions::{self, Session};
use jobs::Tx;
use poem::web::Data;
use poem_openapi::{Object, OpenApi, param::Path, payload::Json};

use super::Tag;

/// Result of ending sessions.
#[derive(Debug, Object)]
struct EndedSessions {
    /// Number of ended sessions.
    ended: u64,
}

/// Routes of the section.
pub struct SessionsApi;

#[OpenApi(prefix_path = "/auth/sessions", tag = "Tag::Authentication")]
impl SessionsApi {
    /// List the caller's sessions
    ///
    /// The most recently used first; at most 200.
    #[oai(path = "/", method = "get", operation_id = "list_sessions")]
    async fn list(&self, app: Data<&App>, caller: SignedIn) -> Answer<Json<Whole<Session>>> {
        let items = sessions::list(&app.database.pool, caller.user, caller.session).await?;
        Ok(Json(Whole { items }))
    }

    /// End all of the caller's sessions except the present one
    #[oai(path = "/", method = "delete", operation_id = "end_other_sessions")]
    async fn end_others(&self, app: Data<&App>, caller: InPerson) -> Answer<Json<EndedSessions>> {
        let (user, session) = (caller.user, caller.session);
        let revoke = async |tx: &mut Tx| sessions::revoke_others(tx, user, session, &caller.actor()).await;
        let ended = caller.change_shared(&app, revoke).await?;
        Ok(Json(EndedSessions { ended }))
    }

    /// End one of the caller's sessions
    ///
    /// The session's tokens, and the tickets of its jobs' streams, become invalid at once.
    #[oai(path = "/:session_id", method = "delete", operation_id = "end_session")]
    async fn end(&self, app: Data<&App>, caller: InPerson, session_id: Path<SessionId>) -> Answer<NoContent> {
        let (user, session) = (caller.user, session_id.0);
        let revoke = async |tx: &mut Tx| sessions::revoke(tx, user, session, &caller.actor()).await;
        caller.change_shared(&app, revoke).await.map(|()| NoContent)
    }
}
