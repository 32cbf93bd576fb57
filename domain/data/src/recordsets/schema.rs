//! `Schema`: the fields of a recordset as everything that writes records needs them.
//!
//! A request loads one for writing, an import loads one when it begins and [holds](Schema::hold) it in
//! each batch's transaction. Both ways a change of the fields waits for the transaction, and the
//! transaction never works by fields that are no more.

use std::collections::HashMap;

use domain::{Error, FieldErrors, JsonObject, RecordsetId, WorkspaceDb};
use fields::{Field, FieldKey, FieldType};
use serde_json::{Map, Value};
use sqlx::types::Json;

use super::{Promoted, unique_value};

/// A field and where it is mirrored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaField {
    /// Definition of the field.
    pub field: Field,
    /// The typed column of `records` that holds its value a second time.
    pub promoted_to: Option<Promoted>,
}

/// The fields of a recordset, in order and by key.
///
/// For writing records in bulk, in each batch's transaction: [`Schema::hold`]; the rows of
/// `unique_values`, in order of `field_key` and `value` and `on conflict do nothing`, where there are
/// unique fields; `records` with `id`, `recordset_id`, `data`, the columns of [`Schema::promoted`],
/// `created_by` and `updated_by`, the others by their defaults; one row of `record_count_deltas`; one event.
#[derive(Debug, Clone)]
pub struct Schema {
    recordset: RecordsetId,
    version: i32,
    fields: Vec<SchemaField>,
    by_key: HashMap<FieldKey, usize>,
}

/// Stored form of a record: its values, and what is derived from them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stored {
    /// Goes to `records.data`. Blank values are left out.
    pub data: JsonObject,
    /// Rows of `unique_values`, by key.
    pub unique: Vec<(FieldKey, String)>,
    /// Text for the promoted columns.
    pub promoted: HashMap<Promoted, String>,
}

impl Stored {
    /// The text for a promoted column, or none for a null.
    #[must_use]
    pub fn promoted(&self, column: Promoted) -> Option<&str> {
        self.promoted.get(&column).map(String::as_str)
    }
}

impl Schema {
    /// The fields as they are now, for reading.
    ///
    /// # Errors
    /// `record_not_found`, also for a recordset in the trash.
    pub async fn load(db: &mut WorkspaceDb, recordset: RecordsetId) -> Result<Self, Error> {
        let version = sqlx::query_scalar!(
            "select schema_version from recordsets where id = $1 and deleted_at is null",
            recordset.0,
        )
        .fetch_optional(db.conn())
        .await?
        .ok_or_else(Error::not_found)?;
        Ok(Self::new(recordset, version, fields_of(db, recordset).await?))
    }

    /// The fields as they stay until this transaction ends. Writers don't wait for one another.
    ///
    /// # Errors
    /// `record_not_found`, also for a recordset in the trash.
    pub async fn load_for_write(db: &mut WorkspaceDb, recordset: RecordsetId) -> Result<Self, Error> {
        // Two statements: the second one's snapshot is taken when the lock is held, so that it sees
        // what the change that we may have waited for has written.
        let version = lock(db, recordset).await?.ok_or_else(Error::not_found)?;
        Ok(Self::new(recordset, version, fields_of(db, recordset).await?))
    }

    /// Holds the fields until this transaction ends, if they are still these and the recordset isn't in
    /// the trash; `false` if not, and then nothing may be written by this schema any more.
    pub async fn hold(&self, db: &mut WorkspaceDb) -> Result<bool, sqlx::Error> {
        Ok(lock(db, self.recordset).await? == Some(self.version))
    }

    fn new(recordset: RecordsetId, version: i32, fields: Vec<SchemaField>) -> Self {
        let by_key =
            fields.iter().enumerate().map(|(index, field)| (field.field.key.clone(), index)).collect();
        Self { recordset, version, fields, by_key }
    }

    /// The recordset.
    #[must_use]
    pub fn recordset(&self) -> RecordsetId {
        self.recordset
    }

    /// The fields in their order. An importer keeps indexes into this.
    #[must_use]
    pub fn fields(&self) -> &[SchemaField] {
        &self.fields
    }

