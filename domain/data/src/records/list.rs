//! Lists of records: searched, filtered, sorted, by pages.
//!
//! Fields are named by what a client writes, so everything about them is checked against the schema
//! and bound as a parameter; no text of a client becomes SQL.

use domain::{
    Error, RecordsetId, WorkspaceDb,
    page::{PageOf, PageRequest},
};
use fields::{Field, FieldType};
use jobs::MAX_QUICK_ROWS;
use poem_openapi::Enum;
use serde_json::{Map, Value};
use sqlx::{Postgres, QueryBuilder};

use super::Record;
use crate::recordsets::Schema;

/// Sort order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub enum SortOrder {
    /// Ascending: the least first.
    Asc,
    /// Descending: the greatest first.
    #[default]
    Desc,
}

/// Filter and order of a list of records.
#[derive(Debug, Clone, Copy, Default)]
pub struct RecordFilter<'a> {
    /// Of one recordset; without it, of all.
    pub recordset_id: Option<RecordsetId>,
    /// A text that one of the values contains, in any case.
    pub search: Option<&'a str>,
    /// A JSON object of values by field key: those which a record must have, one of them where it is a
    /// list, none where it is null. Needs the recordset.
    pub column_filters: Option<&'a str>,
    /// `created_at` (the default), `updated_at`, or a field's key, which needs the recordset.
    pub sort_by: Option<&'a str>,
    /// Blank values come last either way.
    pub sort_order: SortOrder,
}

/// A page of records. What has to go through many of them for it waits for a place among the long reads.
///
/// # Errors
/// `record_not_found`; `record_invalid` for a filter or an order that can't be.
pub async fn list(
    mut db: WorkspaceDb,
    filter: RecordFilter<'_>,
    page: PageRequest,
) -> Result<PageOf<Record>, Error> {
    let schema = match filter.recordset_id {
        Some(id) => Some(Schema::load(&mut db, id).await?),
        None => None,
    };
    let schema = schema.as_ref();
    let conditions = Conditions::of(&filter, schema)?;
    let order = Order::of(&filter, schema)?;

    let all = count_all(&mut db, filter.recordset_id).await?;
    let gone_through =
        if conditions.is_none() && order.is_indexed() { all.min(page.offset + page.limit) } else { all };
    if gone_through > MAX_QUICK_ROWS {
        db = db.for_a_long_read().await?;
    }
    let total = if conditions.is_none() {
        all
    } else {
        let mut count = QueryBuilder::new("select count(*)");
        conditions.push(&mut count);
        // Not kept as prepared statements: there are too many of them, and each is planned best for its own
        // values (a plan made for a large recordset walks through all of it to list a small one).
        count.build_query_scalar().persistent(false).fetch_one(db.conn()).await?
    };
    if total <= page.offset {
        return Ok(PageOf { items: Vec::new(), total });
    }

    let mut query = QueryBuilder::new(
        "select r.id, r.recordset_id, r.data, r.version, r.created_by, r.created_at, r.updated_by, r.updated_at",
    );
    conditions.push(&mut query);
    order.push(&mut query);
    query.push(" limit ").push_bind(page.limit).push(" offset ").push_bind(page.offset);
    let items = query.build_query_as().persistent(false).fetch_all(db.conn()).await?;
    Ok(PageOf { items, total })
}

/// Number of records, of one recordset or of all. Deltas are many times fewer than records.
async fn count_all(db: &mut WorkspaceDb, recordset: Option<RecordsetId>) -> Result<i64, sqlx::Error> {
    match recordset {
        Some(id) => {
            sqlx::query_scalar!(
                r#"select coalesce(sum(delta), 0)::bigint as "records!"
                     from record_count_deltas where recordset_id = $1"#,
                id.0,
            )
            .fetch_one(db.conn())
            .await
        }
        None => {
            sqlx::query_scalar!(
                r#"select coalesce(sum(d.delta), 0)::bigint as "records!"
                     from record_count_deltas d
                     join recordsets s on s.id = d.recordset_id and s.deleted_at is null"#,
            )
            .fetch_one(db.conn())
            .await
        }
    }
}

/// Conditions on records.
struct Conditions<'a> {
    recordset: Option<RecordsetId>,
    search: Option<&'a str>,
    columns: Vec<ColumnFilter<'a>>,
}

/// A condition on one field.
struct ColumnFilter<'a> {
    field: &'a Field,
    /// Stored forms; null stands for a blank.
    one_of: Vec<Value>,
}

impl<'a> Conditions<'a> {
    fn of(filter: &RecordFilter<'a>, schema: Option<&'a Schema>) -> Result<Self, Error> {
        let search = filter.search.map(str::trim).filter(|search| !search.is_empty());
        let columns = match filter.column_filters {
            None => Vec::new(),
            Some(text) => column_filters(text, schema)?,
        };
        Ok(Self { recordset: filter.recordset_id, search, columns })
    }

    /// Whether all records meet them, but for their recordset.
    fn is_none(&self) -> bool {
        self.search.is_none() && self.columns.is_empty()
    }

    /// Pushes everything from `from` to the last condition.
    fn push(&self, query: &mut QueryBuilder<Postgres>) {
        query.push(
            " from live_records r join recordsets s on s.id = r.recordset_id and s.deleted_at is null where true",
        );
        if let Some(id) = self.recordset {
            query.push(" and r.recordset_id = ").push_bind(id);
        }
        if let Some(search) = self.search {
            // A value's text is in the text of all values, unless JSON escapes it: quicker to search.
            if !search.contains(|c: char| matches!(c, '"' | '\\') || c.is_control()) {
                query
                    .push(" and position(lower(")
                    .push_bind(search.to_owned())
                    .push(") in lower(r.data::text)) > 0");
            }
            query
                .push(" and exists (select from jsonb_each_text(r.data) v where position(lower(")
                .push_bind(search.to_owned())
                .push(") in lower(v.value)) > 0)");
        }
        for column in &self.columns {
            query.push(" and (");
            column.push(query);
            query.push(")");
        }
    }
}

