//! Staff who act as somebody: the exchange of what an operator has handed out.

use api_kit::{Answer, ApiError, App, Body, Tag, Visitor};
use domain::users::impersonation;
use poem::web::Data;
use poem_openapi::{Object, OpenApi, payload::Json};

use super::LoggedIn;

/// A token to exchange.
#[derive(Debug, Object)]
struct Exchange {
    /// What the operator's route has answered.
    token: String,
}

/// See the module.
pub struct ImpersonationApi;

#[OpenApi(prefix_path = "/auth/impersonation", tag = "Tag::Authentication")]
impl ImpersonationApi {
    /// Exchange an impersonation token for a session
    ///
    /// A token is good once, for five minutes. What is done in the session is noted as done by the member of
    /// staff, who can neither change the password nor the address.
    #[oai(path = "/exchange", method = "post", operation_id = "exchange_impersonation")]
    async fn exchange(
        &self,
        app: Data<&App>,
        visitor: Visitor,
        exchange: Body<Exchange>,
    ) -> Answer<Json<LoggedIn>> {
        let said = app.keys.check_impersonation_token(&exchange.token).ok_or_else(ApiError::token_invalid)?;
        let opened = impersonation::exchange(&app.database, &said, &visitor.actor()).await?;
        LoggedIn::of(&app, opened).await.map(Json)
    }
}
