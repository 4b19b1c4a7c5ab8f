//! Compiles the kernel program, by whichever compiler this machine has for it.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::setup;

const TARGET: &str = "bpfel-unknown-none";
/// The benchmark's own programs, beside the gateway's.
const BENCH_PROGRAMS: &str = "flytrap-bench";

/// The ways to an object.
enum Route {
    /// Built elsewhere.
    Given(PathBuf),
    /// A compiler that brings `core` for BPF; Debian packages one.
    Prebuilt(PathBuf),
    /// A nightly that compiles `core` first.
    BuildStd,
}

/// Builds the kernel program where the gateway's build script looks for it, and returns the path.
pub(crate) fn build() -> Result<PathBuf> {
    let output = target_dir().join("ebpf/flytrap.bpf.o");
    let built = match route()? {
        Route::Given(object) => {
            println!(
                "kernel program: {} as FLYTRAP_EBPF_OBJECT says",
                object.display()
            );
            object
        }
        Route::Prebuilt(rustc) => {
            println!(
                "kernel program: by {}, which brings `core` for BPF",
                rustc.display()
            );
            let mut cargo = cargo(&[]);
            // Calls itself nightly for this build: inline BPF assembly has no stable syntax yet.
            cargo.env("RUSTC", &rustc).env("RUSTC_BOOTSTRAP", "1");
            compile(cargo)?
        }
        Route::BuildStd => {
            println!("kernel program: by a nightly compiler and its rust-src");
            let mut cargo = cargo(&["-Zbuild-std=core"]);
            cargo.env("RUSTUP_TOOLCHAIN", "nightly").env_remove("RUSTC");
            compile(cargo)?
        }
    };
    install(&built, &output)?;
    println!("kernel program: {}", output.display());
    Ok(output)
}

/// The benchmark's own programs, as [`build`] left them beside the gateway's.
pub(crate) fn bench_programs() -> Result<PathBuf> {
    let object = kernel_target_dir()
        .join(TARGET)
        .join("release")
        .join(BENCH_PROGRAMS);
    if env::var_os("FLYTRAP_EBPF_OBJECT").is_some() || !object.exists() {
        bail!(
            "{} isn't built: unset FLYTRAP_EBPF_OBJECT, then `cargo xtask build-ebpf`",
            object.display()
        );
    }
    // The benchmark runs in another directory.
    std::path::absolute(&object).with_context(|| object.display().to_string())
}

fn route() -> Result<Route> {
    if let Some(object) = env::var_os("FLYTRAP_EBPF_OBJECT") {
        return Ok(Route::Given(object.into()));
    }
    if let Some(rustc) = prebuilt() {
        setup::ensure(&[setup::Need::Kernel])?;
        return Ok(Route::Prebuilt(rustc));
    }
    if nightly_has_source() {
        setup::ensure(&[setup::Need::BpfLinker])?;
        return Ok(Route::BuildStd);
    }
    // Nothing here can do it: get the packaged compiler, where that is possible.
    let installed = setup::ensure(&[setup::Need::Kernel]);
    match prebuilt() {
        Some(rustc) if installed.is_ok() => Ok(Route::Prebuilt(rustc)),
        _ => {
            if let Err(error) = installed {
                eprintln!("{error:#}");
            }
            bail!(
                "no compiler for {TARGET}. Either of these brings one:\n  \
                 on Debian, as root: {}\n  \
                 anywhere: rustup toolchain install nightly --component rust-src && {}\n\
                 or set FLYTRAP_EBPF_OBJECT to an object built elsewhere",
                setup::Need::Kernel.by_hand(),
                setup::Need::BpfLinker.by_hand(),
            )
        }
    }
}

/// The first compiler whose own libraries include `core` for BPF.
fn prebuilt() -> Option<PathBuf> {
    let candidates = ["/usr/bin/rustc".into(), OsString::from("rustc")];
    candidates
        .iter()
        .find(|rustc| {
            let sysroot = Command::new(rustc).args(["--print", "sysroot"]).output();
            let Ok(sysroot) = sysroot else { return false };
            let sysroot = String::from_utf8_lossy(&sysroot.stdout);
            let libraries = Path::new(sysroot.trim())
                .join("lib/rustlib")
                .join(TARGET)
                .join("lib");
            fs::read_dir(libraries).is_ok_and(|mut files| {
                files.any(|file| {
                    file.is_ok_and(|file| {
                        file.file_name().to_string_lossy().starts_with("libcore-")
                    })
                })
            })
        })
        .map(PathBuf::from)
}

fn nightly_has_source() -> bool {
    Command::new("rustc")
        .args(["+nightly", "--print", "sysroot"])
        .output()
        .is_ok_and(|sysroot| {
            let sysroot = String::from_utf8_lossy(&sysroot.stdout).into_owned();
            sysroot.lines().next().is_some_and(|path| {
                Path::new(path)
                    .join("lib/rustlib/src/rust/library/core/Cargo.toml")
                    .exists()
            })
        })
}

fn cargo(arguments: &[&str]) -> Command {
    // `cargo` of the PATH and not $CARGO: with rustup that one would ignore RUSTUP_TOOLCHAIN.
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--release", "--locked", "--target", TARGET])
        .args(arguments)
        .arg("--manifest-path")
        .arg(workspace().join("flytrap-ebpf/Cargo.toml"))
        .arg("--target-dir")
        .arg(kernel_target_dir());
    // What cargo told this command about the host build must not reach the other one.
    cargo
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET");
    let flags = [
        format!("--cfg=bpf_target_arch=\"{}\"", env::consts::ARCH),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        "-Clinker=bpf-linker".to_owned(),
    ];
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    cargo
}

fn compile(mut cargo: Command) -> Result<PathBuf> {
    let status = cargo.status().context("starting cargo")?;
    if !status.success() {
        bail!("the kernel program doesn't compile ({status})");
    }
    Ok(kernel_target_dir().join(TARGET).join("release/flytrap"))
}

/// Copies only what changed: the gateway is rebuilt when the file is newer.
fn install(built: &Path, output: &Path) -> Result<()> {
    let object = fs::read(built).with_context(|| format!("reading {}", built.display()))?;
    if fs::read(output).is_ok_and(|old| old == object) {
        return Ok(());
    }
    let directory = output.parent().context("an output directory")?;
    fs::create_dir_all(directory)
        .and_then(|()| fs::write(output, object))
        .with_context(|| format!("writing {}", output.display()))
}

fn workspace() -> PathBuf {
    // As cargo says now, and not when this was built: directories move.
    env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from)
        .parent()
        .map_or_else(PathBuf::new, Path::to_owned)
}

fn target_dir() -> PathBuf {
    // A relative one is meant from where cargo was called, which is where this runs.
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// Beside the host's: the two builds must not wait for each other's lock.
fn kernel_target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(
        || workspace().join("flytrap-ebpf/target"),
        |directory| PathBuf::from(directory).join("ebpf-build"),
    )
}
