//! Parsing conditions: the operators, and the limits of depth and length.

use domain::FieldErrors;
use serde_json::{Map, Value};

/// Maximum depth of nested conditions.
const DEEPEST: usize = 16;
/// Maximum number of conditions.
const MOST: usize = 500;
/// Maximum number of values in one list.
const LONGEST_LIST: usize = 1_000;
/// Maximum number of names in the path of a column or of a member of the auth context.
const LONGEST_PATH: usize = 8;

/// A condition on a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// A constant.
    Always(bool),
    /// Conjunction; true if empty.
    And(Vec<Condition>),
    /// Disjunction; false if empty.
    Or(Vec<Condition>),
    /// Negation.
    Not(Box<Condition>),
    /// Comparison of two values.
    Compare(Comparison, Operand, Operand),
    /// Membership in a list.
    In(Operand, Vec<Value>),
    /// Whether a value is missing or null.
    IsNull(Operand),
}

/// Comparison operators: numbers by value, texts by their characters, and only values of the same type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Less than.
    Lt,
    /// Less than or equal.
    Lte,
    /// Greater than.
    Gt,
    /// Greater than or equal.
    Gte,
}

/// An operand of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// A column of the row, by its path.
    Column(Vec<String>),
    /// A member of the auth context, by its path.
    Auth(Vec<String>),
    /// A literal.
    Literal(Value),
}

impl Comparison {
    const ALL: [Self; 6] = [Self::Eq, Self::Ne, Self::Lt, Self::Lte, Self::Gt, Self::Gte];

    /// Name in conditions.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Eq => "eq",
            Self::Ne => "ne",
            Self::Lt => "lt",
            Self::Lte => "lte",
            Self::Gt => "gt",
            Self::Gte => "gte",
        }
    }
}

impl Condition {
    /// Parses a condition whose path is `at`.
    ///
    /// # Errors
    /// All errors, by path.
    pub fn read(value: &Value, at: &str) -> Result<Self, FieldErrors> {
        let mut reader = Reader { errors: FieldErrors::new(), read: 0 };
        let condition = reader.condition(value, at, 1);
        match condition {
            Some(condition) if reader.errors.is_empty() => Ok(condition),
            _ => Err(reader.errors),
        }
    }
}

struct Reader {
    errors: FieldErrors,
    read: usize,
}

impl Reader {
    fn refuse<T>(&mut self, at: &str, reason: impl Into<String>) -> Option<T> {
        self.errors.insert(at.to_owned(), vec![reason.into()]);
        None
    }

    fn condition(&mut self, value: &Value, at: &str, depth: usize) -> Option<Condition> {
        if depth > DEEPEST {
            return self.refuse(at, format!("must not be nested deeper than {DEEPEST}"));
        }
        self.read += 1;
        if self.read > MOST {
            return self.refuse(at, format!("must have at most {MOST} conditions"));
        }
        if let Value::Bool(always) = value {
            return Some(Condition::Always(*always));
        }
        let Some((name, of)) = only_member(value) else {
            return self.refuse(at, "must be true, false, or an object with one operator");
        };
        let at = format!("{at}.{name}");
        match name {
            "and" => self.conditions(of, &at, depth).map(Condition::And),
            "or" => self.conditions(of, &at, depth).map(Condition::Or),
            "not" => Some(Condition::Not(Box::new(self.condition(of, &at, depth + 1)?))),
            "in" => self.membership(of, &at),
            "is_null" => self.operand(of, &at).map(Condition::IsNull),
            _ => match Comparison::ALL.into_iter().find(|comparison| comparison.name() == name) {
                Some(comparison) => {
                    let [left, right] = self.two(of, &at)?;
                    let left = self.operand(left, &format!("{at}.0"));
                    let right = self.operand(right, &format!("{at}.1"));
                    Some(Condition::Compare(comparison, left?, right?))
                }
                None => self.refuse(
                    &at,
                    "is no operator; allowed are and, or, not, eq, ne, lt, lte, gt, gte, in and is_null",
                ),
            },
        }
    }

    fn conditions(&mut self, value: &Value, at: &str, depth: usize) -> Option<Vec<Condition>> {
        let Value::Array(items) = value else { return self.refuse(at, "must be a list of conditions") };
        let mut conditions = Vec::new();
        for (place, item) in items.iter().enumerate() {
            // All errors are reported, but not the same for each of a million.
            if self.read > MOST {
                return None;
            }
            conditions.extend(self.condition(item, &format!("{at}.{place}"), depth + 1));
        }
        Some(conditions)
    }

