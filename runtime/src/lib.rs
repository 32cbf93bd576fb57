//! The runtime of Millrace's processes: settings, logs and traces, servers, the object store, pools for heavy work;
//! and the transports to the outside: email, webhooks, Stripe. It knows nothing of tenants or their data.

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
