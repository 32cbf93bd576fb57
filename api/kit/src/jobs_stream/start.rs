//! The ids of the events of all jobs: the position in the workspace's feed, with a mark of the kinds that their
//! reader may view.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::sse::Start;

/// Start of a client's reading of all jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobsStart {
    pub(super) start: Start,
    pub(super) view: View,
}

impl JobsStart {
    /// The start of a request, as of [`Start::asked`]. The id of an event includes what its reader could view.
    #[must_use]
    pub fn asked(last_event_id: Option<&str>, since: Option<i64>) -> Self {
        let id = last_event_id.map(str::trim).unwrap_or_default();
        let (place, view) = match id.split_once('-') {
            Some((place, mark)) => (place, View::named(mark)),
            None => (id, Some(View::ALL)),
        };
        match (place.parse(), view) {
            (Ok(place), Some(view)) => Self { start: Start::After(place), view },
            // An unknown form of id.
            _ => Self { start: Start::asked(None, since), view: View::ALL },
        }
    }
}

/// The job kinds that a reader could view: a short mark of those that it could not. It is part of an event's
/// id, so that every process detects that a returning client may view other kinds now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct View(u32);

impl View {
    /// All kinds. For such readers, ids are plain numbers.
    pub(super) const ALL: Self = Self(0);

    fn named(mark: &str) -> Option<Self> {
        let is_ours = mark.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_ours.then(|| u32::from_str_radix(mark, 16).ok()).flatten().map(Self)
    }

    /// The view of a reader to whom those kinds are denied.
    pub(super) fn without(denied: &[String]) -> Self {
        if denied.is_empty() {
            return Self::ALL;
        }
        let hash = Sha256::digest(denied.join(",").as_bytes());
        let mark = hash.iter().take(4).fold(0, |mark, byte| (mark << 8) | u32::from(*byte));
        Self(mark.max(1))
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ALL { Ok(()) } else { write!(f, "-{:x}", self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_what_its_reader_could_view() {
        let asked = |id: &str| JobsStart::asked(Some(id), None);
        let denied = ["records.import".to_owned()];
        for view in [View::ALL, View::without(&denied)] {
            assert_eq!(asked(&format!("17{view}")), JobsStart { start: Start::After(17), view });
        }
        assert_ne!(View::without(&denied), View::ALL);
        for not_ours in ["", "x", "17-x", "-", "-1", "x-1f", "17-+1f", "17-1-1"] {
            assert_eq!(asked(not_ours).start, Start::Snapshot, "{not_ours}");
        }
        assert_eq!(JobsStart::asked(Some("17-x"), Some(5)).start, Start::After(5));
    }
}
