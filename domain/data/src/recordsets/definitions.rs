//! The definitions of a recordset's fields: what may be asked for, and how it is stored.

use std::collections::HashSet;

use domain::{Error, FieldErrors, RecordsetId, WorkspaceDb};
use fields::{Field, FieldKey, FieldProblem, FieldType, validate_fields};
use poem_openapi::Object;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Promoted, SchemaField};

/// Most fields of a recordset.
pub const MAX_FIELDS: usize = 2_000;

/// A field to add, or to replace the one with the same key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Object)]
pub struct NewField {
    /// Key: the name in stored records and in the API; derived from the label if absent, and then always
    /// that of a new field.
    #[serde(default)]
    pub key: Option<FieldKey>,
    /// Label: the name for display.
    pub label: String,
    /// Type of the values. It can't be changed later.
    pub field_type: FieldType,
    /// Whether every record must have a value. Existing records stay unchanged.
    #[serde(default)]
    #[oai(default)]
    pub required: bool,
    /// Whether the values must be unique among the records.
    #[serde(default)]
    #[oai(default)]
    pub unique: bool,
    /// Options of a `choice` or `multi_choice`; an empty list allows any value.
    #[serde(default)]
    #[oai(default)]
    pub options: Vec<String>,
}

impl From<Field> for NewField {
    fn from(field: Field) -> Self {
        let Field { key, label, field_type, required, unique, options } = field;
        Self { key: Some(key), label, field_type, required, unique, options }
    }
}

/// Changes of a recordset's fields.
#[derive(Debug, Default)]
pub(super) struct Definitions {
    /// The fields to store, in order: new ones and changed ones.
    pub fields: Vec<SchemaField>,
    /// Keys of fields that are unique no more.
    pub freed: Vec<FieldKey>,
    /// Keys of fields that become unique.
    pub newly_unique: Vec<FieldKey>,
}

/// Puts the fields that are asked for beside those that are there, and checks them all together.
pub(super) fn define(existing: &[SchemaField], asked: Vec<NewField>) -> Result<Definitions, FieldErrors> {
    let mut errors = FieldErrors::new();
    let mut taken: HashSet<FieldKey> = existing.iter().map(|field| field.field.key.clone()).collect();
    taken.extend(asked.iter().filter_map(|new| new.key.clone()));
    let mut definitions = Definitions::default();
    let mut free_columns = Promoted::ALL.to_vec();
    free_columns.retain(|column| existing.iter().all(|field| field.promoted_to != Some(*column)));
    for NewField { key, label, field_type, required, unique, options } in asked {
        let key = key.unwrap_or_else(|| FieldKey::from_label(&label).unique(|key| taken.contains(key)));
        taken.insert(key.clone());
        let before = existing.iter().find(|field| field.field.key == key);
        if before.is_some_and(|before| before.field.field_type != field_type) {
            complain(&mut errors, &key, "the type of a field can't be changed; add another field instead");
        }
        match (before.is_some_and(|before| before.field.unique), unique) {
            (true, false) => definitions.freed.push(key.clone()),
            (false, true) if before.is_some() => definitions.newly_unique.push(key.clone()),
            _ => {}
        }
        let promoted_to = before.map_or_else(
            || Promoted::by_itself(field_type).filter(|column| free_columns.contains(column)),
            |before| before.promoted_to,
        );
        free_columns.retain(|column| Some(*column) != promoted_to);
        let field = Field { key, label, field_type, required, unique, options };
        definitions.fields.push(SchemaField { field, promoted_to });
    }
    if taken.len() > MAX_FIELDS {
        errors.insert("fields".to_owned(), vec![format!("a recordset has at most {MAX_FIELDS} fields")]);
    }
    let fields: Vec<Field> = definitions.fields.iter().map(|field| field.field.clone()).collect();
    for FieldProblem { key, message, .. } in validate_fields(&fields).err().unwrap_or_default() {
        complain(&mut errors, &key, &message);
    }
    if errors.is_empty() { Ok(definitions) } else { Err(errors) }
}

fn complain(errors: &mut FieldErrors, key: &FieldKey, reason: &str) {
    errors.entry(format!("fields.{}", key.as_str())).or_default().push(reason.to_owned());
}

