//! The errors of a JSON value, by field. poem-openapi stops at the first error and doesn't report its
//! place; this walks the documented schema beside the value and names the first [`MAX_NAMED`] errors.

use domain::{
    FieldErrors,
    text::{self, InvalidText, ONE_LINE},
};
use poem_openapi::{
    registry::{MetaSchema, MetaSchemaRef, Registry},
    types::Type,
};
use serde_json::Value;

use crate::{
    ApiError,
    error::{MAX_NAMED, plain_reason},
    strict::shown,
};

/// The error for a value that `T` refused with `message`.
pub(super) fn of<T: Type>(value: &Value, message: &str) -> ApiError {
    let mut registry = Registry::new();
    T::register(&mut registry);
    let mut walk = Walk { registry: &registry, missing: Vec::new(), invalid: FieldErrors::new() };
    walk.value(&T::schema_ref(), value, "");
    if !walk.missing.is_empty() {
        ApiError::missing(walk.missing)
    } else if !walk.invalid.is_empty() {
        ApiError::invalid_fields(walk.invalid)
    } else {
        of_message(message)
    }
}

/// The types agree, so it is a rule of the schema: "field `x` verification failed. rule".
fn of_message(message: &str) -> ApiError {
    let reason = plain_reason(message);
    match reason.strip_prefix("field `").and_then(|rest| rest.split_once("` verification failed. ")) {
        Some((field, rule)) => ApiError::invalid(field, rule),
        None => ApiError::invalid("body", reason),
    }
}

/// Whether a number or a boolean is given where the schema has a text: the framework would accept it as one.
pub(crate) fn has_loose_text(registry: &Registry, schema: &MetaSchemaRef, value: &Value) -> bool {
    let schema = match schema {
        MetaSchemaRef::Inline(schema) => schema,
        MetaSchemaRef::Reference(name) => match registry.schemas.get(name) {
            Some(schema) => schema,
            None => return false,
        },
    };
    let below = |schema: &MetaSchemaRef, value: &Value| has_loose_text(registry, schema, value);
    schema.all_of.iter().any(|part| below(part, value))
        || match value {
            Value::Number(_) | Value::Bool(_) => schema.ty == "string",
            Value::Object(members) => {
                members.iter().any(|(name, value)| of_member(schema, name).is_some_and(|it| below(it, value)))
            }
            Value::Array(items) => {
                schema.items.as_ref().is_some_and(|schema| items.iter().any(|item| below(schema, item)))
            }
            Value::Null | Value::String(_) => false,
        }
}

/// The schema of an object's member.
fn of_member<'a>(schema: &'a MetaSchema, name: &str) -> Option<&'a MetaSchemaRef> {
    let own = schema.properties.iter().find(|(known, _)| *known == name).map(|(_, schema)| schema);
    own.or(schema.additional_properties.as_deref())
}

struct Walk<'a> {
    registry: &'a Registry,
    missing: Vec<String>,
    invalid: FieldErrors,
}

impl Walk<'_> {
    fn value(&mut self, schema: &MetaSchemaRef, value: &Value, path: &str) {
        match schema {
            MetaSchemaRef::Inline(schema) => self.inline(schema, value, path),
            MetaSchemaRef::Reference(name) => {
                if let Some(schema) = self.registry.schemas.get(name) {
                    self.inline(schema, value, path);
                }
            }
        }
    }

    fn inline(&mut self, schema: &MetaSchema, value: &Value, path: &str) {
        if self.missing.len() + self.invalid.len() >= MAX_NAMED {
            return;
        }
        for part in &schema.all_of {
            self.value(part, value, path);
        }
        if let Some(expected) = mismatch(schema, value) {
            let path = if path.is_empty() { "body" } else { path };
            self.invalid.entry(path.to_owned()).or_default().push(format!("must be {expected}"));
            return;
        }
        if let Err(invalid) = value.as_str().map_or(Ok(()), |text| check(schema, text)) {
            self.invalid.entry(path.to_owned()).or_default().push(invalid.to_string());
        }
        match value {
            Value::Object(fields) => {
                for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
                    if let Some(schema) = of_member(schema, name) {
                        self.value(schema, value, &join(path, &shown(name)));
                    }
                }
                for name in &schema.required {
                    if fields.get(*name).is_none_or(Value::is_null) {
                        self.missing.push(join(path, name));
                    }
                }
            }
            Value::Array(items) => {
                if let Some(schema) = &schema.items {
                    for (i, item) in items.iter().enumerate() {
                        self.value(schema, item, &join(path, &i.to_string()));
                    }
                }
            }
            _ => {}
        }
    }
}

/// Checks a text as [`Name`](domain::Name) and [`Text`](domain::Text) do, by the limits of their schemas.
fn check(schema: &MetaSchema, text: &str) -> Result<(), InvalidText> {
    let (min, max) = (schema.min_length.unwrap_or(0), schema.max_length.unwrap_or(usize::MAX));
    text::check(text, min, max, schema.pattern.as_deref() == Some(ONE_LINE))
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Requirement of the schema, if the value doesn't match.
fn mismatch(schema: &MetaSchema, value: &Value) -> Option<String> {
    let fits = match schema.ty {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "string" => value.is_string(),
        _ => true,
    };
    if !fits {
        let article = if matches!(schema.ty, "object" | "array" | "integer") { "an" } else { "a" };
        return Some(format!("{article} {}", schema.ty));
    }
    if !schema.enum_items.is_empty() && !schema.enum_items.contains(value) {
        let names: Vec<_> = schema.enum_items.iter().map(ToString::to_string).collect();
        return Some(format!("one of {}", names.join(", ")));
    }
    let text = value.as_str()?;
    match schema.format {
        Some("uuid") if text.parse::<uuid::Uuid>().is_err() => Some("a uuid".to_owned()),
        Some("date-time") if chrono::DateTime::parse_from_rfc3339(text).is_err() => {
            Some("a time as in RFC 3339".to_owned())
        }
        _ => None,
    }
}
