//! What apps ask before anybody has signed in. Contract section "Public" (P-PUB-06, P-PUB-07); the rest of it is the
//! server's.

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

/// How a tenant shows itself.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct PublicConfig {
    /// The tenant: a workspace.
    tenant_id: TypeId<WorkspaceId>,
    /// Its name for URLs.
    slug: String,
    /// How it shows itself.
    branding: PublicBranding,
    /// How one signs in.
    auth: PublicAuth,
}

/// How a tenant shows itself.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct PublicBranding {
    /// What it is called.
    brand_name: String,
    /// Its logo.
    logo_url: Option<String>,
    /// Its colour, as `#rrggbb`.
    color: Option<String>,
    /// Where its people are asked for help.
    support_email: Option<String>,
}

/// How one signs in to a tenant.
#[derive(Debug, Object)]
struct PublicAuth {
    /// `password`, and `clerk` where the installation takes it.
    methods: Vec<String>,
    /// The fewest characters of a new password.
    password_min_length: i32,
}

/// Whose tenants.
#[derive(Debug, Object)]
struct TenantLookup {
    /// An address.
    #[oai(validator(max_length = 254))]
    email: String,
}

/// A tenant with a membership of the person.
#[derive(Debug, Object)]
struct FoundTenant {
    /// The tenant: a workspace.
    tenant_id: TypeId<WorkspaceId>,
    /// What it is called.
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

/// Which tenant a request is about: as it says, or the one of its key.
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

/// The tag of what is for anyone.
#[derive(Debug, Tags)]
pub enum Tag {
    /// Whether the service is up, its documentation, and what apps ask before anybody has signed in.
    Public,
}

/// See the module.
pub struct TenantsApi;

#[OpenApi(prefix_path = "/v1", tag = "Tag::Public")]
impl TenantsApi {
    /// Tell how a tenant shows itself, and how one signs in
    ///
    /// For everybody. The tenant is the one that `tenant` names, or else the header, or else that of the API key that
    /// the request comes with.
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
        /// A tenant's name for URLs, or its id.
        tenant: Query<Option<String>>,
        /// A tenant's id.
        #[oai(name = "X-Workspace-Id")]
        header: Header<Option<String>>,
    ) -> Wrapped<PublicConfig> {
        let named = named(tenant.0, header.0, &anyone)?;
        let mut reader = app.database.reader().await?;
        let config = tenants::config(reader.conn(), &named).await?.ok_or_else(ApiError::not_found)?;
        Ok(Json(Envelope::new(PublicConfig::of(&app, config), anyone.visitor.request_id)))
    }

    /// Look up the tenants of an address
    ///
    /// Told to nobody but whoever has the address: when they are signed in, or come with a token of theirs that
    /// may write, the answer has those of their tenants that they may enter now. For everybody else it is empty, whether or not anybody has the
    /// address, and whoever has it gets a letter with the list, every quarter of an hour at the most.
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
