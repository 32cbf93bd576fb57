//! Windows of this process alone, for outages of Redis: each process then admits as many requests as all of
//! them together should, which is a compromise between admitting none and admitting all.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use tokio::time::{Duration, Instant};

use super::{Taken, Want, Window};

/// Maximum number of buckets: beyond it, those with the oldest windows, most of which have ended, are dropped.
const MOST: usize = 100_000;

/// The windows.
#[derive(Debug, Default)]
pub(super) struct Local(Mutex<HashMap<String, (Instant, u32)>>);

impl Local {
    /// Charges each bucket, or none.
    pub(super) fn take(&self, wants: &[Want]) -> Taken {
        let now = Instant::now();
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() > MOST {
            windows.retain(|_, (ends, _)| *ends > now);
            if windows.len() > MOST {
                windows.clear();
            }
        }
        let mut state: Vec<_> = wants
            .iter()
            .map(|want| {
                let length = Duration::from_secs(want.rate.seconds.into());
                match windows.get(&want.key) {
                    Some(&(ends, used)) if ends > now => (ends, used),
                    _ => (now + length, 0),
                }
            })
            .collect();
        let allowed = wants.iter().zip(&state).all(|(want, (_, used))| *used < want.rate.requests);
        if allowed {
            for (want, (ends, used)) in wants.iter().zip(&mut state) {
                *used += 1;
                windows.insert(want.key.clone(), (*ends, *used));
            }
        }
        let windows = state.into_iter().map(|(ends, used)| Window { used, left: ends - now });
        Taken { allowed, windows: windows.collect() }
    }
}
