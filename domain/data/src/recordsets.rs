//! Recordsets: tables of typed records that a workspace defines for itself.
//!
//! This module keeps the recordsets and the definitions of their fields, and provides by a [`Schema`] the rules of
//! their records. The records themselves are in [`crate::records`]. A deleted recordset lies
//! in the trash, where neither it nor its records are visible; its slug stays taken, so that it can come back.

pub mod ewkb;

mod definitions;
mod example;
mod promoted;
mod schema;
mod slug;
mod unique;

pub use definitions::{MAX_FIELDS, NewField};
pub use example::create_example;
pub use promoted::Promoted;
pub use schema::{Schema, SchemaField, Stored};
pub use slug::{InvalidSlug, Slug};
pub use unique::unique_value;

use chrono::{DateTime, Utc};
use domain::{
    Error, Event, FieldErrors, JsonObject, Name, Patch, RecordsetId, Text, UserId, WorkspaceDb,
    page::{PageOf, PageRequest},
    storage_use,
};
use fields::{Field, FieldType};
use poem_openapi::Object;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

/// A table of records.
#[derive(Debug, Clone, PartialEq, Serialize, Object)]
pub struct Recordset {
    /// Recordset id.
    pub id: RecordsetId,
    /// Slug: the name in URLs; it never changes.
    pub slug: String,
    /// Name.
    pub name: String,
    /// Description; null if none is set.
    pub description: Option<String>,
    /// Settings of the screens that show it, stored as given.
    pub settings: JsonObject,
    /// Whether the recordset is in use.
    pub is_active: bool,
    /// Number of records.
    pub record_count: i64,
    /// User id of the creator; null if an API key created it.
    pub created_by: Option<UserId>,
    /// Creation time.
    pub created_at: DateTime<Utc>,
    /// Time of the last change of the recordset or its fields.
    pub updated_at: DateTime<Utc>,
}

/// A recordset with its fields.
#[derive(Debug, Clone, PartialEq, Serialize, Object)]
pub struct RecordsetDetail {
    /// The recordset.
    #[serde(flatten)]
    #[oai(flatten)]
    pub recordset: Recordset,
    /// Fields, in order.
    pub fields: Vec<Field>,
}

/// A recordset to create.
#[derive(Debug, Clone, Default, PartialEq, Object)]
pub struct NewRecordset {
    /// Name, 1 to 255 characters.
    pub name: String,
    /// Slug: the name in URLs; derived from the name and made unique if absent.
    pub slug: Option<String>,
    /// Description; null if none.
    pub description: Option<String>,
    /// Settings of the screens that show it.
    #[oai(default)]
    pub settings: JsonObject,
    /// Fields, in order; at most 2,000.
    #[oai(default)]
    pub fields: Vec<NewField>,
}

/// Changes to a recordset; absent fields stay unchanged.
#[derive(Debug, Clone, Default, PartialEq, Object)]
pub struct RecordsetChanges {
    /// Name, 1 to 255 characters.
    pub name: Option<String>,
    /// Description; null clears it.
    pub description: Patch<String>,
    /// Settings of the screens that show it, in place of the present ones.
    pub settings: Option<JsonObject>,
    /// Whether the recordset is in use.
    pub is_active: Option<bool>,
    /// Fields to change, by their keys, and fields to add; others stay unchanged.
    pub fields: Option<Vec<NewField>>,
}

impl RecordsetChanges {
    /// Names of the changed fields.
    fn names(&self) -> Vec<&'static str> {
        let named = [
            ("name", self.name.is_some()),
            ("description", self.description.is_given()),
            ("settings", self.settings.is_some()),
            ("is_active", self.is_active.is_some()),
            ("fields", self.fields.is_some()),
        ];
        named.into_iter().filter(|(_, changes)| *changes).map(|(name, _)| name).collect()
    }
}

/// Details of the event of a change.
#[derive(Serialize)]
struct Updated<'a> {
    #[serde(flatten)]
    recordset: &'a Recordset,
    changed: Vec<&'static str>,
}

