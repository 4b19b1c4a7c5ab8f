//! FlyTrap's laboratory, shared by the end-to-end tests, the demo, the drill and the benchmarks.

pub mod bench_xdp;
pub mod lab;
