//! A workspace as its members see it: name and branding, and the workspace that a user
//! has switched to.

use chrono::{DateTime, Utc};
use domain::{
    Actor, Error, Event, FieldErrors, Patch, Text, UserId, WorkspaceId,
    access::Role,
    audit::{self, Entry},
    callers::Authority,
    tenant_scope::TenantScope,
};
use jobs::Tx;
use poem_openapi::Object;
use serde_json::{Map, Value, json};
use sqlx::{PgExecutor, types::Json};

use super::{Branding, BrandingChanges, slug};
use crate::signups;

/// A workspace.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct Workspace {
    /// Workspace id.
    pub id: WorkspaceId,
    /// Name.
    pub name: String,
    /// Slug: the name in URLs.
    pub slug: String,
    /// Description; null if none is set.
    pub description: Option<String>,
    /// Branding.
    pub branding: Branding,
    /// Plan: `free`, `starter`, `growth` or `enterprise`.
    pub plan: String,
    /// Role of the caller; null for an API key.
    pub role: Option<Role>,
    /// Whether it is the workspace that the caller has last switched to.
    pub is_current: bool,
    /// Time at which the caller joined; null for an API key.
    pub joined_at: Option<DateTime<Utc>>,
    /// Creation time.
    pub created_at: DateTime<Utc>,
    /// Time of the last change.
    pub updated_at: DateTime<Utc>,
}

/// Changes to a workspace; absent fields stay unchanged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Object)]
pub struct WorkspaceChanges {
    /// Name: one line, at most 200 characters.
    pub name: Option<String>,
    /// Slug: the name in URLs, unique in the installation: lower-case letters, digits and hyphens.
    pub slug: Option<String>,
    /// Description, at most 2,000 characters; null clears it.
    pub description: Patch<String>,
    /// Branding.
    pub branding: Option<BrandingChanges>,
    /// Whether the onboarding of the workspace is completed, which its health shows as `company_onboarding_complete`.
    pub onboarding_completed: Option<bool>,
}

