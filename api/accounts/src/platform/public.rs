//! Routes that apps call before a sign-in. Contract section "Public" (P-PUB-06, P-PUB-07); the rest of it is in
//! `api-server`.

use api_kit::{Anyone, ApiError, App, Body, Envelope, Fails, TypeId, Wrapped};
use domain::{Email, WorkspaceId, callers::Principal};
use domain_accounts::tenants::{self, Named, TenantConfig};
use jobs::Tx;
use poem::web::Data;
use poem_openapi::{
    Object, OpenApi, Tags,
    param::{Header, Query},
    payload::Json,
};

/// Public configuration of a tenant.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct PublicConfig {
    /// Id of the tenant, which is a workspace.
    tenant_id: TypeId<WorkspaceId>,
    /// Slug: the name in URLs.
    slug: String,
    /// Branding.
    branding: PublicBranding,
    /// Sign-in options.
    auth: PublicAuth,
}

/// Branding of a tenant.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct PublicBranding {
    /// Display name.
    brand_name: String,
    /// URL of the logo; null if none is set.
    logo_url: Option<String>,
    /// Brand colour as `#rrggbb`; null if none is set.
    color: Option<String>,
    /// Email address for support; null if none is set.
    support_email: Option<String>,
}

/// Sign-in options of a tenant.
#[derive(Debug, Object)]
struct PublicAuth {
    /// Sign-in methods: `password`, and `clerk` where the installation supports it.
    methods: Vec<String>,
    /// Minimum number of characters of a new password.
    password_min_length: i32,
}

/// A lookup of tenants by email address.
#[derive(Debug, Object)]
struct TenantLookup {
    /// Email address.
    #[oai(validator(max_length = 254))]
    email: String,
}

/// A tenant of which the account is a member.
#[derive(Debug, Object)]
struct FoundTenant {
    /// Id of the tenant, which is a workspace.
    tenant_id: TypeId<WorkspaceId>,
    /// Display name.
    brand_name: String,
}

impl PublicConfig {
    fn of(app: &App, config: TenantConfig) -> Self {
        let TenantConfig { id, slug, brand, governance } = config;
        let by_clerk = app.config.clerk_secret.is_some().then(|| "clerk".to_owned());
        Self {
            tenant_id: TypeId(id),
            slug,
            branding: PublicBranding {
                brand_name: brand.name,
                logo_url: brand.logo_url.map(|url| url.to_string()),
                color: Some(brand.color.to_string()),
                support_email: brand.support_email.map(|email| email.to_string()),
            },
            auth: PublicAuth {
                methods: ["password".to_owned()].into_iter().chain(by_clerk).collect(),
                password_min_length: governance.password_min_length,
            },
        }
    }
}

/// The tenant that a request concerns: the one that it names, or that of its key.
fn named(tenant: Option<String>, header: Option<String>, anyone: &Anyone) -> Result<Named, ApiError> {
    if let Some(name) = tenant {
        let id = name.parse::<TypeId<WorkspaceId>>();
        return Ok(id.map_or(Named::Slug(name), |TypeId(id)| Named::Id(id)));
    }
    if let Some(name) = header {
        return name.parse().map(|TypeId(id)| Named::Id(id)).map_err(|_| ApiError::not_found());
    }
    match anyone.caller.as_ref().map(|caller| &caller.principal) {
        Some(Principal::ApiKey { workspace, .. }) => Ok(Named::Id(*workspace)),
        _ => Err(ApiError::missing(["tenant"])),
    }
}

/// The tag of the public routes.
#[derive(Debug, Tags)]
pub enum Tag {
    /// Health, documentation, and what apps need before a sign-in.
    Public,
}

/// Routes of the section.
pub struct TenantsApi;

#[OpenApi(prefix_path = "/v1", tag = "Tag::Public")]
impl TenantsApi {
    /// Show a tenant's branding and sign-in options
    ///
    /// Needs no credential. The tenant is the one that `tenant` names, or else the header, or else that of the
    /// API key of the request.
    #[oai(
        path = "/tenant-config",
        method = "get",
        operation_id = "get_tenant_config",
        tag = "Fails::RecordNotFound"
    )]
    async fn config(
        &self,
        app: Data<&App>,
        anyone: Anyone,
        /// Slug or id of the tenant.
        tenant: Query<Option<String>>,
        /// Id of the tenant.
        #[oai(name = "X-Workspace-Id")]
        header: Header<Option<String>>,
    ) -> Wrapped<PublicConfig> {
        let named = named(tenant.0, header.0, &anyone)?;
        let mut reader = app.database.reader().await?;
        let config = tenants::config(reader.conn(), &named).await?.ok_or_else(ApiError::not_found)?;
        Ok(Json(Envelope::new(PublicConfig::of(&app, config), anyone.visitor.request_id)))
    }

    /// Look up the tenants of an email address
    ///
    /// Only the owner of the address receives the list. When signed in as its owner, or with that account's
    /// personal token that may write, the answer has those tenants that the account may enter now. For every
    /// other caller the answer is empty, whether or not an account has the address; the list is then sent by
    /// email to an existing account, at most once every 15 minutes.
    #[oai(path = "/tenants/lookup", method = "post", operation_id = "look_up_tenants")]
    async fn look_up(
        &self,
        app: Data<&App>,
        anyone: Anyone,
        lookup: Body<TenantLookup>,
    ) -> Wrapped<Vec<FoundTenant>> {
        let email: Email = lookup.0.email.parse().map_err(|reason| ApiError::invalid("email", reason))?;
        let theirs = match anyone.caller.as_ref().and_then(|caller| Some((caller, caller.user()?))) {
            None => None,
            Some((caller, user)) => {
                let entered = caller.authorities(&app, None).await?;
                let mut reader = app.database.reader().await?;
                tenants::of_caller(reader.conn(), user, &entered, &email).await?
            }
        };
        if theirs.is_none() {
            let (link, actor) = (app.config.app_link("login", &[("email", email.as_str())]), anyone.actor());
            let ask = async |tx: &mut Tx| tenants::ask_for_letter(tx, &email, link, &actor).await;
            anyone.change_shared(&app, ask).await?;
        }
        let found = theirs
            .unwrap_or_default()
            .into_iter()
            .map(|tenant| FoundTenant { tenant_id: TypeId(tenant.id), brand_name: tenant.brand_name });
        Ok(Json(Envelope::new(found.collect(), anyone.visitor.request_id)))
    }
}
