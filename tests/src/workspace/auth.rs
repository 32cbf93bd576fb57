//! Authentication: signing up, signing in, and the tokens between.

mod session;
mod signup;
mod tokens;
