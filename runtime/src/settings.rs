//! Configuration, read once when a process starts: each process parses the variables it knows into a
//! `Config` of its own, and nothing reads the environment afterwards.

use std::{collections::BTreeMap, fmt::Display, ops::RangeInclusive, process::ExitCode, str::FromStr};

use url::Url;

/// Minimum length of a secret, in characters.
pub const MIN_SECRET_LENGTH: usize = 32;

/// A missing or invalid variable: one line for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// It has no default.
    #[error("{0} is not set")]
    Missing(&'static str),
    /// It is no text.
    #[error("{0} is malformed: it is not UTF-8")]
    NotText(String),
    /// The object that it names does not exist or is not accessible, for example a folder that is not mounted yet.
    #[error("{name}: {reason}")]
    OutOfReach {
        /// Variable.
        name: &'static str,
        /// Reason.
        reason: String,
    },
    /// It is malformed.
    #[error("{name} is malformed: {reason}")]
    Malformed {
        /// Variable.
        name: &'static str,
        /// Reason; never repeats the value, which may be a secret.
        reason: String,
    },
}

impl SettingError {
    /// The exit code of a process with this error: 2 if starting again would not help, 1 if it may.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::OutOfReach { .. } => ExitCode::FAILURE,
            Self::Missing(_) | Self::NotText(_) | Self::Malformed { .. } => ExitCode::from(2),
        }
    }

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
    ///
    /// # Errors
    /// [`SettingError::NotText`] for a variable that is not UTF-8, unless it is none of ours: its name has other
    /// characters than capital letters, digits and `_`.
    pub fn of_process() -> Result<Self, SettingError> {
        let mut variables = Vec::new();
        for (name, value) in std::env::vars_os() {
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) => variables.push((name, value)),
                Err(_) if name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_') => {
                    return Err(SettingError::NotText(name));
                }
                Err(_) => {}
            }
        }
        Ok(variables.into_iter().collect())
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

    /// The parsed value, or the default.
    ///
    /// # Errors
    /// Also for a value out of that range.
    pub fn within<T>(
        &self,
        name: &'static str,
        default: T,
        range: RangeInclusive<T>,
    ) -> Result<T, SettingError>
    where
        T: FromStr + PartialOrd + Display,
        T::Err: Display,
    {
        let value = self.parsed(name, default)?;
        if range.contains(&value) {
            return Ok(value);
        }
        Err(SettingError::malformed(name, format!("expected {} to {}", range.start(), range.end())))
    }

    /// A secret, if it is set.
    ///
    /// # Errors
    /// When it has fewer than [`MIN_SECRET_LENGTH`] characters.
    pub fn secret(&self, name: &'static str) -> Result<Option<&str>, SettingError> {
        let secret = self.get(name);
        if secret.is_some_and(|secret| secret.chars().count() < MIN_SECRET_LENGTH) {
            return Err(SettingError::malformed(
                name,
                format!("needs {MIN_SECRET_LENGTH} characters or more"),
            ));
        }
        Ok(secret)
    }

    /// The URL of a site or an API, if it is set: paths are appended to it.
    ///
    /// # Errors
    /// When it is no http:// or https:// URL of a host, or has more than a path.
    pub fn base_url(&self, name: &'static str) -> Result<Option<Url>, SettingError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let malformed = |reason: &str| Err(SettingError::malformed(name, reason));
        let url: Url = match text.trim().parse() {
            Ok(url) => url,
            Err(error) => return Err(SettingError::malformed(name, error)),
        };
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return malformed("expected http:// or https:// and a host");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return malformed("expected a URL without a query or a fragment");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return malformed("expected a URL without a user or a password");
        }
        Ok(Some(url))
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
    fn a_number_out_of_its_range_is_told_with_the_range() {
        let error = settings(&[("SLOTS", "0")]).within("SLOTS", 4_u32, 1..=9).unwrap_err();
        assert_eq!(error.to_string(), "SLOTS is malformed: expected 1 to 9");
        assert_eq!(settings(&[]).within("SLOTS", 4_u32, 1..=9), Ok(4));
    }

    #[test]
    fn a_base_url_is_one_of_a_host_and_has_nothing_behind_its_path() {
        let read = |text| settings(&[("SITE", text)]).base_url("SITE");
        assert_eq!(read("https://example.com/app").unwrap().unwrap().path(), "/app");
        assert_eq!(settings(&[]).base_url("SITE"), Ok(None));
        for bad in [
            "example.com",
            "mailto:a@example.com",
            "ftp://example.com",
            "https://example.com?a=b",
            "https://example.com#a",
            "https://a:b@example.com",
        ] {
            assert!(read(bad).unwrap_err().to_string().starts_with("SITE is malformed: "), "{bad}");
        }
    }

    #[test]
    fn a_list_is_split_at_commas_and_trimmed() {
        let ports: Vec<u16> = settings(&[("PORTS", "1, 2,,3")]).list("PORTS").unwrap();
        assert_eq!(ports, [1, 2, 3]);
    }
}
