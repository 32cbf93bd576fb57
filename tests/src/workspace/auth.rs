//! Authentication: signing up, signing in, and the tokens between.

mod delivery;
mod session;
mod signup;
mod tokens;
