//! mirror (being written).
