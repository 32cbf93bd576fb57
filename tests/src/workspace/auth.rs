//! Authentication: signing up, signing in, and the tokens between.

mod delivery;
mod personal_tokens;
mod session;
mod signup;
mod tokens;
