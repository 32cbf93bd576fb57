//! Configuration, read once when a process starts: each process parses the variables it knows into a
//! `Config` of its own, and nothing reads the environment afterwards.

use std::{collections::BTreeMap, fmt::Display, str::FromStr};

/// A variable that is missing or makes no sense: one line for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// It has no default.
    #[error("{0} is not set")]
    Missing(&'static str),
    /// It is not what it should be.
    #[error("{name} is malformed: {reason}")]
    Malformed {
        /// The variable.
        name: &'static str,
        /// What is wrong; never repeats the value, which may be a secret.
        reason: String,
    },
}

impl SettingError {
    /// A malformed variable.
    pub fn malformed(name: &'static str, reason: impl Display) -> Self {
        Self::Malformed { name, reason: reason.to_string() }
    }
}

/// Variables by name. An empty value counts as not set.
#[derive(Clone, Default)]
pub struct Settings(BTreeMap<String, String>);

impl Settings {
    /// Those of this process.
    #[must_use]
    pub fn of_process() -> Self {
        std::env::vars().collect()
    }

    /// The value, if it is set.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The value of a variable without a default.
    pub fn required(&self, name: &'static str) -> Result<&str, SettingError> {
        self.get(name).ok_or(SettingError::Missing(name))
    }

    /// The parsed value of a variable without a default.
    pub fn required_as<T>(&self, name: &'static str) -> Result<T, SettingError>
    where
        T: FromStr,
        T::Err: Display,
    {
        self.required(name)?.trim().parse().map_err(|error| SettingError::malformed(name, error))
    }

    /// The parsed value, or the default.
    pub fn parsed<T>(&self, name: &'static str, default: T) -> Result<T, SettingError>
    where
        T: FromStr,
        T::Err: Display,
    {
        match self.get(name) {
            None => Ok(default),
            Some(text) => text.trim().parse().map_err(|error| SettingError::malformed(name, error)),
        }
    }

    /// The parsed value, if the variable is set.
    pub fn optional<T>(&self, name: &'static str) -> Result<Option<T>, SettingError>
    where
        T: FromStr,
        T::Err: Display,
    {
        self.get(name)
            .map(|text| text.trim().parse().map_err(|error| SettingError::malformed(name, error)))
            .transpose()
    }

    /// Parsed values, separated by commas; none when it is not set.
    pub fn list<T>(&self, name: &'static str) -> Result<Vec<T>, SettingError>
    where
        T: FromStr,
        T::Err: Display,
    {
        self.get(name)
            .unwrap_or_default()
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(|item| item.parse().map_err(|error| SettingError::malformed(name, error)))
            .collect()
    }
}

impl FromIterator<(String, String)> for Settings {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self(variables.into_iter().filter(|(_, value)| !value.trim().is_empty()).collect())
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Names only: values may be secrets.
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn an_empty_value_counts_as_not_set() {
        let settings = settings(&[("SECRET", " ")]);
        assert_eq!(settings.required("SECRET"), Err(SettingError::Missing("SECRET")));
    }

    #[test]
    fn a_malformed_value_is_one_line_that_does_not_repeat_it() {
        let error = settings(&[("PORT", "hunter2")]).parsed::<u16>("PORT", 8080).unwrap_err();
        assert_eq!(error.to_string(), "PORT is malformed: invalid digit found in string");
    }

    #[test]
    fn a_list_is_split_at_commas_and_trimmed() {
        let ports: Vec<u16> = settings(&[("PORTS", "1, 2,,3")]).list("PORTS").unwrap();
        assert_eq!(ports, [1, 2, 3]);
    }
}