    fn two<'v>(&mut self, value: &'v Value, at: &str) -> Option<[&'v Value; 2]> {
        match value.as_array().map(Vec::as_slice) {
            Some([left, right]) => Some([left, right]),
            _ => self.refuse(at, "must be a list of two values"),
        }
    }

    fn membership(&mut self, value: &Value, at: &str) -> Option<Condition> {
        let [left, right] = self.two(value, at)?;
        let left = self.operand(left, &format!("{at}.0"));
        let at = format!("{at}.1");
        let Value::Array(list) = right else { return self.refuse(&at, "must be a list of values") };
        if list.len() > LONGEST_LIST {
            return self.refuse(&at, format!("must have at most {LONGEST_LIST} values"));
        }
        if let Some(place) = list.iter().position(|value| value.is_array() || value.is_object()) {
            return self.refuse(&format!("{at}.{place}"), "must be a text, a number, true, false or null");
        }
        Some(Condition::In(left?, list.clone()))
    }

    fn operand(&mut self, value: &Value, at: &str) -> Option<Operand> {
        match value {
            Value::Object(_) => match only_member(value) {
                Some(("column", path)) => self.path(path, &format!("{at}.column")).map(Operand::Column),
                Some(("auth", path)) => self.path(path, &format!("{at}.auth")).map(Operand::Auth),
                _ => self.refuse(at, "must be a value, {\"column\": name} or {\"auth\": name}"),
            },
            Value::Array(_) => self.refuse(at, "must be a single value"),
            literal => Some(Operand::Literal(literal.clone())),
        }
    }

    fn path(&mut self, value: &Value, at: &str) -> Option<Vec<String>> {
        let names: Vec<_> = value.as_str().unwrap_or_default().split('.').map(str::to_owned).collect();
        if names.iter().any(String::is_empty) || names.len() > LONGEST_PATH {
            return self
                .refuse(at, format!("must be a name, or up to {LONGEST_PATH} of them with dots between"));
        }
        Some(names)
    }
}

/// The name and the value of an object with one member.
fn only_member(value: &Value) -> Option<(&str, &Value)> {
    let members: &Map<String, Value> = value.as_object()?;
    let (name, value) = members.iter().next()?;
    (members.len() == 1).then_some((name, value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults(condition: &Value) -> Vec<String> {
        Condition::read(condition, "c").unwrap_err().into_keys().collect()
    }

    #[test]
    fn what_is_wrong_is_named_by_its_path() {
        let condition = json!({"and": [
            {"eq": [{"column": ""}, 1]},
            {"like": ["a", "b"]},
            {"not": {"in": [{"auth": "role"}, "admin"]}},
            {"or": 1},
            {"lt": [1]},
            {"eq": [1, 2], "ne": [1, 2]},
            {"in": [1, [[]]]},
            {"is_null": {"row": "x"}},
        ]});
        assert_eq!(
            faults(&condition),
            [
                "c.and.0.eq.0.column",
                "c.and.1.like",
                "c.and.2.not.in.1",
                "c.and.3.or",
                "c.and.4.lt",
                "c.and.5",
                "c.and.6.in.1.0",
                "c.and.7.is_null"
            ]
        );
        assert_eq!(faults(&json!("owner_id = auth.user_id")), ["c"]);
    }

    #[test]
    fn a_condition_is_neither_too_deep_nor_too_long() {
        let nested = |depth: usize| (1..depth).fold(json!(true), |inner, _| json!({ "not": inner }));
        assert!(Condition::read(&nested(DEEPEST), "c").is_ok());
        assert_eq!(faults(&nested(DEEPEST + 1)), [format!("c{}", ".not".repeat(DEEPEST))]);
        assert!(Condition::read(&json!({ "or": vec![false; MOST - 1] }), "c").is_ok());
        assert_eq!(faults(&json!({ "or": vec![false; 100_000] })), [format!("c.or.{}", MOST - 1)]);
        assert_eq!(faults(&json!({ "in": [1, vec![1; LONGEST_LIST + 1]] })), ["c.in.1"]);
    }
}
