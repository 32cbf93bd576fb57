//! Emails: content, brand and limits. They are enqueued here, and sent by a job
//! through [`runtime::mail`].

mod brand;
mod layout;
mod letter;
mod names;
mod post;

pub use brand::{Brand, Color, LogoUrl};
pub use letter::{Action, Letter};
pub use names::shown;
pub use post::{Cause, PostError, count_asker, notify, post, sweep};