/// Which recordsets to list.
#[derive(Debug, Clone, Copy, Default)]
pub struct RecordsetFilter<'a> {
    /// Part of the name, the slug or the description.
    pub search: Option<&'a str>,
    /// Whether the recordset is in use.
    pub is_active: Option<bool>,
}

/// Creates a recordset.
///
/// # Errors
/// `slug_taken` if a slug is asked for that another recordset has;
/// `record_invalid` for errors of it or its fields; `limit_exceeded`.
pub async fn create(db: &mut WorkspaceDb, new: NewRecordset) -> Result<RecordsetDetail, Error> {
    let mut errors = FieldErrors::new();
    check_texts(Some(&new.name), new.description.as_deref(), Some(&new.settings), &mut errors);
    let slug = new.slug.as_deref().map(str::parse::<Slug>).transpose();
    if let Err(invalid) = &slug {
        errors.insert("slug".to_owned(), vec![invalid.to_string()]);
    }
    let definitions = definitions::define(&[], new.fields.clone());
    errors.extend(definitions.as_ref().err().cloned().unwrap_or_default());
    let (Ok(slug), Ok(definitions), true) = (slug, definitions, errors.is_empty()) else {
        return Err(Error::invalid_fields(errors));
    };

    let id = insert(db, &new, slug).await?;
    definitions.store(db, id).await?;
    count_bytes(db, id).await?;
    let created = detail(db, Handle::id(id)).await?;
    db.record(Event::new("recordset", "created", id.0, &created.recordset)).await?;
    Ok(created)
}

/// Inserts the row under the requested slug, or under the first free one.
async fn insert(db: &mut WorkspaceDb, new: &NewRecordset, asked: Option<Slug>) -> Result<RecordsetId, Error> {
    const TRIES: usize = 100; // each failed one means that a concurrent one has succeeded
    let derived = Slug::from_name(&new.name);
    for _ in 0..if asked.is_some() { 1 } else { TRIES } {
        let slug = match &asked {
            Some(slug) => slug.clone(),
            None => derived.clone().unique(&slugs_like(db, &derived).await?),
        };
        let inserted = sqlx::query_scalar!(
            "insert into recordsets (id, slug, name, description, settings, created_by)
               values ($1, $2, $3, $4, $5, $6)
               on conflict on constraint recordsets_slug_key do nothing
               returning id",
            RecordsetId::new().0,
            slug.as_str(),
            new.name.trim(),
            new.description.as_deref().map(str::trim),
            &new.settings as &JsonObject,
            db.user_id(),
        )
        .fetch_optional(db.conn())
        .await?;
        if let Some(id) = inserted {
            return Ok(id);
        }
    }
    Err(Error::taken("slug"))
}

/// The slugs that begin like this one, those in the trash too.
async fn slugs_like(db: &mut WorkspaceDb, slug: &Slug) -> Result<Vec<String>, sqlx::Error> {
    // Long slugs are cut to make room for a number, so that only their beginning is the same.
    let beginning: String = slug.as_str().chars().take(60).collect();
    sqlx::query_scalar!("select slug from recordsets where starts_with(slug, $1)", beginning)
        .fetch_all(db.conn())
        .await
}

/// A page of the recordsets outside the trash, sorted by name.
pub async fn list(
    db: &mut WorkspaceDb,
    filter: RecordsetFilter<'_>,
    page: PageRequest,
) -> Result<PageOf<Recordset>, Error> {
    let total = sqlx::query_scalar!(
        r#"select count(*) as "count!"
             from recordsets
            where deleted_at is null
              and ($1::boolean is null or is_active = $1)
              and ($2::text is null or position(lower($2) in lower(concat_ws(' ', name, slug, description))) > 0)"#,
        filter.is_active,
        filter.search,
    )
    .fetch_one(db.conn())
    .await?;
    Ok(PageOf { items: find(db, None, filter, page).await?, total })
}

