//! Times as clients see them: RFC 3339 in UTC, ending in `Z`, with at most six digits of a second. The
//! framework writes `+00:00` and nine. The schema of the answer says what is a time; texts that merely look
//! like one stay unchanged.

use std::collections::HashMap;

use memchr::memmem;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef, Registry};
use serde_json::Value;

/// End of the framework's times.
const OFFSET: &str = "+00:00";
const DIGITS: usize = 6;

/// Positions of the times in JSON.
#[derive(Debug, Default)]
pub(crate) struct Plans {
    nodes: Vec<Node>,
    named: HashMap<String, usize>,
}

#[derive(Debug, Clone)]
enum Node {
    Other,
    Time,
    Object { members: Vec<(String, usize)>, rest: Option<usize> },
    Array(usize),
}

impl Plans {
    /// The plan of a schema, as a number for [`Plans::tidy`].
    pub(crate) fn add(&mut self, schema: &MetaSchemaRef, registry: &Registry) -> usize {
        match schema {
            MetaSchemaRef::Inline(schema) => {
                let at = self.reserve();
                self.fill(at, schema, registry);
                at
            }
            MetaSchemaRef::Reference(name) => {
                if let Some(known) = self.named.get(name) {
                    return *known;
                }
                let at = self.reserve();
                self.named.insert(name.clone(), at);
                if let Some(schema) = registry.schemas.get(name) {
                    self.fill(at, schema, registry);
                }
                at
            }
        }
    }

    fn reserve(&mut self) -> usize {
        self.nodes.push(Node::Other);
        self.nodes.len() - 1
    }

    fn fill(&mut self, at: usize, schema: &MetaSchema, registry: &Registry) {
        self.nodes[at] = match schema.ty {
            "string" if schema.format == Some("date-time") => Node::Time,
            "array" => match &schema.items {
                Some(items) => Node::Array(self.add(items, registry)),
                None => Node::Other,
            },
            "object" => {
                let members = schema.properties.iter();
                let members = members.map(|(name, schema)| ((*name).to_owned(), self.add(schema, registry)));
                let members = members.collect();
                let rest = schema.additional_properties.as_ref().map(|schema| self.add(schema, registry));
                Node::Object { members, rest }
            }
            // A reference with a description beside it, or one of several.
            _ => {
                let parts = schema.all_of.iter().chain(&schema.any_of).chain(&schema.one_of);
                let found = parts.map(|part| self.add(part, registry)).collect::<Vec<_>>();
                let found = found.into_iter().map(|part| self.nodes[part].clone());
                found.reduce(Node::or).unwrap_or(Node::Other)
            }
        };
    }

    /// The JSON with its times in the common form; `None` where that changes nothing.
    pub(crate) fn tidy(&self, plan: usize, json: &[u8]) -> Option<Vec<u8>> {
        memmem::find(json, b"+00:00\"")?;
        let mut scan = Scan { plans: self, json, at: 0, copied: 0, out: Vec::with_capacity(json.len()) };
        // Only JSON that this process has written comes here; anything else stays unchanged.
        scan.value(Some(plan))?;
        scan.out.extend_from_slice(&json[scan.copied..]);
        Some(scan.out)
    }
}

impl Node {
    /// Union of both.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Other, other) => other,
            (Self::Object { members: mut all, rest }, Self::Object { members, rest: other }) => {
                all.extend(members);
                Self::Object { members: all, rest: rest.or(other) }
            }
            (node, _) => node,
        }
    }
}

/// A walk through JSON beside its plan, which copies all but times.
struct Scan<'a> {
    plans: &'a Plans,
    json: &'a [u8],
    at: usize,
    copied: usize,
    out: Vec<u8>,
}

