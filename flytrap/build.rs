//! Embeds the compiled kernel program, where there is one.
//!
//! The host build needs no BPF compiler: without an object an empty file is embedded, and the
//! gateway says so when it is asked for XDP.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=FLYTRAP_EBPF_OBJECT");
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").ok_or("no OUT_DIR")?);
    let embedded = out_dir.join("flytrap.bpf.o");
    let object = if let Some(path) = env::var_os("FLYTRAP_EBPF_OBJECT") {
        println!("cargo::rerun-if-changed={}", Path::new(&path).display());
        PathBuf::from(path)
    } else {
        // Watched as a directory: cargo takes a missing file for an ever changing one.
        let directory = target_dir(&out_dir).ok_or("no target directory above OUT_DIR")?;
        let directory = directory.join("ebpf");
        fs::create_dir_all(&directory)?;
        println!("cargo::rerun-if-changed={}", directory.display());
        let object = directory.join("flytrap.bpf.o");
        if !object.exists() {
            fs::write(embedded, [])?;
            return Ok(());
        }
        object
    };
    fs::copy(&object, embedded).map_err(|error| format!("{}: {error}", object.display()))?;
    Ok(())
}

/// The target directory, which cargo marks with a file; `CARGO_TARGET_DIR` and configuration
/// files may put it anywhere.
fn target_dir(out_dir: &Path) -> Option<&Path> {
    out_dir
        .ancestors()
        .find(|path| path.join("CACHEDIR.TAG").exists())
}
