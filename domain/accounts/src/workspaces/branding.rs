//! How a workspace shows itself: what [`Brand`](domain::mail::Brand) reads from the same column.

use domain::{Email, FieldErrors, Patch};
use poem_openapi::Object;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;

use crate::signups;

/// How a workspace shows itself, in mails and on its pages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, Object)]
#[serde(default)]
pub struct Branding {
    /// What mails are signed with; else the workspace's name.
    pub brand_name: Option<String>,
    /// Its logo, at an https address.
    pub logo_url: Option<String>,
    /// Its colour, as `#rrggbb`.
    pub color: Option<String>,
    /// Where its people are asked for help.
    pub support_email: Option<String>,
}

/// Changes to it; what is absent stays as it is, and null takes something away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Object)]
pub struct BrandingChanges {
    /// What mails are signed with: one line, at most 200 characters.
    pub brand_name: Patch<String>,
    /// Its logo, at an https address.
    pub logo_url: Patch<String>,
    /// Its colour, as `#rrggbb`.
    pub color: Patch<String>,
    /// Where its people are asked for help.
    pub support_email: Patch<String>,
}

impl BrandingChanges {
    /// What changes, by name, null where something goes. Notes what is wrong as `branding.<name>`.
    pub(super) fn checked(self, errors: &mut FieldErrors) -> Map<String, Value> {
        let mut changes = Map::new();
        let mut note = |name: &str, given: Patch<String>, check: fn(&str) -> Result<String, &str>| {
            let value = match given {
                Patch::Absent => return,
                Patch::Null => Value::Null,
                Patch::Value(text) => match check(&text) {
                    Ok(value) => value.into(),
                    Err(reason) => {
                        errors.insert(format!("branding.{name}"), vec![reason.to_owned()]);
                        return;
                    }
                },
            };
            changes.insert(name.to_owned(), value);
        };
        note("brand_name", self.brand_name, signups::name);
        note("logo_url", self.logo_url, logo_url);
        note("color", self.color, color);
        note("support_email", self.support_email, |text| Ok(text.parse::<Email>()?.to_string()));
        changes
    }
}

fn logo_url(text: &str) -> Result<String, &'static str> {
    match Url::parse(text.trim()) {
        Ok(url) if url.scheme() == "https" && url.has_host() && url.as_str().len() <= 2000 => Ok(url.into()),
        _ => Err("must be an https address of at most 2,000 characters"),
    }
}

fn color(text: &str) -> Result<String, &'static str> {
    let is_color = text
        .strip_prefix('#')
        .is_some_and(|digits| digits.len() == 6 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
    if is_color { Ok(text.to_ascii_lowercase()) } else { Err("must be #rrggbb, in hexadecimal digits") }
}
