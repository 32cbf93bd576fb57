//! `Can<P>`: a handler's argument that is at once the credential, the workspace, the check of a
//! permission and the access to the workspace's data. The document shows its requirements.

use std::{marker::PhantomData, ops::Deref};

use domain::{
    Actor, WorkspaceDb, WorkspaceId,
    access::{Held, Lacking, Reach, Role},
    callers::{self, Authority, Entry, Principal},
};
use jobs::{Database, Surface};
use poem::{Request, RequestBody};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaSecurityScheme, Registry},
    types::{ParseFromJSON, ToJSON},
};

use crate::{
    ApiError, App, Caller, Envelope, TypeId, Visitor,
    caller::{app, entered, identify, register_bearer},
    idempotency::Claim,
};

/// The header that names the workspace.
pub(crate) const WORKSPACE_HEADER: &str = "X-Workspace-Id";
/// Expected values of that header.
const WORKSPACE_EXPECTED: &str =
    "must be a workspace's id: a UUID, or the same id as `tn_…`; not its name or slug";
/// The name of that header's scheme in the documents.
pub(crate) const WORKSPACE: &str = "workspace";

/// A permission, as a type. Made by [`crate::permissions!`].
pub trait Permission: Send + Sync + 'static {
    /// `resource:verb`, as in [`domain::access`]'s catalogue.
    const NAME: &'static str;
    /// The mark by which [`crate::document`] recognises it.
    const SCHEME: &'static str;
    /// Whether it also applies to workspaces whose tables are older than this release.
    const WHILE_BEHIND: bool = false;
    /// Whether callers who only have the `_own` variant are admitted: the domain receives [`Access::reach`].
    const OR_OWN: bool = false;
    /// Another permission that is sufficient by itself: the handler checks which one the resource needs.
    const OR: Option<&'static str> = None;
    /// Further permissions that are needed.
    const ALSO: &'static [&'static str] = &[];
    /// The mark by which [`crate::document`] recognises it as [`Permission::ALSO`] of another.
    const AS_ALSO: &'static str;
    /// The mark by which it is recognised as [`Permission::OR`] of another.
    const AS_OR: &'static str;

    /// All marks of the permission in the document.
    #[must_use]
    fn marks() -> Vec<&'static str> {
        vec![Self::SCHEME]
    }
}

/// Both: for routes that concern two features, such as an import, which creates records.
impl<A: Permission, B: Permission> Permission for (A, B) {
    const NAME: &'static str = A::NAME;
    const SCHEME: &'static str = A::SCHEME;
    const WHILE_BEHIND: bool = A::WHILE_BEHIND;
    const OR_OWN: bool = A::OR_OWN;
    const ALSO: &'static [&'static str] = &[B::NAME];
    const AS_ALSO: &'static str = A::AS_ALSO;
    const AS_OR: &'static str = A::AS_OR;

    fn marks() -> Vec<&'static str> {
        vec![A::SCHEME, B::AS_ALSO]
    }
}

/// All three.
impl<A: Permission, B: Permission, C: Permission> Permission for (A, B, C) {
    const NAME: &'static str = A::NAME;
    const SCHEME: &'static str = A::SCHEME;
    const WHILE_BEHIND: bool = A::WHILE_BEHIND;
    const OR_OWN: bool = A::OR_OWN;
    const ALSO: &'static [&'static str] = &[B::NAME, C::NAME];
    const AS_ALSO: &'static str = A::AS_ALSO;
    const AS_OR: &'static str = A::AS_OR;

    fn marks() -> Vec<&'static str> {
        vec![A::SCHEME, B::AS_ALSO, C::AS_ALSO]
    }
}

/// Either of them: for routes that serve two features alike. The handler checks the permission
/// of the resource concerned.
#[derive(Debug)]
pub struct Either<A, B>(PhantomData<fn() -> (A, B)>);

impl<A: Permission, B: Permission> Permission for Either<A, B> {
    const NAME: &'static str = A::NAME;
    const SCHEME: &'static str = A::SCHEME;
    const WHILE_BEHIND: bool = A::WHILE_BEHIND;
    const OR: Option<&'static str> = Some(B::NAME);
    const AS_ALSO: &'static str = A::AS_ALSO;
    const AS_OR: &'static str = A::AS_OR;

