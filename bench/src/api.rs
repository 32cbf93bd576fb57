//! The API under load: signing in, reading oneself, reading a record and writing one, each by
//! [`CONNECTIONS`] keep-alive connections at once and by one alone; beside Directus reading and writing an
//! item of the same columns in the same PostgreSQL, in turns. And the cost for a request of the rules
//! for all requests: each difference is between two requests that are alike but for that rule.

mod costs;
mod directus;
pub mod load;
mod ours;

use std::time::Duration;

use crate::{
    Failure,
    figure::{line, median},
};
use directus::Directus;
use load::{Run, Target};
use ours::Millrace;

/// Keep-alive connections under load, each with one request in flight.
const CONNECTIONS: usize = 16;
/// Turns of each side.
const TURNS: usize = 3;
/// How long each is measured, after a quarter of that to warm up.
const TIME: Duration = Duration::from_secs(3);

/// What is measured of a request, in each turn.
#[derive(Default)]
struct Figures {
    per_second: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    alone: Vec<f64>,
}

impl Figures {
    async fn take(&mut self, target: &Target) -> Result<(), Failure> {
        let Run { per_second, p50, p99 } = target.load(CONNECTIONS, TIME).await?;
        self.per_second.push(per_second);
        self.p50.push(p50);
        self.p99.push(p99);
        self.alone.push(target.load(1, TIME).await?.p50);
        Ok(())
    }

    /// Prints the medians, beside those of the yardstick where there is one.
    fn print(mut self, name: &str, mut yardstick: Option<Figures>) {
        let theirs = yardstick.as_mut();
        let [per_second, p50, p99, alone] = match theirs {
            Some(theirs) => [&mut theirs.per_second, &mut theirs.p50, &mut theirs.p99, &mut theirs.alone]
                .map(|all| Some(median(all))),
            None => [None; 4],
        };
        for (figure, unit, ours, theirs) in [
            ("per_second", "requests/s", &mut self.per_second, per_second),
            ("p50_ms", "ms", &mut self.p50, p50),
            ("p99_ms", "ms", &mut self.p99, p99),
            ("alone_p50_ms", "ms", &mut self.alone, alone),
        ] {
            let theirs = theirs.map(|value| ("directus", value));
            line("api", &format!("{name}_{figure}"), median(ours), unit, theirs);
        }
    }
}

pub async fn measure() -> Result<(), Failure> {
    let millrace = Millrace::start().await?;
    let directus = Directus::start().await?;
    let names = ["login", "me", "record_read", "record_write"];
    let ours = [millrace.login(), millrace.me(), millrace.read(), millrace.write()];
    let theirs = directus.as_ref().map(|directus| [directus.read(), directus.write()]);

    let mut our_figures: [Figures; 4] = Default::default();
    let mut their_figures: [Figures; 2] = Default::default();
    for _ in 0..TURNS {
        for (n, target) in ours.iter().enumerate() {
            our_figures[n].take(target).await?;
            // The last two have their like.
            if let (Some(theirs), Some(like)) = (&theirs, n.checked_sub(2)) {
                their_figures[like].take(&theirs[like]).await?;
            }
        }
    }
    if let Some(directus) = directus {
        directus.stop()?;
    }
    let [read, write] = their_figures.map(|figures| theirs.is_some().then_some(figures));
    for ((name, figures), yardstick) in names.into_iter().zip(our_figures).zip([None, None, read, write]) {
        figures.print(name, yardstick);
    }
    costs::measure(millrace).await
}
