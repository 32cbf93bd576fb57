//! What types a record's field can have, and how a value becomes a stored one.
//!
//! A value arrives as JSON from the API ([`Field::accept_json`]) or as a cell of a file ([`Field::write_text`],
//! [`Field::write_cell`]); both go through the same reading, so the two ways in can't disagree. What comes out is
//! the form that a record's `jsonb` holds (see [`FieldType`]). Uniqueness across records is left to the storage.

mod cell;
mod field;
mod invalid;
mod key;
#[cfg(feature = "openapi")]
mod openapi;
mod read;
mod stored;

pub use cell::Cell;
pub use field::{Field, FieldProblem, FieldType, validate_fields};
pub use invalid::{Invalid, code};
pub use key::{FieldKey, InvalidKey};
pub use stored::Written;
