//! Ids of imported records: a batch's are consecutive, so that "from the first to the last" names
//! exactly its records, and in order of the file.

use domain::RecordId;
use uuid::Builder;

/// Consecutive `UUIDv7`s: a time, 42 random bits that are the batch's own, and a counter.
#[derive(Debug, Clone)]
pub struct BatchIds {
    millis: u64,
    random: [u8; 10],
    next: u32,
}

impl BatchIds {
    /// The ids of a batch that begins now. They come after those of the batch that began at
    /// `previous` (milliseconds since 1970), whatever the clock says.
    #[must_use]
    pub fn after(previous: u64) -> Self {
        let now = u64::try_from(jobs::clock::now().timestamp_millis()).unwrap_or(0);
        Self { millis: now.max(previous + 1), random: rand::random(), next: 0 }
    }

    /// When the batch began, in milliseconds since 1970.
    #[must_use]
    pub fn millis(&self) -> u64 {
        self.millis
    }

    /// The next id.
    pub fn take(&mut self) -> RecordId {
        let id = self.at(self.next);
        self.next += 1;
        id
    }

    /// Takes the last id back.
    pub fn take_back(&mut self) {
        self.next = self.next.saturating_sub(1);
    }

    /// The first and the last of the ids given out.
    #[must_use]
    pub fn range(&self) -> Option<(RecordId, RecordId)> {
        let last = self.next.checked_sub(1)?;
        Some((self.at(0), self.at(last)))
    }

    fn at(&self, n: u32) -> RecordId {
        let mut bytes = self.random;
        bytes[6..].copy_from_slice(&n.to_be_bytes());
        RecordId(Builder::from_unix_timestamp_millis(self.millis, &bytes).into_uuid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_within_a_batch_and_from_batch_to_batch() {
        let mut last = RecordId(uuid::Uuid::nil());
        let mut previous = 0;
        for _ in 0..20 {
            let mut ids = BatchIds::after(previous);
            let mut first = None;
            for _ in 0..300 {
                let id = ids.take();
                assert!(id > last, "{id} comes after {last}");
                assert_eq!(id.0.get_version_num(), 7);
                last = id;
                first.get_or_insert(id);
            }
            assert_eq!(ids.range(), Some((first.unwrap(), last)));
            previous = ids.millis();
        }
    }

    #[test]
    fn an_id_taken_back_is_given_out_again() {
        let mut ids = BatchIds::after(0);
        assert_eq!(ids.range(), None);
        let first = ids.take();
        ids.take_back();
        assert_eq!(ids.take(), first);
    }
}