/// Recordsets outside the trash, by name.
async fn find(
    db: &mut WorkspaceDb,
    handle: Option<Handle<'_>>,
    filter: RecordsetFilter<'_>,
    page: PageRequest,
) -> Result<Vec<Recordset>, sqlx::Error> {
    sqlx::query_as!(
        Recordset,
        r#"select s.id,
                  s.slug,
                  s.name,
                  s.description,
                  s.settings,
                  s.is_active,
                  (select coalesce(sum(d.delta), 0)::bigint from record_count_deltas d where d.recordset_id = s.id)
                      as "record_count!",
                  s.created_by,
                  s.created_at,
                  s.updated_at
             from recordsets s
            where s.deleted_at is null
              and (not $1 or s.slug = $2 or s.id = $3)
              and ($4::boolean is null or s.is_active = $4)
              and ($5::text is null or position(lower($5) in lower(concat_ws(' ', s.name, s.slug, s.description))) > 0)
            order by lower(s.name), s.id
            limit $6 offset $7"#,
        handle.is_some(),
        handle.and_then(|handle| handle.slug),
        handle.and_then(|handle| handle.id),
        filter.is_active,
        filter.search,
        page.limit,
        page.offset,
    )
    .fetch_all(db.conn())
    .await
}

/// One recordset, by its slug or its id, with its fields and the exact count of its records.
///
/// # Errors
/// `record_not_found`, also for a recordset in the trash.
pub async fn get(db: &mut WorkspaceDb, slug_or_id: &str) -> Result<RecordsetDetail, Error> {
    detail(db, Handle::of(slug_or_id)).await
}

/// Changes a recordset or its fields.
///
/// # Errors
/// `record_not_found`; `record_invalid`, among others for a field whose type would
/// change, and for one that would become unique while there are records; `limit_exceeded`.
pub async fn update(
    db: &mut WorkspaceDb,
    slug_or_id: &str,
    changes: RecordsetChanges,
) -> Result<RecordsetDetail, Error> {
    let (handle, changed) = (Handle::of(slug_or_id), changes.names());
    let mut errors = FieldErrors::new();
    let description = changes.description.value().map(String::as_str);
    check_texts(changes.name.as_deref(), description, changes.settings.as_ref(), &mut errors);
    let fields_change = changes.fields.is_some();
    if let Some(asked) = changes.fields {
        let id = hold_alone(db, handle).await?;
        let existing = schema::fields_of(db, id).await?;
        match definitions::define(&existing, asked) {
            Ok(definitions) if errors.is_empty() => definitions.store(db, id).await?,
            Ok(_) => {}
            Err(more) => errors.extend(more),
        }
    }
    if !errors.is_empty() {
        return Err(Error::invalid_fields(errors));
    }
    let id = sqlx::query_scalar!(
        "update recordsets
            set name = coalesce($3, name),
                description = case when $4 then $5 else description end,
                settings = coalesce($6, settings),
                is_active = coalesce($7, is_active),
                schema_version = schema_version + $8::boolean::integer,
                updated_at = clock_timestamp()
          where (slug = $1 or id = $2) and deleted_at is null
         returning id",
        handle.slug,
        handle.id,
        changes.name.as_deref().map(str::trim),
        changes.description.is_given(),
        description.map(str::trim),
        changes.settings as Option<JsonObject>,
        changes.is_active,
        fields_change,
    )
    .fetch_optional(db.conn())
    .await?
    .ok_or_else(Error::not_found)?;
    count_bytes(db, id).await?;
    let updated = detail(db, Handle::id(id)).await?;
    let what = Updated { recordset: &updated.recordset, changed };
    db.record(Event::new("recordset", "updated", id, what)).await?;
    Ok(updated)
}

