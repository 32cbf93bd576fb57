//! `Can<P>`: a handler's argument that is at once the credential, the workspace, the check of a
//! permission and the way to the workspace's data. The document shows what it asks for.

use std::{marker::PhantomData, ops::Deref};

use domain::{
    Actor, SessionId, UserId, WorkspaceDb, WorkspaceId,
    access::Role,
    sessions::{self, WorkspaceState},
    workspaces,
};
use jobs::{Database, JobId, Surface};
use poem::{Request, RequestBody};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaSecurityScheme, Registry},
    types::{ParseFromJSON, ToJSON},
};

use crate::{
    Answer, ApiError, App, Caller, Envelope, JobStarted, Visitor,
    caller::{app, bearer, register_bearer},
};

/// The header that names the workspace.
pub(crate) const WORKSPACE_HEADER: &str = "X-Workspace-Id";
/// The name of that header's scheme in the documents.
pub(crate) const WORKSPACE: &str = "workspace";

/// A permission, as a type. Made by [`crate::permissions!`].
pub trait Permission: Send + Sync + 'static {
    /// `resource:verb`, as in [`domain::access`]'s catalogue.
    const NAME: &'static str;
    /// How [`crate::document`] recognises it.
    const SCHEME: &'static str;
}

/// Declares permissions as types, each for [`Can`], and refuses at compile time a name that
/// [`domain::access`]'s catalogue doesn't list.
///
/// `permissions! { ViewRecords = "records:view" }` expands to the unit struct `ViewRecords` with its
/// [`Permission`] implementation.
#[macro_export]
macro_rules! permissions {
    ($($name:ident = $permission:literal),* $(,)?) => { $(
        #[doc = concat!("`", $permission, "`")]
        #[derive(Debug)]
        pub struct $name;

        impl $crate::Permission for $name {
            const NAME: &'static str = $permission;
            const SCHEME: &'static str = concat!("permission ", $permission);
        }

        const _: () = assert!(
            $crate::catalogue_lists($permission),
            concat!("domain::access's catalogue doesn't list ", $permission)
        );
    )* };
}

/// What a caller is in the workspace that the request names.
#[derive(Debug, Clone)]
pub struct Access {
    /// Who.
    pub caller: Caller,
    /// Where.
    pub workspace: WorkspaceId,
    /// As what.
    pub role: Role,
    app: App,
}

impl Access {
    /// Opens the workspace's data for reading.
    pub async fn read(&self) -> Result<WorkspaceDb, ApiError> {
        Ok(WorkspaceDb::read(self.database(), self.workspace, self.actor()).await?)
    }

    /// Opens the workspace's data for writing. Nothing is kept without `commit`.
    pub async fn write(&self) -> Result<WorkspaceDb, ApiError> {
        Ok(WorkspaceDb::write(self.database(), self.workspace, self.actor()).await?)
    }

    /// Changes the workspace's data: all that `work` does is kept if it succeeds, and none of it otherwise.
    ///
    /// ```ignore
    /// can.change(async |db| teams::create(db, new.0).await).await.map(Created)
    /// ```
    pub async fn change<T, E: Into<ApiError>>(
        &self,
        work: impl AsyncFnOnce(&mut WorkspaceDb) -> Result<T, E>,
    ) -> Answer<T> {
        let mut db = self.write().await?;
        let changed = work(&mut db).await.map_err(Into::into)?;
        db.commit().await?;
        Ok(changed)
    }

    /// Who acts.
    #[must_use]
    pub fn actor(&self) -> Actor {
        self.caller.actor()
    }

    /// Whether the caller also holds another permission, for answers that depend on it.
    #[must_use]
    pub fn may<P: Permission>(&self) -> bool {
        self.role.may(P::NAME)
    }

    /// Links to a job that this caller has started.
    #[must_use]
    pub fn job_started(&self, job: JobId) -> JobStarted {
        JobStarted::new(&self.app, self.caller.visitor.surface, job, self.caller.credential())
    }

