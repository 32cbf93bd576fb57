//! Which columns of a file go to which fields of a recordset.

use std::collections::{BTreeMap, HashMap};

use domain::{Error, FieldErrors};
use fields::{Field, FieldKey};
use serde::{Deserialize, Serialize};

use crate::recordsets::Schema;

/// A column, by its number in the file, and the field that takes its cells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapped {
    /// The first column is 0.
    pub column: usize,
    /// The field's key.
    pub field: FieldKey,
}

/// Checks what a client asks for: `{column name: field key}`.
///
/// # Errors
/// `record_invalid`, naming each column and field that doesn't fit.
pub(super) fn checked(
    asked: &BTreeMap<String, String>,
    columns: &[String],
    schema: &Schema,
) -> Result<Vec<Mapped>, Error> {
    let mut errors = FieldErrors::new();
    let mut complain = |name: &str, reason: String| {
        errors.entry(format!("field_mappings.{name}")).or_default().push(reason);
    };
    let mut taken: HashMap<FieldKey, &str> = HashMap::new();
    let mut mapping = Vec::with_capacity(asked.len());
    for (name, key) in asked {
        let column = columns.iter().position(|column| column == name);
        let field = schema.field(key).map(|found| found.field.key.clone());
        if column.is_none() {
            complain(name, "the file has no such column".to_owned());
        }
        if field.is_none() {
            complain(name, format!("the recordset has no field “{key}”"));
        }
        let (Some(column), Some(field)) = (column, field) else {
            continue;
        };
        if let Some(other) = taken.insert(field.clone(), name) {
            complain(name, format!("{field} takes the column “{other}” already"));
        }
        mapping.push(Mapped { column, field });
    }
    if errors.is_empty() { complete(mapping, schema) } else { Err(Error::invalid_fields(errors)) }
}

/// Maps columns to fields by their names.
///
/// # Errors
/// `record_invalid` when a required field is left, or nothing fits at all.
pub(super) fn suggested(columns: &[String], schema: &Schema) -> Result<Vec<Mapped>, Error> {
    let fields: Vec<Field> = schema.fields().iter().map(|found| found.field.clone()).collect();
    let mapping = tabular::suggest_mapping(columns, &fields)
        .into_iter()
        .filter_map(|found| {
            let column = columns.iter().position(|column| *column == found.column)?;
            Some(Mapped { column, field: found.field_key })
        })
        .collect();
    complete(mapping, schema)
}

/// In the order of the recordset's fields, which is that of the records' JSON; and no required field
/// may be left.
fn complete(mut mapping: Vec<Mapped>, schema: &Schema) -> Result<Vec<Mapped>, Error> {
    mapping.sort_by_key(|mapped| schema.index_of(&mapped.field));
    let mut errors = FieldErrors::new();
    for field in schema.fields().iter().map(|found| &found.field).filter(|field| field.required) {
        if !mapping.iter().any(|mapped| mapped.field == field.key) {
            errors
                .entry("field_mappings".to_owned())
                .or_default()
                .push(format!("{} is required, and no column is mapped to it", field.key));
        }
    }
    if mapping.is_empty() && errors.is_empty() {
        let reason = "no column of the file is mapped to a field".to_owned();
        errors.insert("field_mappings".to_owned(), vec![reason]);
    }
    if errors.is_empty() { Ok(mapping) } else { Err(Error::invalid_fields(errors)) }
}
