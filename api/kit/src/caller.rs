//! The caller. A handler that works in a workspace takes [`crate::Can`], one for signed-in users takes
//! [`SignedIn`], one for any valid credential takes [`Known`], and a public one
//! takes [`Visitor`]. Each counts the request against its caller's limits.

use std::{net::IpAddr, ops::Deref};

use chrono::Duration;
use domain::{
    Actor, SessionId, UserId, WorkspaceId,
    access::IN_PERSON,
    callers::{
        self, API_KEY_PREFIX, Authority, Brought, Credential, Entry, Found, PERSONAL_TOKEN_PREFIX, Principal,
    },
};
use jobs::{Surface, TraceParent};
use poem::{
    PathPattern, Request, RequestBody,
    http::{Method, StatusCode, header},
};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaSecurityScheme, Registry},
};

use crate::{
    ApiError, App, ClientAddress, RequestId,
    idempotency::{self, Claim, Holder},
};

/// The name of the bearer scheme in the documents.
pub(crate) const BEARER: &str = "bearer";
/// The mark by which [`crate::document`] recognises routes for signed-in users.
pub(crate) const PERSON: &str = "person";
/// The mark of routes for holders of any credential.
pub(crate) const KNOWN: &str = "known";
/// The mark of routes for users themselves, not for staff acting as them.
pub(crate) const IN_PERSON_ONLY: &str = "in person";
/// The mark of routes for all callers except staff acting as another user.
pub(crate) const ANYONE_IN_PERSON: &str = "anyone in person";

/// The sender of a request, without regard to a credential.
#[derive(Debug, Clone)]
pub struct Visitor {
    /// Request id.
    pub request_id: String,
    /// Client address.
    pub ip: Option<IpAddr>,
    /// `User-Agent` of the client.
    pub user_agent: Option<String>,
    /// API surface of the request.
    pub surface: Surface,
    /// The route, as `POST /api/v1/teams`.
    pub route: String,
    /// Position of the request in a trace.
    pub traceparent: Option<TraceParent>,
    /// Claim by which the request writes, where it has an `Idempotency-Key`.
    pub(crate) claim: Option<Claim>,
}

/// The caller with a valid credential: a user, or a program of a user or of a workspace.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Identity of the caller.
    pub principal: Principal,
    /// Sender of the request.
    pub visitor: Visitor,
}

impl Caller {
    /// The actor, for transactions, events and jobs.
    #[must_use]
    pub fn actor(&self) -> Actor {
        self.principal.acting(self.visitor.actor())
    }

    /// The user, if the caller is one.
    #[must_use]
    pub fn user(&self) -> Option<UserId> {
        self.principal.user()
    }

    /// The credential, for tickets.
    #[must_use]
    pub fn credential(&self) -> Credential {
        self.principal.credential()
    }

    /// The caller's authority in a workspace that no header names: one of a body, of a path or of a query.
    ///
    /// # Errors
    /// 404 if the caller doesn't belong to the workspace, 403 from an address that is not allowed, 401 for a
    /// sign-in that is too old, 503 while the workspace is not available.
    pub async fn authority_in(&self, app: &App, workspace: WorkspaceId) -> Result<Authority, ApiError> {
        let ip = self.visitor.ip;
        entered(callers::enter(&app.database.pool, self.credential(), workspace, ip).await?)
    }

    /// Checks that the sign-in is recent enough for every workspace of the caller.
    ///
    /// # Errors
    /// 401 for a sign-in that is too old for one.
    pub async fn admitted_by_all(&self, app: &App) -> Result<(), ApiError> {
        let entries = callers::entries(&app.database.pool, self.credential(), self.visitor.ip).await?;
        match entries.into_iter().find(|(_, entry)| *entry == Entry::SignedInTooLongAgo) {
            Some((_, refused)) => entered(refused).map(drop),
            None => Ok(()),
        }
    }

    /// The caller's authority in the given workspace, or in all that the caller may enter now.
    ///
    /// # Errors
    /// Those of [`Caller::authority_in`] for the given workspace.
    pub async fn authorities(
        &self,
        app: &App,
        named: Option<WorkspaceId>,
    ) -> Result<Vec<Authority>, ApiError> {
        if let Some(workspace) = named {
            return Ok(vec![self.authority_in(app, workspace).await?]);
        }
        let (pool, ip) = (&app.database.pool, self.visitor.ip);
        Ok(callers::authorities(pool, self.credential(), ip).await?)
    }