    /// An answer of the Platform API, in the envelope of this request.
    pub fn wrap<T: ParseFromJSON + ToJSON>(&self, data: T) -> Envelope<T> {
        Envelope::new(data, &*self.caller.visitor.request_id)
    }

    /// What the process has.
    #[must_use]
    pub fn app(&self) -> &App {
        &self.app
    }

    fn database(&self) -> &Database {
        &self.app.database
    }
}

/// Proof that the caller holds permission `P` in the workspace that the request names.
#[derive(Debug)]
pub struct Can<P> {
    access: Access,
    permission: PhantomData<fn() -> P>,
}

impl<P> Deref for Can<P> {
    type Target = Access;

    fn deref(&self) -> &Access {
        &self.access
    }
}

/// Lets a request in, or says why not. Not generic, so that it is compiled once.
pub(crate) async fn admit(request: &Request, permission: &'static str) -> Result<Access, ApiError> {
    let app = app(request)?;
    let (user, session) = bearer(request)?;
    let visitor = Visitor::of(request);
    let workspace = match named_workspace(request)? {
        Some(workspace) => workspace,
        None if visitor.surface == Surface::Platform => only_workspace(app, user, session).await?,
        None => return Err(ApiError::missing([WORKSPACE_HEADER])),
    };
    let standing = sessions::standing(&app.database.pool, session, user, Some(workspace))
        .await?
        .ok_or_else(ApiError::token_invalid)?;
    // A workspace that the caller isn't in is, to them, one that doesn't exist.
    let role = standing.role.ok_or_else(ApiError::not_found)?;
    if standing.state != Some(WorkspaceState::Ready) {
        return Err(ApiError::unavailable("workspace_not_ready", "the workspace is still being set up"));
    }
    if !role.may(permission) {
        return Err(ApiError::forbidden(format!("this needs the permission {permission}")));
    }
    let caller = Caller { user, session, visitor };
    Ok(Access { caller, workspace, role, app: app.clone() })
}

/// The workspace in the path, where it has one, or else in the header.
fn named_workspace(request: &Request) -> Result<Option<WorkspaceId>, ApiError> {
    if let Some(id) = request.raw_path_param("workspace_id") {
        return id.parse().map(|id| Some(WorkspaceId(id))).map_err(|_| ApiError::not_found());
    }
    // A header that is no text names nothing either.
    let Some(name) = request.headers().get(WORKSPACE_HEADER) else { return Ok(None) };
    let id = name.to_str().ok().and_then(|name| name.parse().ok());
    id.map(|id| Some(WorkspaceId(id))).ok_or_else(ApiError::not_found)
}

/// The workspace of a person who belongs to one only, and so needn't name it on the Platform API.
async fn only_workspace(app: &App, user: UserId, session: SessionId) -> Result<WorkspaceId, ApiError> {
    let pool = &app.database.pool;
    sessions::standing(pool, session, user, None).await?.ok_or_else(ApiError::token_invalid)?;
    match workspaces::of_user(pool, user).await?[..] {
        [ref only] => Ok(WorkspaceId(only.id)),
        _ => Err(ApiError::missing([WORKSPACE_HEADER])),
    }
}

/// Documents both schemes that [`Can`] stands for.
pub(crate) fn register_schemes(registry: &mut Registry) {
    register_bearer(registry);
    registry.create_security_scheme(
        WORKSPACE,
        MetaSecurityScheme {
            ty: "apiKey",
            description: Some("The workspace that the request is about."),
            name: Some(WORKSPACE_HEADER),
            key_in: Some("header"),
            scheme: None,
            bearer_format: None,
            flows: None,
            openid_connect_url: None,
        },
    );
}

impl<'a, P: Permission> ApiExtractor<'a> for Can<P> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        register_schemes(registry);
    }

    fn security_schemes() -> Vec<&'static str> {
        vec![P::SCHEME]
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        Ok(Self { access: admit(request, P::NAME).await?, permission: PhantomData })
    }
}
