//! Evaluating a condition on rows, with the reason for the result.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::condition::{Comparison, Condition, Operand};

/// Maximum number of characters of a value in a reason.
const SHOWN: usize = 40;
/// Maximum number of characters of a reason.
const LONGEST: usize = 500;

/// The result of a condition, unknown if null, and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Judgement {
    pub(super) holds: Option<bool>,
    pub(super) because: String,
}

/// A row, and the context of the caller.
#[derive(Clone, Copy)]
struct Case<'c> {
    row: &'c Map<String, Value>,
    auth: &'c Map<String, Value>,
}

/// Evaluates the condition on one row.
pub(super) fn judge(condition: &Condition, row: &Map<String, Value>, auth: &Map<String, Value>) -> Judgement {
    let Judgement { holds, because } = Case { row, auth }.judge(condition);
    Judgement { holds, because: cut(&because, LONGEST) }
}

impl Case<'_> {
    fn judge(self, condition: &Condition) -> Judgement {
        let told = |holds, because: String| Judgement { holds, because };
        match condition {
            Condition::Always(always) => told(Some(*always), format!("the condition is {always}")),
            Condition::Not(inner) => {
                let Judgement { holds, because } = self.judge(inner);
                told(holds.map(|holds| !holds), format!("not: {because}"))
            }
            Condition::And(parts) => self.all(parts, true, "an empty `and` is true"),
            Condition::Or(parts) => self.all(parts, false, "an empty `or` is false"),
            Condition::Compare(comparison, left, right) => {
                let (a, b) = (self.value(left), self.value(right));
                let holds = compare(*comparison, a, b);
                let unlike = !a.is_null() && !b.is_null() && holds.is_none();
                let note = if unlike { ", which are not of one type" } else { "" };
                let because = format!("{} {} {}{note}", show(left, a), comparison.name(), show(right, b));
                told(holds, format!("{because}: {}", word(holds)))
            }
            Condition::In(operand, list) => {
                let value = self.value(operand);
                let is_same = |other: &Value| compare(Comparison::Eq, value, other) == Some(true);
                let holds = match () {
                    () if value.is_null() => None,
                    () if list.iter().any(is_same) => Some(true),
                    () if list.iter().any(Value::is_null) => None,
                    () => Some(false),
                };
                told(holds, format!("{} in a list of {}: {}", show(operand, value), list.len(), word(holds)))
            }
            Condition::IsNull(operand) => {
                let value = self.value(operand);
                let holds = Some(value.is_null());
                told(holds, format!("{} is null: {}", show(operand, value), word(holds)))
            }
        }
    }

    /// `and` (`neutral` true) and `or` (`neutral` false): a result that isn't neutral decides, then an unknown
    /// one; and if all are neutral, the result is neutral.
    fn all(self, parts: &[Condition], neutral: bool, of_none: &str) -> Judgement {
        let mut untold = None;
        let mut reasons = Vec::new();
        for part in parts {
            let part = self.judge(part);
            match part.holds {
                Some(holds) if holds != neutral => return part,
                Some(_) => reasons.push(part.because),
                None => untold = untold.or(Some(part)),
            }
        }
        untold.unwrap_or_else(|| Judgement {
            holds: Some(neutral),
            because: if reasons.is_empty() { of_none.to_owned() } else { reasons.join("; ") },
        })
    }

    fn value<'v>(&'v self, operand: &'v Operand) -> &'v Value {
        let at = |holder: &'v Map<String, Value>, path: &[String]| {
            let (first, rest) = path.split_first()?;
            rest.iter().try_fold(holder.get(first)?, |value, name| value.get(name))
        };
        let found = match operand {
            Operand::Literal(value) => Some(value),
            Operand::Column(path) => at(self.row, path),
            Operand::Auth(path) => at(self.auth, path),
        };
        found.unwrap_or(&Value::Null)
    }
}

fn compare(comparison: Comparison, a: &Value, b: &Value) -> Option<bool> {
    if a.is_null() || b.is_null() {
        return None;
    }
    let ordering = match (a, b) {
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => a.as_f64()?.partial_cmp(&b.as_f64()?)?,
        },
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        _ => return None,
    };
    Some(match comparison {
        Comparison::Eq => ordering == Ordering::Equal,
        Comparison::Ne => ordering != Ordering::Equal,
        Comparison::Lt => ordering == Ordering::Less,
        Comparison::Lte => ordering != Ordering::Greater,
        Comparison::Gt => ordering == Ordering::Greater,
        Comparison::Gte => ordering != Ordering::Less,
    })
}

