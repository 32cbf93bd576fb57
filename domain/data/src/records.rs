//! Records: the rows of recordsets.
//!
//! What a record may hold is said by its recordset's [`Schema`]. This module keeps what follows from a
//! change in the same transaction: the version before it, the values of unique fields, the promoted
//! columns, the count, the bytes in use and the event. Changes to one record come one after the other.

mod list;
mod snapshot;

pub use list::{RecordFilter, SortOrder, list};
pub use snapshot::{SnapshotPage, snapshot, visible_in};

use chrono::{DateTime, Utc};
use domain::{
    Error, Event, FieldErrors, JsonObject, RecordId, RecordsetId, UserId, WorkspaceDb, access::Reach,
    storage_use,
};
use fields::FieldKey;
use poem_openapi::Object;
use serde::Serialize;
use serde_json::json;

use crate::recordsets::{Promoted, Schema};

/// A row of a recordset.
#[derive(Debug, Clone, PartialEq, Serialize, Object, sqlx::FromRow)]
pub struct Record {
    /// Record id.
    pub id: RecordId,
    /// Id of the recordset.
    pub recordset_id: RecordsetId,
    /// Values by field key; blank ones are left out. Decimals are strings.
    pub data: JsonObject,
    /// Version: number of changes, from 1.
    pub version: i32,
    /// User id of the creator; null if an API key created it.
    pub created_by: Option<UserId>,
    /// Creation time.
    pub created_at: DateTime<Utc>,
    /// User id of the last change; null if an API key made it.
    pub updated_by: Option<UserId>,
    /// Time of the last change.
    pub updated_at: DateTime<Utc>,
}

/// A record to create.
#[derive(Debug, Clone, PartialEq, Object)]
pub struct NewRecord {
    /// Id of the recordset.
    pub recordset_id: RecordsetId,
    /// Values by field key.
    pub data: JsonObject,
}

/// Changes to a record.
#[derive(Debug, Clone, Default, PartialEq, Object)]
pub struct RecordChanges {
    /// Values by field key: each replaces the present one, null clears it, fields that are not named stay
    /// unchanged.
    pub data: JsonObject,
    /// Version that the changes were made for; with another present version nothing changes (409 `version_conflict`).
    pub expected_version: Option<i32>,
}

/// Creates a record.
///
/// # Errors
/// `record_not_found`; `record_invalid` with the reasons by field, a unique value
/// that another record has among them; `limit_exceeded`.
pub async fn create(db: &mut WorkspaceDb, new: NewRecord) -> Result<Record, Error> {
    let schema = Schema::load_for_write(db, new.recordset_id).await?;
    let stored = schema.accept(&new.data).map_err(Error::invalid_fields)?;
    let id = RecordId::new();
    let bytes = storage_use::of_record(&stored.data)?;
    storage_use::add(db, bytes.into()).await?;
    claim(db, new.recordset_id, id, &stored.unique).await?;
    let created = sqlx::query_as!(
        Record,
        "with counted as (insert into record_count_deltas (recordset_id, delta) values ($2, 1))
           insert into records (id, recordset_id, data, promoted_text_1, promoted_text_2, promoted_number_1,
                                promoted_number_2, promoted_date_1, promoted_date_2, promoted_gis_1, created_by,
                                updated_by, bytes)
           values ($1, $2, $3, $4, $5, $6::text::numeric, $7::text::numeric, $8::text::timestamptz,
                   $9::text::timestamptz, $10::text::geometry, $11, $11, $12)
           returning id, recordset_id, data, version, created_by, created_at, updated_by, updated_at",
        id.0,
        new.recordset_id.0,
        &stored.data as &JsonObject,
        stored.promoted(Promoted::Text1),
        stored.promoted(Promoted::Text2),
        stored.promoted(Promoted::Number1),
        stored.promoted(Promoted::Number2),
        stored.promoted(Promoted::Date1),
        stored.promoted(Promoted::Date2),
        stored.promoted(Promoted::Gis1),
        db.user_id(),
        bytes,
    )
    .fetch_one(db.conn())
    .await?;
    db.record(Event::new("record", "created", id.0, &created).version(created.version.into())).await?;
    Ok(created)
}

/// One record.
///
/// # Errors
/// `record_not_found`
pub async fn get(db: &mut WorkspaceDb, id: RecordId) -> Result<Record, Error> {
    sqlx::query_as!(
        Record,
        r#"select r.id as "id!",
                  r.recordset_id as "recordset_id!",
                  r.data as "data!",
                  r.version as "version!",
                  r.created_by,
                  r.created_at as "created_at!",
                  r.updated_by,
                  r.updated_at as "updated_at!"
             from live_records r
             join recordsets s on s.id = r.recordset_id and s.deleted_at is null
            where r.id = $1"#,
        id.0,
    )
    .fetch_optional(db.conn())
    .await?
    .ok_or_else(Error::not_found)
}

