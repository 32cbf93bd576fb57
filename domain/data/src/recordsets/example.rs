//! The recordset that a new workspace starts with.

use domain::{Error, WorkspaceDb};
use fields::{Field, FieldType};

use super::NewRecordset;

/// Creates an example of a recordset, without records, for people who come to see what Millrace is.
///
/// # Errors
/// `slug_taken` if it is there already.
pub async fn create_example(db: &mut WorkspaceDb) -> Result<(), Error> {
    super::create(db, example()).await?;
    Ok(())
}

/// A recordset that most can use as it is.
fn example() -> NewRecordset {
    let fields = [
        Field::new("Name", FieldType::Text).required(),
        Field::new("Email", FieldType::Email),
        Field::new("Phone", FieldType::Phone),
        Field::new("Company", FieldType::Text),
        Field::new("Stage", FieldType::Choice).with_options(["Lead", "Customer", "Partner"]),
        Field::new("Notes", FieldType::LongText),
    ];
    NewRecordset {
        name: "Contacts".to_owned(),
        slug: Some("contacts".to_owned()),
        description: Some("People you deal with. Change its fields, or delete it.".to_owned()),
        fields: fields.into_iter().map(Into::into).collect(),
        ..NewRecordset::default()
    }
}