fn word(holds: Option<bool>) -> &'static str {
    match holds {
        Some(true) => "true",
        Some(false) => "false",
        None => "neither true nor false",
    }
}

/// A text, cut to the given length.
fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

fn show(operand: &Operand, value: &Value) -> String {
    let shown = cut(&value.to_string(), SHOWN);
    match operand {
        Operand::Literal(_) => shown,
        Operand::Column(path) => format!("column {} ({shown})", path.join(".")),
        Operand::Auth(path) => format!("auth {} ({shown})", path.join(".")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judged(condition: &Value, row: &Value) -> Judgement {
        let condition = Condition::read(condition, "c").unwrap();
        let auth = json!({"user_id": "u1", "role": "member", "claims": {"level": 3}});
        judge(&condition, row.as_object().unwrap(), auth.as_object().unwrap())
    }

    fn holds(condition: &Value, row: &Value) -> Option<bool> {
        judged(condition, row).holds
    }

    #[test]
    fn a_row_is_compared_with_who_asks() {
        let own = json!({"eq": [{"column": "owner_id"}, {"auth": "user_id"}]});
        assert_eq!(holds(&own, &json!({"owner_id": "u1"})), Some(true));
        let others = judged(&own, &json!({"owner_id": "u2"}));
        assert_eq!(others.holds, Some(false));
        assert_eq!(others.because, r#"column owner_id ("u2") eq auth user_id ("u1"): false"#);
        let level = json!({"lte": [{"column": "level"}, {"auth": "claims.level"}]});
        assert_eq!(holds(&level, &json!({"level": 3.0})), Some(true));
        assert_eq!(holds(&level, &json!({"level": 3.5})), Some(false));
    }

    #[test]
    fn what_is_not_there_is_null_and_null_decides_nothing() {
        let absent = json!({"eq": [{"column": "x"}, 1]});
        assert_eq!(holds(&absent, &json!({})), None);
        assert_eq!(holds(&json!({"not": absent}), &json!({})), None);
        assert_eq!(holds(&json!({"eq": [null, null]}), &json!({})), None);
        assert_eq!(holds(&json!({"is_null": {"column": "x.y"}}), &json!({"x": 1})), Some(true));
        assert_eq!(holds(&json!({"and": [absent, false]}), &json!({})), Some(false));
        assert_eq!(holds(&json!({"or": [absent, true]}), &json!({})), Some(true));
        assert_eq!(holds(&json!({"and": [absent, true]}), &json!({})), None);
        assert_eq!(holds(&json!({"in": [{"column": "x"}, [1, null]]}), &json!({"x": 2})), None);
        assert_eq!(holds(&json!({"in": [{"column": "x"}, [1, null]]}), &json!({"x": 1})), Some(true));
    }

    #[test]
    fn only_what_is_of_one_type_is_compared() {
        assert_eq!(holds(&json!({"eq": ["1", 1]}), &json!({})), None);
        assert!(judged(&json!({"eq": ["1", 1]}), &json!({})).because.contains("not of one type"));
        assert_eq!(holds(&json!({"gt": ["b", "a"]}), &json!({})), Some(true));
        assert_eq!(
            holds(&json!({"eq": [9_007_199_254_740_993_i64, 9_007_199_254_740_992_i64]}), &json!({})),
            Some(false)
        );
    }

    #[test]
    fn a_reason_is_what_decided_and_not_too_long() {
        let both = json!({"or": [{"eq": [1, 2]}, {"gt": [1, 2]}]});
        assert_eq!(judged(&both, &json!({})).because, "1 eq 2: false; 1 gt 2: false");
        let one = json!({"and": [{"lt": [1, 2]}, {"eq": [1, 2]}, {"eq": [1, 3]}]});
        assert_eq!(judged(&one, &json!({})).because, "1 eq 2: false");
        let many = json!({"or": vec![json!({"eq": ["ä".repeat(90), "b"]}); 400]});
        assert_eq!(judged(&many, &json!({})).because.chars().count(), LONGEST + 1);
    }

    #[test]
    fn of_nothing_all_hold_and_none_does() {
        assert_eq!(holds(&json!({"and": []}), &json!({})), Some(true));
        assert_eq!(holds(&json!({"or": []}), &json!({})), Some(false));
    }
}