    /// Index of a key in [`Schema::fields`].
    #[must_use]
    pub fn index_of(&self, key: &FieldKey) -> Option<usize> {
        self.by_key.get(key).copied()
    }

    /// The field of a key that a client wrote.
    #[must_use]
    pub fn field(&self, key: &str) -> Option<&SchemaField> {
        self.by_key.get(&key.parse().ok()?).map(|index| &self.fields[*index])
    }

    /// The fields whose values no two records may share, by index. Where there are none an import can
    /// `COPY` straight into `records`. See [`unique_value`] for the form that is compared.
    pub fn unique(&self) -> impl Iterator<Item = (usize, &Field)> {
        self.fields.iter().map(|field| &field.field).enumerate().filter(|(_, field)| field.unique)
    }

    /// The fields that are mirrored in a typed column, by index. See [`Promoted::render`].
    pub fn promoted(&self) -> impl Iterator<Item = (usize, Promoted)> {
        self.fields.iter().enumerate().filter_map(|(index, field)| Some((index, field.promoted_to?)))
    }

    /// Reads a new record's values. Fields that aren't given are blank.
    ///
    /// # Errors
    /// All errors, by key.
    pub fn accept(&self, data: &JsonObject) -> Result<Stored, FieldErrors> {
        let mut errors = FieldErrors::new();
        let mut stored = Map::new();
        for SchemaField { field, .. } in &self.fields {
            let value = data.members().get(field.key.as_str()).unwrap_or(&Value::Null);
            read_into(&mut stored, field, value, &mut errors);
        }
        self.refuse_unknown(data, &mut errors);
        self.finish(stored, errors)
    }

    /// Reads changes to a record's values: a value replaces, null clears, what isn't given stays as it
    /// is, even if the fields have become stricter since it was written.
    ///
    /// # Errors
    /// All errors of the changes, by key.
    pub fn accept_changes(&self, current: JsonObject, changes: &JsonObject) -> Result<Stored, FieldErrors> {
        let mut errors = FieldErrors::new();
        let mut stored = current.into_members();
        for (key, value) in changes.members() {
            if let Some(SchemaField { field, .. }) = self.field(key) {
                stored.remove(key);
                read_into(&mut stored, field, value, &mut errors);
            }
        }
        self.refuse_unknown(changes, &mut errors);
        self.finish(stored, errors)
    }

    /// The values of unique fields among stored ones, as `unique_values` has them, by key.
    #[must_use]
    pub fn unique_values(&self, data: &Map<String, Value>) -> Vec<(FieldKey, String)> {
        self.unique()
            .filter_map(|(_, field)| {
                let json = data.get(field.key.as_str())?.to_string();
                let value = unique_value(field.field_type, json.as_bytes()).into_owned();
                Some((field.key.clone(), value))
            })
            .collect()
    }

    fn refuse_unknown(&self, data: &JsonObject, errors: &mut FieldErrors) {
        for key in data.members().keys().filter(|key| self.field(key).is_none()) {
            errors.insert(key.clone(), vec!["is not a field of this recordset".to_owned()]);
        }
    }

    fn finish(&self, data: Map<String, Value>, errors: FieldErrors) -> Result<Stored, FieldErrors> {
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut stored = Stored { unique: self.unique_values(&data), ..Stored::default() };
        for (index, column) in self.promoted() {
            let value = data.get(self.fields[index].field.key.as_str());
            let text = value.map(Value::to_string);
            if let Some(text) = text.as_ref().and_then(|json| column.render(json.as_bytes())) {
                stored.promoted.insert(column, text.into_owned());
            }
        }
        stored.data = data.into();
        Ok(stored)
    }
}

fn read_into(stored: &mut Map<String, Value>, field: &Field, value: &Value, errors: &mut FieldErrors) {
    match field.accept_json(value) {
        Ok(Value::Null) => {}
        Ok(value) => {
            stored.insert(field.key.as_str().to_owned(), value);
        }
        Err(invalid) => {
            errors.insert(field.key.as_str().to_owned(), vec![invalid.message]);
        }
    }
}

