//! Programs that the laboratory starts, and ends by their process id.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::{text_of, wait_for};

/// A program that runs beside the test. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it with both of its output streams going to the file `log`.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = command
            // A Ctrl-C at the terminal is for the laboratory, which then ends the others in order.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {name} ({command:?})"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far, on both streams.
    pub fn log(&self) -> String {
        text_of(&self.log)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("a process id out of range")?, signal)
            .with_context(|| format!("cannot signal {}", self.name))
    }

    /// How it ended; `None` while it runs.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let child = &mut self.child;
        wait_for(&format!("the end of {}", self.name), || {
            Ok(child.try_wait()?)
        })
        .with_context(|| format!("its output:\n{}", text_of(&self.log)))
    }

    /// Waits until its output holds `text`; an earlier end is an error that shows the output.
    pub fn wait_for_output(&mut self, text: &str) -> Result<()> {
        let (name, log, child) = (&self.name, &self.log, &mut self.child);
        wait_for(&format!("`{text}` from {name}"), || {
            if text_of(log).contains(text) {
                return Ok(Some(()));
            }
            if let Some(status) = child.try_wait()?
                && !text_of(log).contains(text)
            {
                bail!("{name} ended with {status}");
            }
            Ok(None)
        })
        .with_context(|| format!("output of {name}:\n{}", text_of(log)))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; then both do nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command that dies with the thread that starts it, however that one ends.
pub fn bound(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", program]);
    command
}

/// A short command's success and output.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code; `None`: ended by a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Finished {
    /// Runs it to its end.
    pub fn of(command: &mut Command) -> Result<Self> {
        let output = command
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

/// Runs a command that has to succeed, and returns its standard output.
pub fn must(command: &mut Command) -> Result<String> {
    let finished = Finished::of(command)?;
    if finished.code != Some(0) {
        bail!(
            "{command:?} ended with {:?}: {}{}",
            finished.code,
            finished.out,
            finished.err
        );
    }
    Ok(finished.out)
}
