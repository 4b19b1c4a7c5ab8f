//! bans (being written).
