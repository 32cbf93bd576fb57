//! Modules: the parts of the product that a workspace switches on and off, each with settings of its
//! own. What a module's settings mean is its own business; here they are a JSON object, kept as given.

use chrono::{DateTime, Utc};
use domain::{EntityError, Event, FieldErrors, JsonObject, WorkspaceDb};
use poem_openapi::Object;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

/// The most that a module's settings take, as JSON.
const MAX_SETTINGS: usize = 64 * 1024;
/// The longest name of a module.
const LONGEST_NAME: usize = 63;

/// A module, as a workspace has set it up.
#[derive(Debug, Clone, PartialEq, Serialize, Object)]
pub struct Module {
    /// Its id.
    pub id: Uuid,
    /// Its name, which addresses it.
    pub module: String,
    /// Whether it is on.
    pub is_enabled: bool,
    /// How it is set up.
    pub settings: JsonObject,
    /// When it was first set up.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

/// A module to set up.
#[derive(Debug, Clone, PartialEq, Object)]
pub struct NewModule {
    /// Its name: a small letter, then up to 62 small letters, digits and underscores.
    pub module: String,
    /// Whether it is on.
    #[oai(default = "on")]
    pub is_enabled: bool,
    /// How it is set up; at most 64 KiB as JSON.
    #[oai(default)]
    pub settings: JsonObject,
}

/// Changes to a module; what is absent stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Object)]
pub struct ModuleChanges {
    /// Whether it is on.
    pub is_enabled: Option<bool>,
    /// How it is set up, in place of what was there; at most 64 KiB as JSON.
    pub settings: Option<JsonObject>,
}

const fn on() -> bool {
    true
}

/// All modules that were set up, by name.
pub async fn list(db: &mut WorkspaceDb) -> Result<Vec<Module>, EntityError> {
    let modules = sqlx::query_as!(
        Module,
        r#"select id, module, is_enabled, settings as "settings: _", created_at, updated_at
             from modules order by module"#
    );
    Ok(modules.fetch_all(db.conn()).await?)
}

/// The module of that name.
pub async fn get(db: &mut WorkspaceDb, module: &str) -> Result<Module, EntityError> {
    let module = sqlx::query_as!(
        Module,
        r#"select id, module, is_enabled, settings as "settings: _", created_at, updated_at
             from modules where module = $1"#,
        module,
    );
    Ok(module.fetch_one(db.conn()).await?)
}

/// Sets a module up that wasn't.
///
/// # Errors
/// [`EntityError::Taken`] when it was; [`EntityError::Invalid`].
pub async fn create(db: &mut WorkspaceDb, new: NewModule) -> Result<Module, EntityError> {
    let mut errors = FieldErrors::new();
    if !is_name(&new.module) {
        let reason = "must be a small letter, then up to 62 small letters, digits and underscores";
        errors.insert("module".to_owned(), vec![reason.to_owned()]);
    }
    check_settings(&new.settings, &mut errors);
    if !errors.is_empty() {
        return Err(EntityError::Invalid(errors));
    }
    let created = sqlx::query_as!(
        Module,
        r#"insert into modules (id, module, is_enabled, settings) values ($1, $2, $3, $4)
           returning id, module, is_enabled, settings as "settings: _", created_at, updated_at"#,
        Uuid::now_v7(),
        new.module,
        new.is_enabled,
        Value::Object(new.settings.into_members()),
    );
    let created = created.fetch_one(db.conn()).await?;
    record(db, "created", &created).await?;
    Ok(created)
}

/// Switches a module on that is off, and off that is on.
pub async fn toggle(db: &mut WorkspaceDb, module: &str) -> Result<Module, EntityError> {
    let toggled = sqlx::query_as!(
        Module,
        r#"update modules set is_enabled = not is_enabled, updated_at = now() where module = $1
           returning id, module, is_enabled, settings as "settings: _", created_at, updated_at"#,
        module,
    );
    let toggled = toggled.fetch_one(db.conn()).await?;
    record(db, "updated", &toggled).await?;
    Ok(toggled)
}

/// Changes how a module is set up.
///
/// # Errors
/// [`EntityError::Invalid`].
pub async fn update(
    db: &mut WorkspaceDb,
    module: &str,
    changes: ModuleChanges,
) -> Result<Module, EntityError> {
    let mut errors = FieldErrors::new();
    if let Some(settings) = &changes.settings {
        check_settings(settings, &mut errors);
    }
    if !errors.is_empty() {
        return Err(EntityError::Invalid(errors));
    }
    let updated = sqlx::query_as!(
        Module,
        r#"update modules set is_enabled = coalesce($2, is_enabled), settings = coalesce($3, settings),
                              updated_at = now()
            where module = $1
           returning id, module, is_enabled, settings as "settings: _", created_at, updated_at"#,
        module,
        changes.is_enabled,
        changes.settings.map(|settings| Value::Object(settings.into_members())),
    );
    let updated = updated.fetch_one(db.conn()).await?;
    record(db, "updated", &updated).await?;
    Ok(updated)
}

/// Settings may hold what is nobody else's business, such as credentials: the event says that they are there.
async fn record(db: &mut WorkspaceDb, verb: &str, module: &Module) -> Result<(), sqlx::Error> {
    let told = json!({ "module": module.module, "is_enabled": module.is_enabled });
    db.record(Event::new("module", verb, module.id, told)).await
}

fn is_name(text: &str) -> bool {
    let is_next = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    text.len() <= LONGEST_NAME
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(is_next)
}

fn check_settings(settings: &JsonObject, errors: &mut FieldErrors) {
    let size = serde_json::to_vec(settings.members()).map_or(usize::MAX, |json| json.len());
    if size > MAX_SETTINGS {
        errors.insert("settings".to_owned(), vec!["must be at most 64 KiB as JSON".to_owned()]);
    }
}
