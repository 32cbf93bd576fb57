//! Who calls. A handler that needs a person takes [`SignedIn`], one that anyone may call takes
//! [`Visitor`], and one that works in a workspace takes [`crate::Can`].

use std::{net::IpAddr, ops::Deref};

use domain::{Actor, CredentialType, SessionId, UserId, sessions};
use jobs::{Surface, TraceParent};
use poem::{PathPattern, Request, RequestBody, http::header};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaSecurityScheme, Registry},
};

use crate::{ApiError, App, ClientAddress, Credential, RequestId};

/// The name of the bearer scheme in the documents.
pub(crate) const BEARER: &str = "bearer";

/// Whoever sends a request: where from, in which one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visitor {
    /// The request.
    pub request_id: String,
    /// The client's address.
    pub ip: Option<IpAddr>,
    /// What the client says it is.
    pub user_agent: Option<String>,
    /// The surface it came in by.
    pub surface: Surface,
    /// The route, as `POST /api/v1/teams`.
    pub route: String,
    /// The request's place in a trace.
    pub traceparent: Option<TraceParent>,
}

/// A person with a live session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The person.
    pub user: UserId,
    /// The sign-in that the access token belongs to.
    pub session: SessionId,
    /// The request.
    pub visitor: Visitor,
}

impl Caller {
    /// Who acts, for transactions, events and jobs.
    #[must_use]
    pub fn actor(&self) -> Actor {
        Actor {
            user_id: Some(self.user),
            credential_type: Some(CredentialType::Session),
            credential_id: Some(self.session.0),
            ..self.visitor.actor()
        }
    }

    /// With what they came, for tickets.
    #[must_use]
    pub fn credential(&self) -> Credential {
        Credential::Session(self.session)
    }
}

impl Credential {
    /// Whether it still is good: its session has not ended, and its user is active.
    pub async fn is_alive(self, app: &App) -> Result<bool, ApiError> {
        let Self::Session(session) = self;
        Ok(sessions::is_alive(&app.database.pool, session).await?)
    }
}

/// Proof that the caller is a person who has signed in; of no workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedIn(pub Caller);

impl Deref for SignedIn {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.0
    }
}

/// The process's parts. They are put into every request by the server.
pub(crate) fn app(request: &Request) -> Result<&App, ApiError> {
    request.data().ok_or_else(|| ApiError::internal("the server was built without its App"))
}

impl Visitor {
    /// Who sent this request.
    #[must_use]
    pub fn of(request: &Request) -> Self {
        Self {
            request_id: request.data::<RequestId>().map_or_else(String::new, |id| id.0.to_string()),
            ip: request.data::<ClientAddress>().map(|address| address.0),
            user_agent: request.header(header::USER_AGENT).map(|agent| agent.chars().take(512).collect()),
            surface: request.data().copied().unwrap_or_default(),
            route: format!("{} {}", request.method(), pattern(request)),
            traceparent: request.data().copied(),
        }
    }

    /// Someone nobody knows, for transactions, events and jobs.
    #[must_use]
    pub fn actor(&self) -> Actor {
        Actor {
            request_id: Some(self.request_id.clone()),
            ip: self.ip.map(|ip| ip.to_string()),
            user_agent: self.user_agent.clone(),
            surface: self.surface,
            route: Some(self.route.clone()),
            traceparent: self.traceparent,
            ..Actor::default()
        }
    }
}

/// The path as its route names it: paths as they were asked for may hold secrets.
fn pattern(request: &Request) -> &str {
    request.data::<PathPattern>().map_or("", |pattern| &pattern.0)
}

/// The user and session that the request's bearer token names, unchecked against the database.
pub(crate) fn bearer(request: &Request) -> Result<(UserId, SessionId), ApiError> {
    let claims =
        app(request)?.keys.check_access_token(bearer_token(request)?).ok_or_else(ApiError::token_invalid)?;
    Ok((claims.sub, claims.sid))
}

/// The request's bearer token, whatever it is.
pub(crate) fn bearer_token(request: &Request) -> Result<&str, ApiError> {
    let header = request.header(header::AUTHORIZATION).ok_or_else(ApiError::token_missing)?;
    header
        .split_once(' ')
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .ok_or_else(ApiError::token_missing)
}

/// Documents the bearer scheme.
pub(crate) fn register_bearer(registry: &mut Registry) {
    registry.create_security_scheme(
        BEARER,
        MetaSecurityScheme {
            ty: "http",
            description: Some("An access token, as sign-in answers it."),
            name: None,
            key_in: None,
            scheme: Some("bearer"),
            bearer_format: Some("JWT"),
            flows: None,
            openid_connect_url: None,
        },
    );
}

async fn sign_in(request: &Request) -> Result<SignedIn, ApiError> {
    let (user, session) = bearer(request)?;
    let standing = sessions::standing(&app(request)?.database.pool, session, user, None).await?;
    standing.ok_or_else(ApiError::token_invalid)?;
    Ok(SignedIn(Caller { user, session, visitor: Visitor::of(request) }))
}

impl<'a> ApiExtractor<'a> for SignedIn {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        register_bearer(registry);
    }

    fn security_schemes() -> Vec<&'static str> {
        vec![BEARER]
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        Ok(sign_in(request).await?)
    }
}

impl<'a> ApiExtractor<'a> for Visitor {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::PoemExtractor];

    type ParamType = ();
    type ParamRawType = ();

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        Ok(Self::of(request))
    }
}