/// Takes the lock that a change of the fields waits for, and answers their version.
async fn lock(db: &mut WorkspaceDb, recordset: RecordsetId) -> Result<Option<i32>, sqlx::Error> {
    sqlx::query_scalar!(
        "select schema_version from recordsets where id = $1 and deleted_at is null for key share",
        recordset.0,
    )
    .fetch_optional(db.conn())
    .await
}

/// The fields of a recordset, in order.
pub(super) async fn fields_of(
    db: &mut WorkspaceDb,
    recordset: RecordsetId,
) -> Result<Vec<SchemaField>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select key, label, field_type, required, is_unique, options as "options: Json<Vec<String>>", promoted_to
             from fields
            where recordset_id = $1
            order by position"#,
        recordset.0,
    )
    .fetch_all(db.conn())
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(SchemaField {
                field: Field {
                    key: row.key.parse().map_err(|_| unreadable("key", &row.key))?,
                    label: row.label,
                    field_type: field_type(&row.field_type)?,
                    required: row.required,
                    unique: row.is_unique,
                    options: row.options.0,
                },
                promoted_to: row
                    .promoted_to
                    .map(|column| Promoted::named(&column).ok_or_else(|| unreadable("promoted_to", &column)))
                    .transpose()?,
            })
        })
        .collect()
}

fn field_type(name: &str) -> Result<FieldType, sqlx::Error> {
    FieldType::ALL
        .into_iter()
        .find(|field_type| field_type.as_str() == name)
        .ok_or_else(|| unreadable("field_type", name))
}

/// A row that this release can't read, for example one written by a newer one.
fn unreadable(column: &str, value: &str) -> sqlx::Error {
    sqlx::Error::Decode(format!("fields.{column} is {value:?}").into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn contacts() -> Schema {
        let mut email = Field::new("Email", FieldType::Email).required();
        email.unique = true;
        let fields =
            [email, Field::new("Revenue", FieldType::Decimal), Field::new("Place", FieldType::GeoPoint)];
        let fields = fields
            .into_iter()
            .map(|field| SchemaField { promoted_to: Promoted::by_itself(field.field_type), field })
            .collect();
        Schema::new(RecordsetId::new(), 1, fields)
    }

    fn object(value: Value) -> JsonObject {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn accepted_values_bring_their_unique_and_promoted_forms() {
        let data =
            object(json!({"email": "ada@example.org", "revenue": 12.5, "place": {"lat": 52.5, "lng": 13.4}}));
        let stored = contacts().accept(&data).unwrap();
        assert_eq!(
            stored.data,
            object(json!({"email": "ada@example.org", "revenue": "12.5",
                          "place": {"type": "Point", "coordinates": [13.4, 52.5]}}))
        );
        let unique: Vec<_> =
            stored.unique.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(unique, [("email", "ada@example.org")]);
        assert_eq!(
            stored.promoted(Promoted::Gis1),
            Some("0101000020E6100000CDCCCCCCCCCC2A400000000000404A40")
        );
    }

    #[test]
    fn everything_wrong_with_a_record_is_told_at_once_by_field() {
        let errors = contacts().accept(&object(json!({"revenue": "much", "colour": "red"}))).unwrap_err();
        let keys: Vec<_> = errors.keys().map(String::as_str).collect();
        assert_eq!(keys, ["colour", "email", "revenue"]);
        assert_eq!(errors["email"], ["Email is required"]);
    }

    #[test]
    fn changes_replace_and_clear_and_leave_the_rest_alone() {
        let schema = contacts();
        let old = object(json!({"revenue": "1", "place": {"type": "Point", "coordinates": [1, 2]}}));
        // The record lacks the required email: it was written before the field was required.
        let stored =
            schema.accept_changes(old.clone(), &object(json!({"revenue": "2", "place": null}))).unwrap();
        assert_eq!(stored.data, object(json!({"revenue": "2"})));
        assert_eq!(stored.promoted(Promoted::Gis1), None);
        let errors = schema.accept_changes(old, &object(json!({"email": null}))).unwrap_err();
        assert_eq!(errors["email"], ["Email is required"]);
    }
}
