//! What happened, one struct per event: emitting it writes the log line and the metric together,
//! so that neither can be forgotten.
//!
//! Lines that strangers can cause have a budget per kind; what is over it is only counted, and
//! the next line says how many are missing. Texts from outside are shown with control
//! characters escaped. Permitted messages have no line: see the counters of
//! [`Metrics`](crate::metrics::Metrics).

mod ban;
mod budget;
mod connection;
mod decision;

pub use ban::{
    BanEvicted, BanExpired, BanLifted, BanNotInKernel, BanNotPlaced, BanNotSaved, BanPlaced,
    BansImported, BansNotSaved, KernelDrop, KernelRequestFailed, SourceThrottled,
};
pub use connection::{
    ConnectionRefused, LoginAccepted, LoginRefused, MalformedPacket, SessionEnded, TlsFailed,
    UpstreamFailed,
};
pub use decision::Denied;

pub use crate::metrics::{ConnectionRefusal, RefusalKind};

#[cfg(test)]
mod tests;
