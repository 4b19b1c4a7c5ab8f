//! What goes in and what comes out, packet by packet.

mod connect;
mod devices;
mod end;
mod model;
mod publish;
mod subscribe;
mod world;