/// A row of either query.
struct Row {
    id: WorkspaceId,
    name: String,
    slug: String,
    description: Option<String>,
    branding: Json<Branding>,
    plan: String,
    role: Option<Role>,
    is_current: bool,
    joined_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<Row> for Workspace {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            name: row.name,
            slug: row.slug,
            description: row.description,
            branding: row.branding.0,
            plan: row.plan,
            role: row.role,
            is_current: row.is_current,
            joined_at: row.joined_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// The workspaces that a user may enter now, sorted by name.
pub async fn list(
    executor: impl PgExecutor<'_>,
    user: UserId,
    entered: &[Authority],
) -> Result<Vec<Workspace>, sqlx::Error> {
    let ids: Vec<_> = entered.iter().map(|authority| authority.workspace().0).collect();
    let rows = sqlx::query_as!(
        Row,
        r#"select w.id, w.name, w.slug, w.description, w.branding as "branding: _", w.plan,
                  m.role as "role: _", u.current_workspace_id is not distinct from w.id as "is_current!",
                  m.created_at as "joined_at?", w.created_at, w.updated_at
             from live_memberships m
             join workspaces w on w.id = m.workspace_id
             join users u on u.id = m.user_id
            where m.user_id = $1 and m.workspace_id = any($2)
            order by lower(w.name), w.id"#,
        user.0,
        &ids,
    )
    .fetch_all(executor)
    .await?;
    Ok(rows.into_iter().map(Workspace::from).collect())
}

/// A workspace, for a member or an API key.
///
/// # Errors
/// `record_not_found` if it doesn't exist.
pub async fn get(
    executor: impl PgExecutor<'_>,
    workspace: WorkspaceId,
    user: Option<UserId>,
) -> Result<Workspace, Error> {
    let row = sqlx::query_as!(
        Row,
        r#"select w.id, w.name, w.slug, w.description, w.branding as "branding: _", w.plan,
                  m.role as "role?: _", u.current_workspace_id is not distinct from w.id as "is_current!",
                  m.created_at as "joined_at?", w.created_at, w.updated_at
             from workspaces w
             left join live_memberships m on m.workspace_id = w.id and m.user_id = $2
             left join users u on u.id = m.user_id
            where w.id = $1"#,
        workspace.0,
        user.map(|user| user.0),
    );
    Ok(row.fetch_one(executor).await?.into())
}

/// Changes a workspace, and answers its new state.
///
/// # Errors
/// `slug_taken` for another workspace's; `record_invalid` for invalid values.
pub async fn update(
    tx: &mut Tx,
    workspace: WorkspaceId,
    actor: &Actor,
    changes: WorkspaceChanges,
) -> Result<Workspace, Error> {
    let changes = checked(changes).map_err(Error::invalid_fields)?;
    if !changes.is_empty() {
        let text = |name: &str| changes.get(name).and_then(Value::as_str);
        sqlx::query!(
            "update workspaces
                set name = coalesce($2, name), slug = coalesce($3, slug),
                    description = case when $4 then $5 else description end,
                    branding = jsonb_strip_nulls(branding || $6), updated_at = now()
              where id = $1",
            workspace.0,
            text("name"),
            text("slug"),
            changes.contains_key("description"),
            text("description"),
            changes.get("branding").cloned().unwrap_or_else(|| json!({})),
        )
        .execute(tx.conn())
        .await?;
        if let Some(completed) = changes.get("onboarding_completed") {
            let mut scope = TenantScope::enter(tx, workspace).await?;
            sqlx::query!(
                "insert into settings (key, value) values ('onboarding', jsonb_build_object('completed', $1::jsonb))
                 on conflict (key) do update set value = settings.value || excluded.value, updated_at = now()",
                completed,
            )
            .execute(scope.conn())
            .await?;
            scope.leave().await?;
        }
        let event = Event::new("workspace", "updated", workspace.0, &changes);
        event.record(tx, workspace, actor).await?;
    }
    get(tx.conn(), workspace, actor.user_id).await
}

/// The changes, by name.
fn checked(changes: WorkspaceChanges) -> Result<Map<String, Value>, FieldErrors> {
    let mut errors = FieldErrors::new();
    let mut checked = Map::new();
    if let Some(name) = changes.name {
        match signups::name(&name) {
            Ok(name) => drop(checked.insert("name".to_owned(), name.into())),
            Err(reason) => drop(errors.insert("name".to_owned(), vec![reason.into_owned()])),
        }
    }
    if let Some(slug) = changes.slug {
        match slug::check(&slug) {
            Ok(()) => drop(checked.insert("slug".to_owned(), slug.into())),
            Err(reason) => drop(errors.insert("slug".to_owned(), vec![reason.to_owned()])),
        }
    }
    match changes.description {
        Patch::Absent => {}
        Patch::Null => drop(checked.insert("description".to_owned(), Value::Null)),
        Patch::Value(text) => match text.parse::<Text<2000>>() {
            Ok(text) => drop(checked.insert("description".to_owned(), String::from(text).into())),
            Err(invalid) => drop(errors.insert("description".to_owned(), vec![invalid.to_string()])),
        },
    }
    if let Some(completed) = changes.onboarding_completed {
        checked.insert("onboarding_completed".to_owned(), completed.into());
    }
    let branding = changes.branding.map(|branding| branding.checked(&mut errors));
    if let Some(branding) = branding.filter(|branding| !branding.is_empty()) {
        checked.insert("branding".to_owned(), branding.into());
    }
    if errors.is_empty() { Ok(checked) } else { Err(errors) }
}

/// Makes a workspace the user's current one.
///
/// # Errors
/// `record_not_found` if it no longer exists.
pub async fn switch(
    tx: &mut Tx,
    authority: &Authority,
    user: UserId,
    actor: &Actor,
) -> Result<Workspace, Error> {
    let workspace = authority.workspace();
    sqlx::query!(
        "update users set current_workspace_id = $2, updated_at = now() where id = $1 returning id",
        user.0,
        workspace.0,
    )
    .fetch_one(tx.conn())
    .await?;
    let entry = Entry::new("user", "switched_workspace", user.0, json!({ "workspace_id": workspace }));
    audit::record(tx, None, actor, entry).await?;
    get(tx.conn(), workspace, Some(user)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_wrong_with_a_change_is_said_at_once() {
        let given = |text: &str| Patch::Value(text.to_owned());
        let changes = WorkspaceChanges {
            name: Some(" ".to_owned()),
            slug: Some("No Slug".to_owned()),
            description: given(&"x".repeat(2001)),
            branding: Some(BrandingChanges {
                brand_name: given("Two\nlines"),
                logo_url: given("javascript:alert(1)"),
                color: given("red"),
                support_email: given("no address"),
            }),
            onboarding_completed: None,
        };
        let errors = checked(changes).unwrap_err();
        let fields: Vec<_> = errors.keys().map(String::as_str).collect();
        assert_eq!(
            fields,
            [
                "branding.brand_name",
                "branding.color",
                "branding.logo_url",
                "branding.support_email",
                "description",
                "name",
                "slug"
            ]
        );
    }

    #[test]
    fn what_is_absent_is_no_change_and_null_takes_away() {
        assert_eq!(checked(WorkspaceChanges::default()), Ok(Map::new()));
        let branding = BrandingChanges {
            logo_url: Patch::Null,
            color: Patch::Value("#00FFaa".to_owned()),
            ..BrandingChanges::default()
        };
        let changes = WorkspaceChanges { branding: Some(branding), ..WorkspaceChanges::default() };
        let changes = Value::from(checked(changes).unwrap());
        assert_eq!(changes, json!({ "branding": { "logo_url": null, "color": "#00ffaa" } }));
    }
}