    fn marks() -> Vec<&'static str> {
        vec![A::SCHEME, B::AS_OR]
    }
}

/// Declares permissions as types, each for [`Can`], and refuses at compile time a name that
/// [`domain::access`]'s catalogue doesn't list.
///
/// `permissions! { ViewRecords = "records:view" }` expands to the unit struct `ViewRecords` with its
/// [`Permission`] implementation. A route that also admits callers with only `records:edit_own` says
/// `EditRecords = "records:edit" or own`, and passes on [`Access::reach`]; one that must serve a workspace
/// which has to be migrated first says `ViewHealth = "workspace:view" while behind`.
#[macro_export]
macro_rules! permissions {
    (@extra while behind) => { const WHILE_BEHIND: bool = true; };
    (@extra or own) => { const OR_OWN: bool = true; };
    (@extra) => {};
    ($($name:ident = $permission:literal $($extra:ident $word:ident)?),* $(,)?) => { $(
        #[doc = concat!("`", $permission, "`")]
        #[derive(Debug)]
        pub struct $name;

        impl $crate::Permission for $name {
            const NAME: &'static str = $permission;
            const SCHEME: &'static str =
                concat!("permission ", $permission $(, " ", stringify!($extra), " ", stringify!($word))?);
            const AS_ALSO: &'static str = concat!("also ", $permission);
            const AS_OR: &'static str = concat!("or ", $permission);
            $crate::permissions!(@extra $($extra $word)?);
        }

        const _: () = assert!(
            $crate::catalogue_lists($permission),
            concat!("domain::access's catalogue doesn't list ", $permission)
        );
    )* };
}

/// A caller's access to the workspace that the request names.
#[derive(Debug, Clone)]
pub struct Access {
    /// The caller.
    pub caller: Caller,
    /// The workspace.
    pub workspace: WorkspaceId,
    /// Role of the caller. A program of a workspace has the role of the user who answers for it, within its scopes.
    pub role: Role,
    /// Permission of the route: everything issued with this access ends with it.
    pub(crate) permission: &'static str,
    authority: Authority,
    reach: Reach,
    app: App,
}

impl Access {
    /// Opens the workspace's data for reading.
    ///
    /// # Errors
    /// 500 after the change of a request with an `Idempotency-Key`, which this would not see.
    pub async fn read(&self) -> Result<WorkspaceDb, ApiError> {
        if self.claim().is_some_and(Claim::has_changed) {
            return Err(ApiError::internal("what an answer shows of a change is read within the change"));
        }
        Ok(WorkspaceDb::read(self.database(), self.workspace, self.actor()).await?)
    }

    /// The actor.
    #[must_use]
    pub fn actor(&self) -> Actor {
        self.caller.actor()
    }

    /// Whether the caller has another permission, for answers that depend on it.
    #[must_use]
    pub fn may<P: Permission>(&self) -> bool {
        self.authority.may(P::NAME)
    }

    /// The reach of this route's permission for the caller: a parameter of the functions of the domain that
    /// ensure that with [`Reach::Own`] only the caller's own resources are affected.
    #[must_use]
    pub fn reach(&self) -> Reach {
        self.reach
    }

    /// All permissions of the caller here.
    #[must_use]
    pub fn held(&self) -> &Held {
        self.authority.held()
    }

    /// The caller's authority, for actions on the workspace's behalf.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// An answer of the Platform API, in the envelope of this request.
    pub fn wrap<T: ParseFromJSON + ToJSON>(&self, data: T) -> Envelope<T> {
        Envelope::new(data, &*self.caller.visitor.request_id)
    }

    /// The app.
    #[must_use]
    pub fn app(&self) -> &App {
        &self.app
    }

    fn database(&self) -> &Database {
        &self.app.database
    }
}

/// Proof that the caller has permission `P` in the workspace that the request names.
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