impl Definitions {
    /// Stores the fields; new ones go behind those that are there.
    pub(super) async fn store(&self, db: &mut WorkspaceDb, recordset: RecordsetId) -> Result<(), Error> {
        if !self.newly_unique.is_empty() {
            self.refuse_newly_unique(db, recordset).await?;
        }
        let keys =
            |keys: &[FieldKey]| -> Vec<String> { keys.iter().map(|key| key.as_str().to_owned()).collect() };
        if !self.freed.is_empty() {
            sqlx::query!(
                "delete from unique_values where recordset_id = $1 and field_key = any($2)",
                recordset.0,
                &keys(&self.freed),
            )
            .execute(db.conn())
            .await?;
        }
        let column =
            |text: fn(&SchemaField) -> String| -> Vec<String> { self.fields.iter().map(text).collect() };
        let promoted: Vec<Option<String>> =
            self.fields.iter().map(|field| Some(field.promoted_to?.column().to_owned())).collect();
        let options: Vec<Value> =
            self.fields.iter().map(|field| field.field.options.clone().into()).collect();
        sqlx::query!(
            "insert into fields (id, recordset_id, key, label, field_type, required, is_unique, options, promoted_to,
                                 position)
             select id, $1, key, label, field_type, required, is_unique, options, promoted_to,
                    nth + (select coalesce(max(position), 0) from fields where recordset_id = $1)
               from unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::boolean[], $7::boolean[], $8::jsonb[],
                           $9::text[])
                    with ordinality
                    as new (id, key, label, field_type, required, is_unique, options, promoted_to, nth)
             on conflict on constraint fields_key_key do update
                set label = excluded.label,
                    required = excluded.required,
                    is_unique = excluded.is_unique,
                    options = excluded.options",
            recordset.0,
            &self.fields.iter().map(|_| uuid::Uuid::now_v7()).collect::<Vec<_>>(),
            &column(|field| field.field.key.as_str().to_owned()),
            &column(|field| field.field.label.clone()),
            &column(|field| field.field.field_type.as_str().to_owned()),
            &self.fields.iter().map(|field| field.field.required).collect::<Vec<_>>(),
            &self.fields.iter().map(|field| field.field.unique).collect::<Vec<_>>(),
            &options,
            &promoted as &[Option<String>],
        )
        .execute(db.conn())
        .await?;
        Ok(())
    }

    /// A field can become unique only while there is no record whose values would have to be compared,
    /// not even one that an atomic import has staged.
    async fn refuse_newly_unique(&self, db: &mut WorkspaceDb, recordset: RecordsetId) -> Result<(), Error> {
        let has_records = sqlx::query_scalar!(
            r#"select exists (select from records where recordset_id = $1 and deleted_at is null) as "exists!""#,
            recordset.0,
        )
        .fetch_one(db.conn())
        .await?;
        if !has_records {
            return Ok(());
        }
        let mut errors = FieldErrors::new();
        for key in &self.newly_unique {
            complain(&mut errors, key, "a field can't become unique while the recordset has records");
        }
        Err(Error::invalid_fields(errors))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(label: &str, field_type: FieldType) -> NewField {
        NewField { key: None, ..Field::new(label, field_type).into() }
    }

    #[test]
    fn keys_are_derived_around_those_that_are_taken() {
        let there = define(&[], vec![new("Name", FieldType::Text)]).unwrap().fields;
        let explicit = NewField { key: Some("name_2".parse().unwrap()), ..new("x", FieldType::Text) };
        let asked = vec![new("Name", FieldType::Text), explicit, new("Name", FieldType::Text)];
        let fields = define(&there, asked).unwrap().fields;
        let keys: Vec<_> = fields.iter().map(|field| field.field.key.as_str()).collect();
        assert_eq!(keys, ["name_3", "name_2", "name_4"]);
    }

    #[test]
    fn only_the_first_place_is_on_the_map() {
        let asked = vec![new("Home", FieldType::GeoPoint), new("Area", FieldType::Geometry)];
        let there = define(&[], asked).unwrap().fields;
        assert_eq!(there.iter().map(|f| f.promoted_to).collect::<Vec<_>>(), [Some(Promoted::Gis1), None]);
        let later = define(&there, vec![new("Work", FieldType::GeoPoint)]).unwrap().fields;
        assert_eq!(later[0].promoted_to, None);
    }

    #[test]
    fn a_type_stays_what_it_is() {
        let there = define(&[], vec![new("Age", FieldType::Text)]).unwrap().fields;
        let asked = NewField { key: Some("age".parse().unwrap()), ..new("Age", FieldType::Integer) };
        let errors = define(&there, vec![asked]).unwrap_err();
        assert_eq!(errors.keys().collect::<Vec<_>>(), ["fields.age"]);
    }

    #[test]
    fn two_thousand_fields_are_enough() {
        let asked = |count: usize| (0..count).map(|n| new(&format!("Field {n}"), FieldType::Text)).collect();
        let there = define(&[], asked(MAX_FIELDS)).unwrap().fields;
        assert_eq!(define(&there, vec![new("More", FieldType::Text)]).unwrap_err().len(), 1);
    }
}
