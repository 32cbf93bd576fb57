//! Which column of a file goes into which field, as a first proposal.

use std::collections::HashSet;

use fields::{Field, FieldKey};
use serde::{Deserialize, Serialize};

/// A column and the field that it seems to be meant for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mapping {
    /// The column's name.
    pub column: String,
    /// The field's key.
    pub field_key: FieldKey,
    /// How sure this is, from 0 to 1; 1 means the same name.
    pub confidence: f32,
}

/// Less than this is no proposal.
const MIN_CONFIDENCE: f32 = 0.5;

/// Proposes a field for each column that resembles one, best matches first served; no field is proposed twice.
///
/// In falling confidence: the column's name is the field's key, its label, the same when written as a key, the same
/// without separators, or shares words with it.
pub fn suggest_mapping<S: AsRef<str>>(columns: &[S], fields: &[Field]) -> Vec<Mapping> {
    let columns: Vec<Name> = columns.iter().map(|column| Name::of(column.as_ref())).collect();
    let targets: Vec<(&Field, Name, Name)> =
        fields.iter().map(|field| (field, Name::of(field.key.as_str()), Name::of(&field.label))).collect();
    let mut pairs = Vec::new();
    for (at, column) in columns.iter().enumerate() {
        for (to, (_, key, label)) in targets.iter().enumerate() {
            let confidence = column.resemblance(key, 1.0).max(column.resemblance(label, 0.98));
            if confidence >= MIN_CONFIDENCE {
                pairs.push((confidence, at, to));
            }
        }
    }
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let (mut used_columns, mut used_fields) = (HashSet::new(), HashSet::new());
    let mut chosen = Vec::new();
    for (confidence, at, to) in pairs {
        if !used_columns.contains(&at) && !used_fields.contains(&to) {
            used_columns.insert(at);
            used_fields.insert(to);
            chosen.push((at, to, confidence));
        }
    }
    chosen.sort_by_key(|(at, ..)| *at);
    chosen
        .into_iter()
        .map(|(at, to, confidence)| Mapping {
            column: columns[at].text.clone(),
            field_key: targets[to].0.key.clone(),
            confidence,
        })
        .collect()
}

/// A name in the forms in which it is compared.
struct Name {
    text: String,
    key: String,
    compact: String,
}

impl Name {
    fn of(text: &str) -> Self {
        let key: String = FieldKey::from_label(text).into();
        Self { text: text.to_owned(), compact: key.replace('_', ""), key }
    }

    fn resemblance(&self, other: &Self, same: f32) -> f32 {
        if self.text == other.text {
            same
        } else if self.text.trim().to_lowercase() == other.text.trim().to_lowercase() {
            0.95
        } else if self.key == "field" || other.key == "field" {
            0.0 // names without a Latin letter have nothing to compare
        } else if self.key == other.key {
            0.9
        } else if self.compact == other.compact {
            0.85
        } else {
            (80.0 * self.shared_words(other)).round() / 100.0
        }
    }

    /// The share of words in common: 1 when both have the same words, in any order.
    fn shared_words(&self, other: &Self) -> f32 {
        let words = |name: &Self| name.key.split('_').map(str::to_owned).collect::<HashSet<_>>();
        let (own, others) = (words(self), words(other));
        let count = |n: usize| f32::from(u16::try_from(n).unwrap_or(u16::MAX));
        2.0 * count(own.intersection(&others).count()) / (count(own.len()) + count(others.len()))
    }
}

#[cfg(test)]
mod tests {
    use fields::FieldType;

    use super::*;

    #[test]
    fn columns_find_their_fields_by_key_label_and_words() {
        let fields: Vec<Field> = ["Name", "Email", "Phone number", "Annual revenue", "Größe", "Notes"]
            .into_iter()
            .map(|label| Field::new(label, FieldType::Text))
            .collect();
        let columns =
            ["name", "E-Mail", "Number of phone", "ANNUAL REVENUE", "groesse", "Revenue", "Größe", "名前"];
        let found: Vec<_> = suggest_mapping(&columns, &fields)
            .into_iter()
            .map(|mapping| (mapping.column, mapping.field_key.to_string(), mapping.confidence))
            .collect();
        let expected = [
            ("name", "name", 1.0),
            ("E-Mail", "email", 0.85),
            ("Number of phone", "phone_number", 0.64),
            ("ANNUAL REVENUE", "annual_revenue", 0.95),
            ("Größe", "grosse", 0.98),
        ];
        assert_eq!(found, expected.map(|(column, key, sure)| (column.to_owned(), key.to_owned(), sure)));
    }

    #[test]
    fn no_field_is_proposed_for_two_columns() {
        let fields = [Field::new("Name", FieldType::Text)];
        let found = suggest_mapping(&["Name", "name"], &fields);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].column, "name");
    }
}
