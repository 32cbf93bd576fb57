//! The operator: the holder of the token that the installation was started with. It belongs to no
//! account, covers all workspaces, and is valid for the routes below `/ops` only.

use domain::Actor;
use jobs::{Database, Origin};
use poem::{Request, RequestBody};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaSecurityScheme, Registry},
};

use crate::{
    ApiError, App, Visitor,
    caller::{app, bearer_token},
    idempotency::{self, Claim},
};

/// The name of the operator's scheme in the documents.
pub(crate) const OPERATOR: &str = "operator";

/// Proof that the caller is an operator.
#[derive(Debug, Clone)]
pub struct Operator {
    app: App,
    visitor: Visitor,
}

impl Operator {
    /// The app.
    #[must_use]
    pub fn app(&self) -> &App {
        &self.app
    }

    /// The database and the bus.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.app.database
    }

    /// The actor: the operator, with address and request.
    #[must_use]
    pub fn actor(&self) -> Actor {
        self.visitor.actor()
    }

    pub(crate) fn claim(&self) -> Option<&Claim> {
        self.visitor.claim.as_ref()
    }

    /// Origin of the request, for actions on jobs and on their execution.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.actor().origin()
    }
}

async fn admit(request: &Request) -> Result<Operator, ApiError> {
    let app = app(request)?;
    let token = app.config.operator_token.as_ref().ok_or_else(|| {
        ApiError::unavailable(
            "operator_token_not_set",
            "the operator's routes are closed: the process was started without OPERATOR_TOKEN",
        )
    })?;
    let refused = match bearer_token(request) {
        Ok(brought) if token.is(brought) => {
            // An operator is not subject to rate limits.
            app.rates.let_pass(request);
            let mut visitor = Visitor::of(request);
            let who = format!("operator:{}", token.fingerprint());
            visitor.claim = idempotency::arm(request, &app.database, &who, "", None).await?;
            return Ok(Operator { app: app.clone(), visitor });
        }
        Ok(_) => ApiError::token_invalid(),
        Err(error) => error,
    };
    app.rates.charge_visitor(&app.database, request).await?;
    Err(refused)
}

impl<'a> ApiExtractor<'a> for Operator {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        registry.create_security_scheme(
            OPERATOR,
            MetaSecurityScheme {
                ty: "http",
                description: Some("The value of the API process's OPERATOR_TOKEN."),
                name: None,
                key_in: None,
                scheme: Some("bearer"),
                bearer_format: None,
                flows: None,
                openid_connect_url: None,
            },
        );
    }

    fn security_schemes() -> Vec<&'static str> {
        vec![OPERATOR]
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        Ok(admit(request).await?)
    }
}
