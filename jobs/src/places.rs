//! Places: the maximum share of a scarce resource per holder, so that others find some left.

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A number of places for each holder. Clones count together.
pub struct Places<K: Eq + Hash>(Arc<Inner<K>>);

struct Inner<K> {
    each: usize,
    holders: Mutex<HashMap<K, Holder>>,
}

struct Holder {
    places: Arc<Semaphore>,
    /// Number of places that are held or waited for.
    interested: usize,
}

/// The holder waits for the maximum number of places already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many requests wait for a place already")]
pub struct Crowded;

impl<K: Eq + Hash + Clone> Places<K> {
    /// So many places for each holder, at least one.
    #[must_use]
    pub fn of(each: usize) -> Self {
        Self(Arc::new(Inner { each: each.max(1), holders: Mutex::default() }))
    }

    /// Takes one of the holder's places, as soon as one is free.
    ///
    /// # Errors
    /// [`Crowded`] when `most` are held or waited for by this holder already.
    pub async fn take(&self, holder: K, most: usize) -> Result<Place<K>, Crowded> {
        let (places, interest) = self.0.interest(holder, most, &self.0)?;
        let place = places.acquire_owned().await.map_err(|_| Crowded)?;
        Ok(Place { _place: place, _interest: interest })
    }

    /// Takes one of the holder's places if one is free.
    ///
    /// # Errors
    /// [`Crowded`] when none is.
    pub fn take_now(&self, holder: K) -> Result<Place<K>, Crowded> {
        let (places, interest) = self.0.interest(holder, usize::MAX, &self.0)?;
        let place = places.try_acquire_owned().map_err(|_| Crowded)?;
        Ok(Place { _place: place, _interest: interest })
    }

    /// Whether `most` are held or waited for by this holder already: whether [`Places::take`] would refuse now.
    #[must_use]
    pub fn is_crowded(&self, holder: &K, most: usize) -> bool {
        self.0.lock().get(holder).is_some_and(|held| held.interested >= most.max(1))
    }

    /// Number of holders that have a place, or wait for one.
    #[must_use]
    pub fn holders(&self) -> usize {
        self.0.lock().len()
    }
}

impl<K: Eq + Hash + Clone> Inner<K> {
    fn interest(
        &self,
        holder: K,
        most: usize,
        shared: &Arc<Self>,
    ) -> Result<(Arc<Semaphore>, Interest<K>), Crowded> {
        let mut holders = self.lock();
        let held = holders
            .entry(holder.clone())
            .or_insert_with(|| Holder { places: Arc::new(Semaphore::new(self.each)), interested: 0 });
        if held.interested >= most.max(1) {
            return Err(Crowded);
        }
        held.interested += 1;
        Ok((Arc::clone(&held.places), Interest { all: Arc::clone(shared), holder }))
    }
}

impl<K> Inner<K> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, Holder>> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One place of a holder; dropping it frees it. It may be moved along with the work.
pub struct Place<K: Eq + Hash> {
    // Freed before the interest in it: a holder is forgotten with all of its places free.
    _place: OwnedSemaphorePermit,
    _interest: Interest<K>,
}

struct Interest<K: Eq + Hash> {
    all: Arc<Inner<K>>,
    holder: K,
}

impl<K: Eq + Hash> Drop for Interest<K> {
    fn drop(&mut self) {
        let mut holders = self.all.lock();
        if let Some(held) = holders.get_mut(&self.holder) {
            held.interested -= 1;
            if held.interested == 0 {
                holders.remove(&self.holder);
            }
        }
    }
}

impl<K: Eq + Hash> Clone for Places<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Eq + Hash> fmt::Debug for Places<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Places").field("each", &self.0.each).finish_non_exhaustive()
    }
}

impl<K: Eq + Hash> fmt::Debug for Place<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_holder_with_all_its_places_waits_and_others_do_not() {
        let places = Places::of(2);
        let first = places.take("a", 9).await.unwrap();
        let _second = places.take("a", 9).await.unwrap();
        let mut third = Box::pin(places.take("a", 9));
        assert!(third.as_mut().now_or_never().is_none());
        assert!(places.take("b", 9).now_or_never().is_some());
        drop(first);
        assert!(third.now_or_never().is_some());
    }

    #[tokio::test]
    async fn whoever_is_one_too_many_is_told_at_once() {
        let places = Places::of(1);
        let _held = places.take("a", 2).await.unwrap();
        let mut waiting = Box::pin(places.take("a", 2));
        assert!(waiting.as_mut().now_or_never().is_none());
        assert_eq!(places.take("a", 2).await.unwrap_err(), Crowded);
        assert!(places.is_crowded(&"a", 2) && !places.is_crowded(&"b", 2));
        // A waiter that has given up doesn't count.
        drop(waiting);
        assert!(places.take("a", 2).now_or_never().is_none());
    }

    #[tokio::test]
    async fn holders_without_a_place_are_forgotten() {
        let places = Places::of(1);
        drop(places.take("a", 1).await.unwrap());
        assert_eq!(places.holders(), 0);
    }
}
