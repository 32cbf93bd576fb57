//! Clients that mean harm, or behave as if they did: what they can hold, and the effect on others.

mod bodies;
mod connections;
mod files;
mod forms;
mod tenants;
mod wire;
