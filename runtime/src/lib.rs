//! What a process of Millrace runs on: settings, logs and traces, servers, the object store, places for heavy work;
//! and the transports to the outside: mail, webhooks, Stripe. It knows nothing of tenants or of what they keep.

pub mod heavy;
pub mod mail;
pub mod process;
pub mod redis_tls;
pub mod servers;
pub mod settings;
pub mod storage;
pub mod stripe;
pub mod web_app;
pub mod webhooks;

mod telemetry;