    /// Binds the request's `Idempotency-Key` to its caller, after all checks of the route: a stored answer is
    /// given without further checks. It belongs to the credential, not to the user, whose credentials don't all
    /// have the same access; a session stays the same one when it is refreshed.
    pub(crate) async fn arm(
        &mut self,
        request: &Request,
        authority: Option<&Authority>,
    ) -> Result<(), ApiError> {
        let credential = self.credential();
        let who = match credential {
            Credential::Session(id) => format!("session:{}", id.0),
            Credential::ApiKey(id) => format!("key:{id}"),
            Credential::PersonalToken(id) => format!("token:{id}"),
        };
        let workspace = authority.map_or_else(String::new, |authority| authority.workspace().to_string());
        let holder = authority.map(|authority| Holder { credential, authority: authority.clone() });
        let database = &app(request)?.database;
        self.visitor.claim = idempotency::arm(request, database, &who, &workspace, holder).await?;
        Ok(())
    }
}

/// Proof that the caller is a signed-in user; independent of any workspace.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// User id.
    pub user: UserId,
    /// Session of the access token.
    pub session: SessionId,
    caller: Caller,
}

impl Deref for SignedIn {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.caller
    }
}

/// Proof that the caller is a signed-in user and not staff acting as one: for routes that create credentials, change
/// who has access, or outlast the session in another way.
#[derive(Debug, Clone)]
pub struct InPerson(SignedIn);

impl Deref for InPerson {
    type Target = SignedIn;

    fn deref(&self) -> &SignedIn {
        &self.0
    }
}

/// Proof that the caller has a valid credential of any kind; independent of any workspace.
#[derive(Debug, Clone)]
pub struct Known(pub Caller);

impl Deref for Known {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.0
    }
}

/// The app. The server puts it into every request.
pub(crate) fn app(request: &Request) -> Result<&App, ApiError> {
    request.data().ok_or_else(|| ApiError::internal("the server was built without its App"))
}

impl Visitor {
    /// The sender of this request.
    #[must_use]
    pub fn of(request: &Request) -> Self {
        Self {
            request_id: request.data::<RequestId>().map_or_else(String::new, |id| id.0.to_string()),
            ip: request.data::<ClientAddress>().map(|address| address.0),
            user_agent: request.header(header::USER_AGENT).map(|agent| agent.chars().take(512).collect()),
            surface: request.data().copied().unwrap_or_default(),
            route: format!("{} {}", request.method(), pattern(request)),
            traceparent: request.data().copied(),
            claim: None,
        }
    }

    /// The actor of unauthenticated requests, for transactions, events and jobs.
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

    /// Binds the request's `Idempotency-Key` to the client's address.
    pub(crate) async fn arm(&mut self, request: &Request) -> Result<(), ApiError> {
        let who = self.ip.map_or_else(String::new, |ip| format!("ip:{ip}"));
        self.claim = idempotency::arm(request, &app(request)?.database, &who, "", None).await?;
        Ok(())
    }
}

/// The path as its route names it: actual paths may contain secrets.
fn pattern(request: &Request) -> &str {
    request.data::<PathPattern>().map_or("", |pattern| &pattern.0)
}

/// The request's bearer token, unchecked against the database. The signature of an
/// access token is checked.
fn brought(request: &Request) -> Result<Brought, ApiError> {
    let token = bearer_token(request)?;
    if token.starts_with(API_KEY_PREFIX) || token.starts_with(PERSONAL_TOKEN_PREFIX) {
        return Ok(Brought::Secret(token.to_owned()));
    }
    let claims = app(request)?.keys.check_access_token(token).ok_or_else(ApiError::token_invalid)?;
    Ok(Brought::Session(claims.sub, claims.sid))
}

/// The address that a request comes from.
fn address(request: &Request) -> Option<IpAddr> {
    request.data::<ClientAddress>().map(|address| address.0)
}

/// Identifies the caller, and its access to a workspace. Counts the request, whatever the result.
///
/// # Errors
/// 401 without a valid credential, 429 beyond the rate limit, 403 for a write with a read-only
/// token.
pub(crate) async fn identify(
    request: &Request,
    workspace: Option<WorkspaceId>,
) -> Result<(Principal, Entry), ApiError> {
    let app = app(request)?;
    let database = &app.database;
    let found = match brought(request) {
        Ok(brought) => {
            // Requests with the same credential wait for each other; other requests are not affected.
            let _turn = app.lookups.take(brought.clone(), usize::MAX).await.map_err(ApiError::internal)?;
            callers::find(&database.pool, &brought, workspace, address(request)).await?
        }
        Err(error) if error.status() == StatusCode::UNAUTHORIZED => {
            app.rates.charge_visitor(database, request).await?;
            return Err(error);
        }
        Err(error) => return Err(error),
    };
    let Some(found) = found else {
        // A request without a valid credential is counted by its address.
        app.rates.charge_visitor(database, request).await?;
        return Err(ApiError::token_invalid());
    };
    app.rates.charge_caller(database, request, &found).await?;
    if let Principal::PersonalToken { writes: false, .. } = found.principal
        && !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS)
    {
        return Err(ApiError::new(StatusCode::FORBIDDEN, "token_read_only", "this token is read-only"));
    }
    note_use(app, &found);
    Ok(found.checked())
}

