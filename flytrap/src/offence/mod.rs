//! offence (being written).