fn column_filters<'a>(text: &str, schema: Option<&'a Schema>) -> Result<Vec<ColumnFilter<'a>>, Error> {
    const MAX_VALUES: usize = 1_000;
    let invalid = |reason: String| Error::invalid("column_filters", reason);
    let asked: Map<String, Value> =
        serde_json::from_str(text).map_err(|_| invalid("is not a JSON object".to_owned()))?;
    let Some(schema) = schema else {
        return Err(invalid("needs recordset_id".to_owned()));
    };
    let mut filters = Vec::with_capacity(asked.len());
    for (key, value) in asked {
        let Some(field) = schema.field(&key).map(|field| &field.field) else {
            return Err(invalid(format!("{key} is not a field of this recordset")));
        };
        if matches!(field.field_type, FieldType::Json | FieldType::GeoPoint | FieldType::Geometry) {
            return Err(invalid(format!("{key} is not of a type that can be filtered")));
        }
        let values = match value {
            Value::Array(values) => values,
            value => vec![value],
        };
        if values.len() > MAX_VALUES {
            return Err(invalid(format!("{key} has more than {MAX_VALUES} values")));
        }
        let read = single(field);
        let one_of = values
            .iter()
            .map(|value| read.accept_json(value))
            .collect::<Result<_, _>>()
            .map_err(|refused| invalid(format!("{key}: {refused}")))?;
        filters.push(ColumnFilter { field, one_of });
    }
    Ok(filters)
}

/// The field as it reads a value to compare with: any value of its type, one at a time.
fn single(field: &Field) -> Field {
    let field_type = match field.field_type {
        FieldType::MultiChoice => FieldType::Choice,
        other => other,
    };
    Field { field_type, required: false, options: Vec::new(), ..field.clone() }
}

impl ColumnFilter<'_> {
    fn push(&self, query: &mut QueryBuilder<Postgres>) {
        let key = self.field.key.as_str();
        let values: Vec<Value> = self.one_of.iter().filter(|value| !value.is_null()).cloned().collect();
        if values.len() < self.one_of.len() {
            query.push("r.data ->> ").push_bind(key.to_owned()).push("::text is null or ");
        }
        let texts =
            || -> Vec<String> { values.iter().filter_map(Value::as_str).map(str::to_owned).collect() };
        match self.field.field_type {
            // 1.50 and 1.5 are equal, though stored as they were written.
            FieldType::Decimal => query
                .push("(r.data ->> ")
                .push_bind(key.to_owned())
                .push("::text)::numeric = any(")
                .push_bind(texts())
                .push("::text[]::numeric[])"),
            FieldType::MultiChoice => query
                .push("r.data -> ")
                .push_bind(key.to_owned())
                .push("::text ?| ")
                .push_bind(texts())
                .push("::text[]"),
            _ => query
                .push("r.data -> ")
                .push_bind(key.to_owned())
                .push("::text = any(")
                .push_bind(values.clone())
                .push("::jsonb[])"),
        };
    }
}

/// Order of records. Ids decide between equals, so that pages don't overlap.
enum Order<'a> {
    /// Ids are given in the order of creation.
    Created(SortOrder),
    Updated(SortOrder),
    Field(&'a Field, SortOrder),
}

impl<'a> Order<'a> {
    fn of(filter: &RecordFilter<'_>, schema: Option<&'a Schema>) -> Result<Self, Error> {
        let invalid = |reason: &str| Error::invalid("sort_by", reason);
        let order = filter.sort_order;
        match (filter.sort_by, schema) {
            (None | Some("created_at" | "id"), _) => Ok(Self::Created(order)),
            (Some("updated_at"), _) => Ok(Self::Updated(order)),
            (Some(_), None) => {
                Err(invalid("is neither created_at nor updated_at; a field needs recordset_id"))
            }
            (Some(key), Some(schema)) => {
                let field =
                    &schema.field(key).ok_or_else(|| invalid("is not a field of this recordset"))?.field;
                match field.field_type {
                    FieldType::MultiChoice | FieldType::Json | FieldType::GeoPoint | FieldType::Geometry => {
                        Err(invalid("is not of a type that can be sorted"))
                    }
                    _ => Ok(Self::Field(field, order)),
                }
            }
        }
    }

    /// Whether records lie in this order, so that a page goes through those before it and no others.
    fn is_indexed(&self) -> bool {
        matches!(self, Self::Created(_))
    }

    fn push(&self, query: &mut QueryBuilder<Postgres>) {
        query.push(" order by ");
        let order = match self {
            Self::Created(order) => order,
            Self::Updated(order) => {
                query.push("r.updated_at").push(direction(*order)).push(", ");
                order
            }
            Self::Field(field, order) => {
                let (before, after) = match field.field_type {
                    FieldType::Integer | FieldType::Decimal => ("(", ")::numeric"),
                    FieldType::Boolean => ("(", ")::boolean"),
                    FieldType::Datetime => ("(", ")::timestamptz"),
                    _ => ("lower(", ")"),
                };
                query
                    .push(before)
                    .push("r.data ->> ")
                    .push_bind(field.key.as_str().to_owned())
                    .push("::text");
                query.push(after).push(direction(*order)).push(" nulls last, ");
                order
            }
        };
        query.push("r.id").push(direction(*order));
    }
}

const fn direction(order: SortOrder) -> &'static str {
    match order {
        SortOrder::Asc => " asc",
        SortOrder::Desc => " desc",
    }
}
