//! The names of a file's columns, made fit for use: none blank, none twice, not too many.

use std::collections::HashSet;

use crate::{FileError, Limits, Warning};

/// Names for the columns of a header row, and what had to be changed about them.
pub(crate) fn name_columns(
    header: Vec<String>,
    limits: &Limits,
) -> Result<(Vec<String>, Vec<Warning>), FileError> {
    if header.len() > limits.max_columns {
        return Err(FileError::TooManyColumns { found: header.len(), most: limits.max_columns });
    }
    let given: HashSet<String> = header.iter().map(|name| name.trim().to_owned()).collect();
    let mut taken = HashSet::with_capacity(header.len());
    let mut warnings = Vec::new();
    let mut columns = Vec::with_capacity(header.len());
    for (index, name) in header.into_iter().enumerate() {
        let name = clean(&name);
        let unique = if name.is_empty() {
            let named =
                unused(&format!("column_{}", index + 1), |name| given.contains(name) || taken.contains(name));
            warnings.push(Warning::new(
                "empty_header",
                format!("column {} has no name and is called “{named}”", index + 1),
            ));
            named
        } else if taken.contains(&name) {
            let named = unused(&name, |name| given.contains(name) || taken.contains(name));
            warnings.push(Warning::new(
                "duplicate_header",
                format!("column {} is another “{name}” and is called “{named}”", index + 1),
            ));
            named
        } else {
            name
        };
        taken.insert(unique.clone());
        columns.push(unique);
    }
    Ok((columns, warnings))
}

/// Names for columns without a header: `column_1`, `column_2`, ….
pub(crate) fn number_columns(count: usize, limits: &Limits) -> Result<Vec<String>, FileError> {
    if count > limits.max_columns {
        return Err(FileError::TooManyColumns { found: count, most: limits.max_columns });
    }
    Ok((1..=count).map(|number| format!("column_{number}")).collect())
}

/// `name` itself or with the first suffix that makes it unused.
fn unused(name: &str, used: impl Fn(&str) -> bool) -> String {
    if !used(name) {
        return name.to_owned();
    }
    let mut number = 2_usize;
    loop {
        let suffixed = format!("{name}_{number}");
        if !used(&suffixed) {
            return suffixed;
        }
        number += 1;
    }
}

/// White space around a name means nothing; what PostgreSQL can't store is left out, and so is an endless rest.
fn clean(name: &str) -> String {
    const MAX_NAME_LENGTH: usize = 255;
    name.trim().chars().filter(|c| *c != '\0').take(MAX_NAME_LENGTH).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_repeat_or_are_missing_are_made_up_and_reported() {
        let header = ["a", " a ", "", "a_2", "A", "a"].map(str::to_owned).to_vec();
        let (columns, warnings) = name_columns(header, &Limits::default()).unwrap();
        assert_eq!(columns, ["a", "a_3", "column_3", "a_2", "A", "a_4"]);
        let codes: Vec<_> = warnings.iter().map(|warning| warning.code.as_str()).collect();
        assert_eq!(codes, ["duplicate_header", "empty_header", "duplicate_header"]);
    }

    #[test]
    fn two_thousand_columns_are_read_and_one_more_is_not() {
        let names = |count: usize| (0..count).map(|n| format!("c{n}")).collect::<Vec<_>>();
        assert!(name_columns(names(2_000), &Limits::default()).is_ok());
        let error = name_columns(names(2_001), &Limits::default()).unwrap_err();
        assert_eq!(error.code(), "too_many_columns");
    }
}