/// Counts the storage of a recordset's definition, in place of the previous count: its texts, settings and
/// fields, and for the rows themselves and their index entries 1,024 bytes and 256 for each field.
async fn count_bytes(db: &mut WorkspaceDb, id: RecordsetId) -> Result<(), Error> {
    let added = sqlx::query_scalar!(
        r#"update recordsets r
              set bytes = taken.bytes
             from (select b.bytes as before,
                          1024 + octet_length(b.name) + coalesce(octet_length(b.description), 0)
                          + octet_length(b.settings::text)
                          + (select coalesce(sum(256 + octet_length(f.label) + octet_length(f.options::text)), 0)
                               from fields f where f.recordset_id = b.id) as bytes
                     from recordsets b where b.id = $1) taken
            where r.id = $1
           returning taken.bytes - taken.before as "added!""#,
        id.0,
    )
    .fetch_one(db.conn())
    .await?;
    if added < 0 {
        return Ok(storage_use::release(db, -added).await?);
    }
    storage_use::add(db, added).await
}

/// Moves a recordset to the trash: neither it nor its records are visible then, and nothing is lost.
///
/// # Errors
/// `record_not_found`, also if it lies there already.
pub async fn delete(db: &mut WorkspaceDb, slug_or_id: &str) -> Result<(), Error> {
    let handle = Handle::of(slug_or_id);
    let deleted = sqlx::query!(
        "update recordsets
            set is_active = false, deleted_at = clock_timestamp(), updated_at = clock_timestamp()
          where (slug = $1 or id = $2) and deleted_at is null
         returning id, slug, name",
        handle.slug,
        handle.id,
    )
    .fetch_optional(db.conn())
    .await?
    .ok_or_else(Error::not_found)?;
    let what = json!({"slug": deleted.slug, "name": deleted.name});
    db.record(Event::new("recordset", "deleted", deleted.id, what)).await?;
    Ok(())
}

/// The client's identifier of a recordset. No slug looks like an id, so it is unambiguous.
#[derive(Clone, Copy)]
struct Handle<'a> {
    slug: Option<&'a str>,
    id: Option<Uuid>,
}

impl<'a> Handle<'a> {
    fn of(slug_or_id: &'a str) -> Self {
        match Uuid::try_parse(slug_or_id) {
            Ok(id) => Self { slug: None, id: Some(id) },
            Err(_) => Self { slug: Some(slug_or_id), id: None },
        }
    }

    fn id(id: RecordsetId) -> Self {
        Self { slug: None, id: Some(id.0) }
    }
}

/// Waits for the transactions that write records by the fields as they are, and keeps others waiting.
async fn hold_alone(db: &mut WorkspaceDb, handle: Handle<'_>) -> Result<RecordsetId, Error> {
    sqlx::query_scalar!(
        "select id from recordsets where (slug = $1 or id = $2) and deleted_at is null for update",
        handle.slug,
        handle.id,
    )
    .fetch_optional(db.conn())
    .await?
    .ok_or_else(Error::not_found)
}

async fn detail(db: &mut WorkspaceDb, handle: Handle<'_>) -> Result<RecordsetDetail, Error> {
    let found = find(db, Some(handle), RecordsetFilter::default(), PageRequest::ONE).await?;
    let recordset = found.into_iter().next().ok_or_else(Error::not_found)?;
    let fields = schema::fields_of(db, recordset.id).await?.into_iter().map(|field| field.field).collect();
    Ok(RecordsetDetail { recordset, fields })
}

/// Checks the texts and settings of a recordset.
fn check_texts(
    name: Option<&str>,
    description: Option<&str>,
    settings: Option<&JsonObject>,
    errors: &mut FieldErrors,
) {
    let mut complain = |field: &str, reason: &str| {
        errors.entry(field.to_owned()).or_default().push(reason.to_owned());
    };
    if let Some(Err(invalid)) = name.map(str::parse::<Name<255>>) {
        complain("name", &invalid.to_string());
    }
    if let Some(Err(invalid)) = description.map(str::parse::<Text<10_000>>) {
        complain("description", &invalid.to_string());
    }
    if let Some(settings) = settings {
        let value = Value::Object(settings.members().clone());
        if let Err(invalid) = Field::new("settings", FieldType::Json).accept_json(&value) {
            complain("settings", &invalid.message);
        }
    }
}
