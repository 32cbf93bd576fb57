//! The Platform API, by section.

mod conventions;
mod health;
