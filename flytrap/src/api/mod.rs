//! The control interface: JSON over HTTP/1.1 on a unix socket, its server and its client.
//! `docs/api.md` is its reference.
//!
//! | method and path | body | answer |
//! | --- | --- | --- |
//! | `GET /api/v1/status` | | [`Status`] |
//! | `GET /api/v1/bans` | | list of [`BanView`] |
//! | `POST /api/v1/bans` | [`BanRequest`] | [`BanView`] |
//! | `POST /api/v1/bans/import` | [`ImportRequest`] | [`ImportView`] |
//! | `DELETE /api/v1/bans/{prefix}` | | [`Lifted`] |
//! | `POST /api/v1/policy/check` | [`PolicyQuestion`] | [`PolicyAnswer`] |
//! | `GET /api/v1/drops` | | a [`DropLine`] on each line, without end |
//! | `POST /api/v1/geo` | a database's bytes | a [`GeoLine`] on each line |
//! | `GET /api/v1/geo/{address}` | | [`GeoAnswer`] |
//! | `GET /metrics` | | `OpenMetrics` text |
//!
//! Errors are [`Problem`]s. Times are seconds since 1970. The file permissions of the socket
//! decide who may use it.

pub mod client;
mod lines;
mod problem;
mod server;
mod socket;
#[cfg(test)]
mod tests;
mod views;

pub use problem::Problem;
pub use server::{Control, serve};
pub use socket::{ControlSocket, SocketError};
pub use views::{
    BanRequest, BanView, DropLine, DropView, GeoAnswer, GeoLine, GeoPhase, GeoUpdated, GeoView,
    ImportRequest, ImportView, LedgerView, Lifted, ListenerView, PacketTally, PolicyAction,
    PolicyAnswer, PolicyQuestion, SkippedView, Status, UpstreamView, XdpInterface, XdpState,
    XdpView,
};
