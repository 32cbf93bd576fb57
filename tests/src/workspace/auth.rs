//! Authentication: signing up, signing in, and the tokens between.

mod billing;
mod delivery;
mod session;
mod signup;
mod stripe_invite;
mod tokens;