impl Scan<'_> {
    fn value(&mut self, plan: Option<usize>) -> Option<()> {
        let node = plan.map_or(&Node::Other, |plan| &self.plans.nodes[plan]);
        match self.peek()? {
            b'"' => {
                let (from, to) = self.string()?;
                if matches!(node, Node::Time)
                    && let Ok(text) = std::str::from_utf8(&self.json[from..to])
                    && let Some(tidy) = tidied(text)
                {
                    self.out.extend_from_slice(&self.json[self.copied..from]);
                    self.out.extend_from_slice(tidy.as_bytes());
                    self.copied = to;
                }
            }
            b'{' => self.members(node)?,
            b'[' => {
                let items = if let Node::Array(items) = node { Some(*items) } else { None };
                self.at += 1;
                while self.peek()? != b']' {
                    self.value(items)?;
                    self.skip(b',');
                }
                self.at += 1;
            }
            _ => {
                while !matches!(self.json.get(self.at), None | Some(b',' | b']' | b'}')) {
                    self.at += 1;
                }
            }
        }
        Some(())
    }

    fn members(&mut self, node: &Node) -> Option<()> {
        self.at += 1;
        while self.peek()? != b'}' {
            let (from, to) = self.string()?;
            let name = &self.json[from..to];
            let plan = match node {
                Node::Object { members, rest } => {
                    let member = members.iter().find(|(known, _)| known.as_bytes() == name);
                    member.map(|(_, plan)| *plan).or(*rest)
                }
                _ => None,
            };
            self.peek().filter(|byte| *byte == b':')?;
            self.at += 1;
            self.value(plan)?;
            self.skip(b',');
        }
        self.at += 1;
        Some(())
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        while self.json.get(self.at)?.is_ascii_whitespace() {
            self.at += 1;
        }
        self.json.get(self.at).copied()
    }

    fn skip(&mut self, byte: u8) {
        if self.peek() == Some(byte) {
            self.at += 1;
        }
    }

    /// Start and end of the next string, without its quotes.
    fn string(&mut self) -> Option<(usize, usize)> {
        self.peek().filter(|byte| *byte == b'"')?;
        let from = self.at + 1;
        let mut to = from;
        loop {
            match self.json.get(to)? {
                b'"' => break,
                b'\\' => to += 2,
                _ => to += 1,
            }
        }
        self.at = to + 1;
        Some((from, to))
    }
}

/// A time of the framework's in the common form.
fn tidied(time: &str) -> Option<String> {
    let time = time.strip_suffix(OFFSET)?;
    let (whole, digits) = time.split_once('.').unwrap_or((time, ""));
    let digits = &digits[..digits.len().min(DIGITS)];
    Some(if digits.is_empty() { format!("{whole}Z") } else { format!("{whole}.{digits}Z") })
}

/// An event's own times, `timestamp` and `at`, in the common form.
pub(crate) fn tidy_event(event: &mut Value) {
    for name in ["timestamp", "at"] {
        if let Some(Value::String(time)) = event.get_mut(name)
            && let Some(tidy) = tidied(time)
        {
            *time = tidy;
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use poem_openapi::{Object, types::Type};
    use serde_json::json;

    use super::*;

    #[derive(Object)]
    struct Thing {
        at: DateTime<Utc>,
        /// Described, which puts a schema beside the reference.
        next: Option<Part>,
        parts: Vec<Part>,
        text: String,
        data: Value,
    }

    #[derive(Object)]
    struct Part {
        ended: Option<DateTime<Utc>>,
    }

    #[test]
    fn times_end_in_z_and_texts_that_look_like_one_stay() {
        let mut registry = Registry::new();
        Thing::register(&mut registry);
        let mut plans = Plans::default();
        let plan = plans.add(&Thing::schema_ref(), &registry);
        let (nine, whole) = ("2026-11-29T12:00:00.123456789+00:00", "2026-11-29T12:00:00+00:00");
        let answer = json!({
            "at": nine, "next": { "ended": whole }, "parts": [{ "ended": null }, { "ended": nine }],
            "text": nine, "data": { "at": whole, "x\"y": [nine] },
        });
        let tidy = plans.tidy(plan, answer.to_string().as_bytes()).unwrap();
        let (six, zero) = ("2026-11-29T12:00:00.123456Z", "2026-11-29T12:00:00Z");
        assert_eq!(
            serde_json::from_slice::<Value>(&tidy).unwrap(),
            json!({
                "at": six, "next": { "ended": zero }, "parts": [{ "ended": null }, { "ended": six }],
                "text": nine, "data": { "at": whole, "x\"y": [nine] },
            })
        );
        assert_eq!(plans.tidy(plan, br#"{"at":"2026-11-29T12:00:00Z"}"#), None);
    }
}
