//! Black-box tests over HTTP, and tests that kill real processes. The folders mirror the URL tree.
//!
//! [`TestApp`] is the whole of Millrace in the test's own process, on a database of its own;
//! [`Cluster`] is the same as real processes, with a Redis of its own, for tests that kill them.

#![allow(clippy::missing_panics_doc)] // a test helper panics: that is how a test fails
#![allow(clippy::unwrap_used)]

pub mod app;
pub mod client;
pub mod cluster;
pub mod collector;
pub mod database;
mod documented;
pub mod events;
pub mod mailbox;
mod mask;
pub mod people;
mod programs;
pub mod smtp;
pub mod stripe;

pub use app::TestApp;
pub use client::{Client, Reply};
pub use cluster::Cluster;
pub use collector::Collector;
pub use events::EventReader;
pub use mask::masked;
pub use smtp::SmtpServer;
pub use stripe::Stripe;

#[cfg(test)]
mod confinement;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod engine;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod idempotency;
#[cfg(test)]
mod inline;
#[cfg(test)]
mod installation;
#[cfg(test)]
mod kinds;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod mail;
#[cfg(test)]
mod manifests;
#[cfg(test)]
mod memberships;
#[cfg(test)]
mod ops;
#[cfg(test)]
mod platform;
#[cfg(test)]
mod proxies;
#[cfg(test)]
mod retention;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod soak;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod workspace;