/// The authority in an available workspace, or the reason why there is none.
///
/// # Errors
/// 404 if the caller doesn't belong to the workspace, 403 from an address that is not allowed, 401 for a
/// sign-in that is too old, 503 while the workspace is not available.
pub(crate) fn entered(entry: Entry) -> Result<Authority, ApiError> {
    match entry {
        Entry::Open(authority) => Ok(authority),
        // A workspace that the caller doesn't belong to must look like one that doesn't exist.
        Entry::Nowhere | Entry::Outside => Err(ApiError::not_found()),
        Entry::Gone => Err(ApiError::token_invalid()),
        Entry::FromElsewhere => Err(ApiError::forbidden("this address is not on the allowlist")),
        Entry::SignedInTooLongAgo => Err(ApiError::sign_in_required()),
        Entry::NotReady => {
            Err(ApiError::unavailable("workspace_not_ready", "the workspace is still being set up"))
        }
        Entry::Behind(_) => {
            Err(ApiError::unavailable("migration_required", "the workspace's tables must be migrated first"))
        }
    }
}

/// Records the time of the last use of a key or token, to the minute.
fn note_use(app: &App, found: &Found) {
    let is_noted = matches!(found.principal, Principal::Session { .. })
        || found.last_used_at.is_some_and(|at| at + Duration::minutes(1) > jobs::clock::now());
    if is_noted {
        return;
    }
    let (pool, credential) = (app.database.pool.clone(), found.principal.credential());
    tokio::spawn(async move {
        if let Err(error) = callers::note_use(&pool, credential).await {
            tracing::warn!(%error, "could not record the use of a key");
        }
    });
}

/// The request's bearer token, of any kind.
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
            description: Some("An access token from a sign-in, an API key, or a personal token."),
            name: None,
            key_in: None,
            scheme: Some("bearer"),
            bearer_format: None,
            flows: None,
            openid_connect_url: None,
        },
    );
}

/// The caller, before the route has admitted it.
async fn identified(request: &Request) -> Result<Caller, ApiError> {
    let (principal, entry) = identify(request, None).await?;
    // A key or token of one workspace is valid as far as that workspace admits it.
    match entry {
        Entry::Nowhere | Entry::Open(_) | Entry::Behind(_) => {}
        refused => drop(entered(refused)?),
    }
    Ok(Caller { principal, visitor: Visitor::of(request) })
}

async fn known(request: &Request) -> Result<Known, ApiError> {
    let mut caller = identified(request).await?;
    caller.arm(request, None).await?;
    Ok(Known(caller))
}

async fn signed_in(request: &Request) -> Result<SignedIn, ApiError> {
    let mut signed_in = session_of(identified(request).await?)?;
    signed_in.caller.arm(request, None).await?;
    Ok(signed_in)
}

fn session_of(caller: Caller) -> Result<SignedIn, ApiError> {
    match caller.principal {
        Principal::Session { session, user, .. } => Ok(SignedIn { user, session, caller }),
        _ => Err(ApiError::forbidden("this endpoint requires a user session")),
    }
}

async fn in_person(request: &Request) -> Result<InPerson, ApiError> {
    let mut signed_in = session_of(identified(request).await?)?;
    if let Principal::Session { impersonator: Some(_), .. } = signed_in.principal {
        return Err(ApiError::forbidden(IN_PERSON));
    }
    signed_in.caller.arm(request, None).await?;
    Ok(InPerson(signed_in))
}

async fn visit(request: &Request) -> Result<Visitor, ApiError> {
    let app = app(request)?;
    app.rates.charge_visitor(&app.database, request).await?;
    let mut visitor = Visitor::of(request);
    visitor.arm(request).await?;
    Ok(visitor)
}

/// Makes a proof of identity a handler's argument: the mark of its scheme, and the function that checks it.
macro_rules! proof {
    ($proof:ident, $mark:expr, $find:path) => {
        impl<'a> ApiExtractor<'a> for $proof {
            const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

            type ParamType = ();
            type ParamRawType = ();

            fn register(registry: &mut Registry) {
                register_bearer(registry);
            }

            fn security_schemes() -> Vec<&'static str> {
                vec![$mark]
            }

            async fn from_request(
                request: &'a Request,
                _: &mut RequestBody,
                _: ExtractParamOptions<()>,
            ) -> poem::Result<Self> {
                Ok($find(request).await?)
            }
        }
    };
}

proof!(Known, KNOWN, known);
proof!(SignedIn, PERSON, signed_in);
proof!(InPerson, IN_PERSON_ONLY, in_person);

impl<'a> ApiExtractor<'a> for Visitor {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::PoemExtractor];

    type ParamType = ();
    type ParamRawType = ();

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        Ok(visit(request).await?)
    }
}
