//! mqtt (being written).
