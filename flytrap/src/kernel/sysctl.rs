//! The host's network settings, of this thread's network namespace.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::error::KernelError;

/// A setting and the value that it has to have for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    name: &'static str,
    needed: u8,
}

/// A setting that is needed no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettingBack {
    /// As `sysctl` names it.
    pub name: &'static str,
    /// Its value now.
    pub value: u8,
    /// Whether that is the one of before. Else somebody changed it meanwhile, and it stays so.
    pub restored: bool,
}

impl Setting {
    pub(super) const fn new(name: &'static str, needed: u8) -> Self {
        Self { name, needed }
    }

    pub(super) const fn name(self) -> &'static str {
        self.name
    }

    pub(super) const fn needed(self) -> u8 {
        self.needed
    }

    pub(super) fn read(self) -> Result<u8, KernelError> {
        let text = fs::read_to_string(path(self.name));
        let number = text.and_then(|text| text.trim().parse().map_err(io::Error::other));
        number.map_err(KernelError::io(format!("reading {}", self.name)))
    }

    pub(super) fn write(self, value: u8) -> Result<(), KernelError> {
        let written = fs::write(path(self.name), value.to_string());
        written.map_err(|source| KernelError::Setting {
            name: self.name,
            value,
            source,
        })
    }

    /// Writes the value of before, if it still has the one that was needed.
    pub(super) fn put_back(self, before: u8) -> Result<SettingBack, KernelError> {
        let value = self.read()?;
        let restored = value == self.needed;
        if restored && before != value {
            self.write(before)?;
        }
        Ok(SettingBack {
            name: self.name,
            value: if restored { before } else { value },
            restored,
        })
    }
}

/// The numbers of a setting; none if it can't be read.
pub(super) fn numbers(name: &str) -> Vec<u64> {
    let text = fs::read_to_string(path(name)).unwrap_or_default();
    let numbers = text.split_whitespace().map(str::parse);
    numbers.collect::<Result<_, _>>().unwrap_or_default()
}

fn path(name: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(name.replace('.', "/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read() {
        let setting = Setting::new("net.ipv4.tcp_timestamps", 2);
        assert!(setting.read().unwrap() <= 2);
        assert_eq!(numbers("net.ipv4.tcp_rmem").len(), 3);
        assert!(numbers("net.ipv4.tcp_available_congestion_control").is_empty());
        assert!(numbers("net.ipv4.no_such").is_empty());
        let missing = Setting::new("net.ipv4.no_such", 2);
        let error = missing.read().unwrap_err();
        assert!(error.to_string().contains("net.ipv4.no_such"), "{error}");
    }
}
