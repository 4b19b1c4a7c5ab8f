//! FlyTrap: authentication, authorisation and accountability in front of any MQTT broker.
//!
//! `docs/ARCHITECTURE.md` says what each module is for and which others it may use.
#![forbid(unsafe_code)]

pub mod api;
pub mod app;
pub mod bans;
pub mod chain;
pub mod cli;
pub mod config;
pub mod events;
pub mod failure;
pub mod geo;
pub mod identity;
pub mod kernel;
pub mod metrics;
pub mod mirror;
pub mod mqtt;
pub mod nonces;
pub mod offence;
pub mod policy;
pub mod proxy;
pub mod session;
pub mod tls;
pub mod types;
