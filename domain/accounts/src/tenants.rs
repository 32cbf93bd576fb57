//! Tenants, as apps see workspaces before a sign-in: the branding of one, and the list of a user's. Only that user
//! receives the list.

use domain::{
    Actor, Email, UserId, WorkspaceId,
    callers::Authority,
    governance::{self, Governance},
    mail::{self, Action, Brand, Cause, Letter, PostError},
};
use jobs::{Database, NewJob, Tx, Unique};
use serde_json::Value;
use sqlx::PgConnection;
use url::Url;

use crate::job_kinds::MailWorkspaces;

/// Minimum interval of emails to one address.
const AT_MOST_EVERY: std::time::Duration = std::time::Duration::from_secs(900);

/// Whether the tenant can have jobs: it is a workspace, or the nil id, the installation itself.
pub async fn is_known(database: &Database, tenant: WorkspaceId) -> Result<bool, sqlx::Error> {
    if tenant.0.is_nil() {
        return Ok(true);
    }
    sqlx::query_scalar!(r#"select exists (select from workspaces where id = $1) as "is!""#, tenant.0)
        .fetch_one(&database.pool)
        .await
}

/// A reference to a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// By id.
    Id(WorkspaceId),
    /// By slug.
    Slug(String),
}

/// Public configuration of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantConfig {
    /// Tenant id.
    pub id: WorkspaceId,
    /// Slug.
    pub slug: String,
    /// Branding.
    pub brand: Brand,
    /// Security settings.
    pub governance: Governance,
}

/// A tenant of which the user is a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantName {
    /// Tenant id.
    pub id: WorkspaceId,
    /// Display name.
    pub brand_name: String,
}

/// The public configuration of a tenant; none if it doesn't exist, or is not ready.
pub async fn config(conn: &mut PgConnection, named: &Named) -> Result<Option<TenantConfig>, sqlx::Error> {
    let (id, slug) = match named {
        Named::Id(id) => (Some(id.0), None),
        Named::Slug(slug) => (None, Some(slug)),
    };
    let found = sqlx::query!(
        "select id, name, slug, branding from workspaces
          where state = 'ready' and (id = $1 or slug = $2)",
        id,
        slug,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(found) = found else { return Ok(None) };
    let governance = governance::get(conn, found.id).await?;
    let brand = Brand::of(&found.branding, &found.name);
    Ok(Some(TenantConfig { id: found.id, slug: found.slug, brand, governance }))
}

/// The tenants that a user may enter now, if the address is the user's; else none.
pub async fn of_caller(
    conn: &mut PgConnection,
    caller: UserId,
    entered: &[Authority],
    email: &Email,
) -> Result<Option<Vec<TenantName>>, sqlx::Error> {
    let is_theirs = sqlx::query_scalar!(
        r#"select exists (select from users where id = $1 and email_key = $2 and is_active) as "is!""#,
        caller.0,
        email.key(),
    )
    .fetch_one(&mut *conn)
    .await?;
    if !is_theirs {
        return Ok(None);
    }
    let mut tenants = of_user(conn, caller).await?;
    tenants.retain(|tenant| entered.iter().any(|authority| authority.workspace() == tenant.id));
    Ok(Some(tenants))
}

async fn of_user(conn: &mut PgConnection, user: UserId) -> Result<Vec<TenantName>, sqlx::Error> {
    let rows = sqlx::query!(
        "select w.id, w.name, w.branding from live_memberships m join workspaces w on w.id = m.workspace_id
          where m.user_id = $1 and w.state = 'ready' order by w.name, w.id",
        user.0,
    )
    .fetch_all(conn)
    .await?;
    let named =
        |id, branding: Value, name: String| TenantName { id, brand_name: Brand::of(&branding, &name).name };
    Ok(rows.into_iter().map(|row| named(row.id, row.branding, row.name)).collect())
}

/// Requests an email with the tenants of an address: the same work whether or not an account has
/// it. At most one per quarter of an hour is sent to an address, for all callers together.
///
/// # Errors
/// [`PostError::LimitReached`] after too many requests.
pub async fn ask_for_letter(
    tx: &mut Tx,
    email: &Email,
    link: String,
    actor: &Actor,
) -> Result<(), PostError> {
    let email = email.key().to_owned();
    let unique = Unique::within(AT_MOST_EVERY, Unique::key_of(&email));
    let job = MailWorkspaces { email, link };
    mail::count_asker(tx, actor).await?;
    jobs::enqueue(tx, NewJob::new(&job).unique(unique).origin(actor.origin())).await?;
    // A request for an email changes no resource.
    tx.mark_noted();
    Ok(())
}

/// Sends that email. Answers whether the address has an account with a workspace.
pub async fn write_letter(
    database: &Database,
    job: &MailWorkspaces,
    actor: &Actor,
) -> Result<bool, sqlx::Error> {
    let mut tx: Tx = database.begin().await?;
    let found = sqlx::query!(
        "select id, email, name from users
          where email_key = $1 and email_verified_at is not null and is_active",
        Email::key_of(&job.email),
    )
    .fetch_optional(tx.conn())
    .await?;
    let Some(person) = found else { return Ok(false) };
    let tenants = of_user(tx.conn(), person.id).await?;
    if tenants.is_empty() {
        return Ok(false);
    }
    let names: Vec<_> = tenants
        .iter()
        .map(|tenant| {
            format!("- {}", mail::shown(&tenant.brand_name).unwrap_or_else(|| "(unnamed)".to_owned()))
        })
        .collect();
    let letter = Letter {
        to: person.email,
        name: person.name,
        subject: "Your workspaces".to_owned(),
        lines: vec!["The list of your workspaces was requested:".to_owned(), names.join("\n")],
        action: Url::parse(&job.link).ok().map(|url| Action { label: "Sign in".to_owned(), url: url.into() }),
        after: vec!["Only this email has the list; the requester did not receive it.".to_owned()],
    };
    match mail::post(&mut tx, letter, &Brand::default(), Cause::Asked, actor).await {
        Ok(()) => {}
        Err(PostError::LimitReached { .. }) => return Ok(false),
        Err(PostError::Database(error)) => return Err(error),
    }
    tx.commit().await?;
    Ok(true)
}