/// Changes a record, one that the actor has created where their reach is [`Reach::Own`], and keeps what it was
/// as a version, which goes on to count as stored. Changes that change nothing make no version.
///
/// # Errors
/// `record_not_found`; `version_conflict` if a version was expected and isn't
/// there; `record_invalid` with the reasons by field; `forbidden`; `limit_exceeded`.
pub async fn update(
    db: &mut WorkspaceDb,
    reach: Reach,
    id: RecordId,
    changes: RecordChanges,
) -> Result<Record, Error> {
    let before = get_for_change(db, reach, id).await?;
    if changes.expected_version.is_some_and(|expected| expected != before.version) {
        return Err(Error::conflict(
            "version_conflict",
            format!("the record was changed meanwhile: its version is {}", before.version),
        ));
    }
    let schema = Schema::load_for_write(db, before.recordset_id).await?;
    let stored = schema.accept_changes(before.data.clone(), &changes.data).map_err(Error::invalid_fields)?;
    let changed = changed_keys(&before.data, &stored.data);
    if changed.is_empty() {
        return Ok(before);
    }
    let bytes = storage_use::of_record(&stored.data)?;
    storage_use::add(db, bytes.into()).await?;
    let held = schema.unique_values(before.data.members());
    let (claimed, freed) = (beyond(&stored.unique, &held), beyond(&held, &stored.unique));
    // Claims first: a transaction that waits for a claim has released nothing yet that the other could be
    // waiting for.
    claim(db, before.recordset_id, id, &claimed).await?;
    release(db, id, &freed).await?;
    let updated = sqlx::query_as!(
        Record,
        "with kept as (
               insert into record_versions (record_id, version, recordset_id, data, staged_by, written_by,
                                            was_deleted, written_at, author, bytes)
               select id, version, recordset_id, data, staged_by, written_by, deleted_at is not null, updated_at,
                      updated_by, bytes
                 from records where id = $1)
           update records
              set data = $2,
                  version = version + 1,
                  staged_by = null,
                  promoted_text_1 = $3,
                  promoted_text_2 = $4,
                  promoted_number_1 = $5::text::numeric,
                  promoted_number_2 = $6::text::numeric,
                  promoted_date_1 = $7::text::timestamptz,
                  promoted_date_2 = $8::text::timestamptz,
                  promoted_gis_1 = $9::text::geometry,
                  written_by = pg_current_xact_id(),
                  updated_by = $10,
                  bytes = $11,
                  updated_at = clock_timestamp()
            where id = $1
           returning id, recordset_id, data, version, created_by, created_at, updated_by, updated_at",
        id.0,
        &stored.data as &JsonObject,
        stored.promoted(Promoted::Text1),
        stored.promoted(Promoted::Text2),
        stored.promoted(Promoted::Number1),
        stored.promoted(Promoted::Number2),
        stored.promoted(Promoted::Date1),
        stored.promoted(Promoted::Date2),
        stored.promoted(Promoted::Gis1),
        db.user_id(),
        bytes,
    )
    .fetch_one(db.conn())
    .await?;
    let what = json!({"record": &updated, "changed": changed});
    db.record(Event::new("record", "updated", id.0, what).version(updated.version.into())).await?;
    Ok(updated)
}

/// Deletes a record, one that the actor has created where their reach is [`Reach::Own`]: it is visible no more,
/// its unique values are free, and its versions stay. They count as stored, the last one in place of the
/// record.
///
/// # Errors
/// `record_not_found`, also if it was deleted before; `forbidden`.
pub async fn delete(db: &mut WorkspaceDb, reach: Reach, id: RecordId) -> Result<(), Error> {
    let before = get_for_change(db, reach, id).await?;
    let version = sqlx::query_scalar!(
        "with kept as (
             insert into record_versions (record_id, version, recordset_id, data, staged_by, written_by, was_deleted,
                                          written_at, author, bytes)
             select id, version, recordset_id, data, staged_by, written_by, deleted_at is not null, updated_at,
                    updated_by, bytes
               from records where id = $1),
              freed as (delete from unique_values where record_id = $1),
              counted as (insert into record_count_deltas (recordset_id, delta) values ($2, -1))
         update records
            set version = version + 1,
                staged_by = null,
                written_by = pg_current_xact_id(),
                updated_by = $3,
                bytes = 0,
                updated_at = clock_timestamp(),
                deleted_at = clock_timestamp()
          where id = $1
         returning version",
        id.0,
        before.recordset_id.0,
        db.user_id(),
    )
    .fetch_one(db.conn())
    .await?;
    let what = json!({"id": id, "recordset_id": before.recordset_id});
    db.record(Event::new("record", "deleted", id.0, what).version(version.into())).await?;
    Ok(())
}

