//! Modules: the parts of the product that a workspace switches on and off, each with settings of its own: a JSON object,
//! kept as given.

use chrono::{DateTime, Utc};
use domain::{Error, Event, JsonObject, WorkspaceDb};
use poem_openapi::Object;
use serde::Serialize;
use serde_json::{Value, json};

domain::ids! {
    /// A module.
    ModuleId = "module",
}

/// Maximum size of a module's settings, in bytes of JSON.
const MAX_SETTINGS: usize = 64 * 1024;

/// A module, as a workspace has set it up.
#[derive(Debug, Clone, PartialEq, Serialize, Object)]
pub struct Module {
    /// Module id.
    pub id: ModuleId,
    /// Name, as in the module's path.
    pub module: String,
    /// Whether the module is on.
    pub is_enabled: bool,
    /// Settings.
    pub settings: JsonObject,
    /// Creation time.
    pub created_at: DateTime<Utc>,
    /// Time of the last change.
    pub updated_at: DateTime<Utc>,
}

/// A module to set up.
#[derive(Debug, Clone, PartialEq, Object)]
pub struct NewModule {
    /// Name, unique in the workspace: a small letter, then up to 62 small letters, digits and underscores.
    #[oai(validator(pattern = "^[a-z][a-z0-9_]{0,62}$"))]
    pub module: String,
    /// Whether the module is on.
    #[oai(default = "on")]
    pub is_enabled: bool,
    /// Settings; at most 64 KiB as JSON.
    #[oai(default)]
    pub settings: JsonObject,
}

/// Changes to a module; absent fields stay unchanged.
#[derive(Debug, Clone, Default, PartialEq, Object)]
pub struct ModuleChanges {
    /// Whether the module is on.
    pub is_enabled: Option<bool>,
    /// Settings, in place of the present ones; at most 64 KiB as JSON.
    pub settings: Option<JsonObject>,
}

const fn on() -> bool {
    true
}

/// All modules that were set up, by name.
pub async fn list(db: &mut WorkspaceDb) -> Result<Vec<Module>, Error> {
    find(db, None).await
}

/// The module of that name.
pub async fn get(db: &mut WorkspaceDb, name: &str) -> Result<Module, Error> {
    find(db, Some(name)).await?.pop().ok_or_else(Error::not_found)
}

async fn find(db: &mut WorkspaceDb, name: Option<&str>) -> Result<Vec<Module>, Error> {
    let modules = sqlx::query_as!(
        Module,
        "select id, module, is_enabled, settings, created_at, updated_at
           from modules where ($1::text is null or module = $1) order by module",
        name,
    );
    Ok(modules.fetch_all(db.conn()).await?)
}

/// Sets a module up.
pub async fn create(db: &mut WorkspaceDb, new: NewModule) -> Result<Module, Error> {
    check(&new.settings)?;
    sqlx::query!(
        "insert into modules (id, module, is_enabled, settings) values ($1, $2, $3, $4)",
        ModuleId::new().0,
        new.module,
        new.is_enabled,
        Value::Object(new.settings.into_members()),
    )
    .execute(db.conn())
    .await?;
    record(db, "created", &new.module).await
}

/// Switches a module on that is off, and off that is on.
pub async fn toggle(db: &mut WorkspaceDb, name: &str) -> Result<Module, Error> {
    sqlx::query!(
        "update modules set is_enabled = not is_enabled, updated_at = now() where module = $1",
        name,
    )
    .execute(db.conn())
    .await?;
    record(db, "updated", name).await
}

/// Changes a module.
pub async fn update(db: &mut WorkspaceDb, name: &str, changes: ModuleChanges) -> Result<Module, Error> {
    changes.settings.as_ref().map_or(Ok(()), check)?;
    sqlx::query!(
        "update modules set is_enabled = coalesce($2, is_enabled), settings = coalesce($3, settings),
                            updated_at = now()
          where module = $1",
        name,
        changes.is_enabled,
        changes.settings.map(|settings| Value::Object(settings.into_members())),
    )
    .execute(db.conn())
    .await?;
    record(db, "updated", name).await
}

/// The event names the module without its settings, which may hold credentials.
async fn record(db: &mut WorkspaceDb, verb: &str, name: &str) -> Result<Module, Error> {
    let module = get(db, name).await?;
    let told = json!({ "module": module.module, "is_enabled": module.is_enabled });
    db.record(Event::new("module", verb, module.id, told)).await?;
    Ok(module)
}

fn check(settings: &JsonObject) -> Result<(), Error> {
    let size = serde_json::to_vec(settings.members()).map_or(usize::MAX, |json| json.len());
    let reason = "must be at most 64 KiB as JSON";
    (size <= MAX_SETTINGS).then_some(()).ok_or_else(|| Error::invalid("settings", reason))
}