/// The requirements of a route.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    permission: &'static str,
    or: Option<&'static str>,
    while_behind: bool,
    or_own: bool,
}

impl Asked {
    pub(crate) const fn of<P: Permission>() -> Self {
        Self { permission: P::NAME, or: P::OR, while_behind: P::WHILE_BEHIND, or_own: P::OR_OWN }
    }
}

/// Admits a request, or refuses it with the reason. Not generic, so that it is compiled once.
pub(crate) async fn admit(request: &Request, asked: Asked) -> Result<Access, ApiError> {
    let Asked { permission, or, while_behind, or_own } = asked;
    let app = app(request)?;
    let visitor = Visitor::of(request);
    let named = named_workspace(request);
    let (principal, mut entry) = identify(request, named.as_ref().ok().copied().flatten()).await?;
    let named = named?;
    if entry == Entry::Nowhere && visitor.surface == Surface::Platform {
        entry = only_entry(app, &principal, &visitor).await?;
    }
    let authority = match entry {
        Entry::Nowhere if named.is_none() => return Err(ApiError::missing([WORKSPACE_HEADER])),
        Entry::Behind(authority) if while_behind => authority,
        entry => entered(entry)?,
    };
    let held = authority.held();
    let permission = match or {
        Some(other) if !held.may(permission) && held.may(other) => other,
        _ => permission,
    };
    let refused = |lacking: Lacking| ApiError::forbidden(lacking.of(permission));
    let reach = held.reach(permission).map_err(refused)?;
    if reach == Reach::Own && !or_own {
        return Err(refused(Lacking::Permission));
    }
    let (workspace, role) = (authority.workspace(), authority.role());
    let caller = Caller { principal, visitor };
    Ok(Access { caller, workspace, role, permission, authority, reach, app: app.on_behalf_of(workspace) })
}

/// The workspace in the path, where it has one, or else in the header.
///
/// # Errors
/// 404 for an invalid id in the path; 422 for an invalid header.
fn named_workspace(request: &Request) -> Result<Option<WorkspaceId>, ApiError> {
    if let Some(id) = crate::path_workspace::workspace_in_path(request) {
        return id.parse().map(|id| Some(WorkspaceId(id))).map_err(|_| ApiError::not_found());
    }
    let Some(name) = request.headers().get(WORKSPACE_HEADER) else { return Ok(None) };
    let named = name.to_str().ok().and_then(|name| name.parse::<TypeId<WorkspaceId>>().ok());
    named.map(|id| Some(id.0)).ok_or_else(|| ApiError::invalid(WORKSPACE_HEADER, WORKSPACE_EXPECTED))
}

/// A user's access for a request of the Platform API that names no workspace: to the only workspace
/// of the credential, or else to the one that the user last switched to.
async fn only_entry(app: &App, principal: &Principal, visitor: &Visitor) -> Result<Entry, ApiError> {
    let entries = callers::entries(&app.database.pool, principal.credential(), visitor.ip).await?;
    let mut served: Vec<_> = entries.into_iter().filter(|(_, entry)| *entry != Entry::NotReady).collect();
    if served.len() == 1 {
        return Ok(served.remove(0).1);
    }
    let Principal::Session { user, .. } = *principal else { return Ok(Entry::Nowhere) };
    let current = callers::switched_to(&app.database.pool, user).await?;
    let entry = served.into_iter().find(|(workspace, _)| Some(*workspace) == current);
    Ok(entry.map_or(Entry::Nowhere, |(_, entry)| entry))
}

/// Documents both schemes that [`Can`] stands for.
pub(crate) fn register_schemes(registry: &mut Registry) {
    register_bearer(registry);
    registry.create_security_scheme(
        WORKSPACE,
        MetaSecurityScheme {
            ty: "apiKey",
            description: Some("Workspace id: a UUID, or the same id as `tn_…`."),
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
        P::marks()
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let mut access = admit(request, Asked::of::<P>()).await?;
        for also in P::ALSO {
            access.held().need(also).map_err(ApiError::from)?;
        }
        access.caller.arm(request, Some(&access.authority)).await?;
        Ok(Self { access, permission: PhantomData })
    }
}