/// A record within the actor's reach, as it is now and stays until this transaction changes it or ends. A program has
/// created no record of its own.
async fn get_for_change(db: &mut WorkspaceDb, reach: Reach, id: RecordId) -> Result<Record, Error> {
    let record = sqlx::query_as!(
        Record,
        "select r.id, r.recordset_id, r.data, r.version, r.created_by, r.created_at, r.updated_by, r.updated_at
             from records r
            where r.id = $1
              and r.deleted_at is null
              and (r.staged_by is null
                   or exists (select from staged_imports i where i.job_id = r.staged_by and i.published_by is not null))
              and exists (select from recordsets s where s.id = r.recordset_id and s.deleted_at is null)
              for no key update of r",
        id.0,
    )
    .fetch_optional(db.conn())
    .await?
    .ok_or_else(Error::not_found)?;
    let user = db.actor().user_id;
    let is_theirs = user.is_some() && record.created_by == user;
    if reach == Reach::Own && !is_theirs {
        return Err(Error::forbidden("you may only change records you created"));
    }
    Ok(record)
}

/// The keys whose values differ, in order.
fn changed_keys(before: &JsonObject, after: &JsonObject) -> Vec<String> {
    let (before, after) = (before.members(), after.members());
    let changed = after.iter().filter(|(key, value)| before.get(*key) != Some(value)).map(|(key, _)| key);
    let cleared = before.keys().filter(|key| !after.contains_key(*key));
    let mut keys: Vec<String> = changed.chain(cleared).cloned().collect();
    keys.sort();
    keys
}

/// Takes the values of unique fields for a record. Waits for a transaction that has taken one of them
/// or frees it.
async fn claim(
    db: &mut WorkspaceDb,
    recordset: RecordsetId,
    record: RecordId,
    values: &[(FieldKey, String)],
) -> Result<(), Error> {
    if values.is_empty() {
        return Ok(());
    }
    let keys: Vec<String> = values.iter().map(|(key, _)| key.as_str().to_owned()).collect();
    // In order of key everywhere, so that two transactions with the same values don't deadlock.
    let claimed = sqlx::query_scalar!(
        "insert into unique_values (recordset_id, field_key, value, record_id)
         select $1, key, value, $2 from unnest($3::text[], $4::text[]) as claims (key, value) order by key, value
         on conflict on constraint unique_values_pkey do nothing
         returning field_key",
        recordset.0,
        record.0,
        &keys,
        &values.iter().map(|(_, value)| value.clone()).collect::<Vec<_>>(),
    )
    .fetch_all(db.conn())
    .await?;
    let errors: FieldErrors = keys
        .into_iter()
        .filter(|key| !claimed.contains(key))
        .map(|key| (key, vec!["already taken".to_owned()]))
        .collect();
    if errors.is_empty() { Ok(()) } else { Err(Error::invalid_fields(errors)) }
}

/// Frees values that a record has.
async fn release(
    db: &mut WorkspaceDb,
    record: RecordId,
    values: &[(FieldKey, String)],
) -> Result<(), sqlx::Error> {
    if values.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "delete from unique_values u
          using unnest($2::text[], $3::text[]) as freed (key, value)
          where u.record_id = $1 and u.field_key = freed.key and u.value = freed.value",
        record.0,
        &values.iter().map(|(key, _)| key.as_str().to_owned()).collect::<Vec<_>>(),
        &values.iter().map(|(_, value)| value.clone()).collect::<Vec<_>>(),
    )
    .execute(db.conn())
    .await?;
    Ok(())
}

/// The values that the other list lacks.
fn beyond(values: &[(FieldKey, String)], others: &[(FieldKey, String)]) -> Vec<(FieldKey, String)> {
    values.iter().filter(|value| !others.contains(value)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_key_is_one_that_is_new_different_or_gone() {
        let object = |value| serde_json::from_value::<JsonObject>(value).unwrap();
        let before = object(json!({"a": 1, "b": "x", "c": true}));
        let after = object(json!({"a": 2, "c": true, "d": []}));
        assert_eq!(changed_keys(&before, &after), ["a", "b", "d"]);
        assert!(changed_keys(&before, &before).is_empty());
    }
}
