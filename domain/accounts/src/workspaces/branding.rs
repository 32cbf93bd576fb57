//! Branding of a workspace: the column that [`Brand`](domain::mail::Brand) reads, too.

use std::borrow::Cow;

use domain::{Email, FieldErrors, Patch};
use poem_openapi::Object;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;

use crate::signups;

/// Branding of a workspace, for emails and pages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, Object)]
#[serde(default)]
pub struct Branding {
    /// Display name, with which emails are signed; null for the workspace's name.
    pub brand_name: Option<String>,
    /// URL of the logo (https); null if none is set.
    pub logo_url: Option<String>,
    /// Brand colour as `#rrggbb`; null if none is set.
    pub color: Option<String>,
    /// Email address for support; null if none is set.
    pub support_email: Option<String>,
}

/// Changes to the branding; absent fields stay unchanged, and null clears a value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Object)]
pub struct BrandingChanges {
    /// Display name, with which emails are signed: one line, at most 200 characters.
    pub brand_name: Patch<String>,
    /// URL of the logo (https).
    pub logo_url: Patch<String>,
    /// Brand colour as `#rrggbb`.
    pub color: Patch<String>,
    /// Email address for support.
    pub support_email: Patch<String>,
}

impl BrandingChanges {
    /// The changes, by name, null for a cleared value. Reports errors as `branding.<name>`.
    pub(super) fn checked(self, errors: &mut FieldErrors) -> Map<String, Value> {
        let mut changes = Map::new();
        let mut note =
            |name: &str, given: Patch<String>, check: fn(&str) -> Result<String, Cow<'static, str>>| {
                let value = match given {
                    Patch::Absent => return,
                    Patch::Null => Value::Null,
                    Patch::Value(text) => match check(&text) {
                        Ok(value) => value.into(),
                        Err(reason) => {
                            errors.insert(format!("branding.{name}"), vec![reason.into_owned()]);
                            return;
                        }
                    },
                };
                changes.insert(name.to_owned(), value);
            };
        note("brand_name", self.brand_name, signups::name);
        note("logo_url", self.logo_url, logo_url);
        note("color", self.color, color);
        note("support_email", self.support_email, |text| {
            text.parse::<Email>().map(|email| email.to_string()).map_err(Cow::Borrowed)
        });
        changes
    }
}

fn logo_url(text: &str) -> Result<String, Cow<'static, str>> {
    match Url::parse(text.trim()) {
        Ok(url) if url.scheme() == "https" && url.has_host() && url.as_str().len() <= 2000 => Ok(url.into()),
        _ => Err("must be an https URL of at most 2,000 characters".into()),
    }
}

fn color(text: &str) -> Result<String, Cow<'static, str>> {
    let is_color = text
        .strip_prefix('#')
        .is_some_and(|digits| digits.len() == 6 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
    if is_color {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("must be #rrggbb, in hexadecimal digits".into())
    }
}
