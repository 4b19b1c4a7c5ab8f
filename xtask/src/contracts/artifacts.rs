//! What the contract compiles to, committed: deploying and calling it needs no compiler.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{folder, forge};
use crate::process::must;

/// The largest code that is wanted; the Ethereum Virtual Machine's own limit is 24,576.
const MAX_CODE_BYTES: usize = 20 * 1024;

/// A file in contracts/abi and what belongs into it.
type Artifact = (PathBuf, String);

pub(super) fn write() -> Result<()> {
    for (path, content) in compile()? {
        fs::write(&path, content).with_context(|| path.display().to_string())?;
        println!("{}", path.display());
    }
    Ok(())
}

pub(super) fn check() -> Result<()> {
    for (path, content) in compile()? {
        let committed = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        if committed != content {
            bail!(
                "{} is not what the sources compile to: `cargo xtask contracts build` writes it",
                path.display()
            );
        }
    }
    Ok(())
}

fn compile() -> Result<[Artifact; 2]> {
    must(forge()?.args(["build", "--quiet"]))?;
    let path = folder().join("out/FlyTrap.sol/FlyTrap.json");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let compiled: Value =
        serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    let code = |key: &str| {
        compiled
            .pointer(&format!("/{key}/object"))
            .and_then(Value::as_str)
            .and_then(|hex| hex.strip_prefix("0x"))
            .with_context(|| format!("no {key} in {}", path.display()))
    };
    let deployed = code("deployedBytecode")?.len() / 2;
    println!("contract: {deployed} bytes of code, wanted at most {MAX_CODE_BYTES}");
    if deployed > MAX_CODE_BYTES {
        bail!("the contract is too large");
    }
    let abi = compiled.get("abi").context("no ABI")?;
    let folder = folder().join("abi");
    Ok([
        (folder.join("FlyTrap.json"), format!("{abi:#}\n")),
        (
            folder.join("FlyTrap.bin"),
            format!("{}\n", code("bytecode")?),
        ),
    ])
}
