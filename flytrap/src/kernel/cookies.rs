//! SYN cookies: a mode that ends by itself when nobody renews it, and the settings of the host that
//! it needs and that are put back.
//!
//! What the settings were before lies in the map, so that it outlives this process as the
//! settings do, and like them no reboot.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use aya::Ebpf;
use aya::maps::{Array, MapData};
use flytrap_common::abi::MAP_COOKIE;
use flytrap_common::cookie::{Cookies, NO_WINDOW_SCALE};
use rustix::fs::stat;

use super::error::KernelError;
use super::plane::{KernelPlane, lock};
use super::sysctl::{Setting, SettingBack};
use super::tables::{nanoseconds, now, take_map};
use super::{knock, pins, sysctl};

/// The listener knows a cookie only while it sends cookies itself, so it always does.
pub(super) const SYNCOOKIES: Setting = Setting::new("net.ipv4.tcp_syncookies", 2);
/// Without an offset of its own for each client, which the program can't know.
pub(super) const TIMESTAMPS: Setting = Setting::new("net.ipv4.tcp_timestamps", 2);

/// How long SYNs are answered after the last renewal.
const AHEAD: Duration = Duration::from_secs(5);

/// The map of this module.
pub(super) struct CookieMap {
    map: Array<MapData, Cookies>,
    /// Whether it was this process that switched cookies on.
    on: bool,
}

impl CookieMap {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        Ok(Self {
            map: take_map(ebpf, MAP_COOKIE)?,
            on: false,
        })
    }

    /// The one of an earlier process.
    pub(super) fn pinned(pin_dir: &Path) -> Result<Self, KernelError> {
        Ok(Self {
            map: pins::pinned_map(pin_dir, MAP_COOKIE)?,
            on: true,
        })
    }

    pub(super) fn get(&self) -> Result<Cookies, KernelError> {
        self.map.get(&0, 0).map_err(KernelError::map(MAP_COOKIE))
    }

    fn set(&mut self, cookies: Cookies) -> Result<(), KernelError> {
        let set = self.map.set(0, cookies, 0);
        set.map_err(KernelError::map(MAP_COOKIE))
    }

    fn switch_on(&mut self) -> Result<(), KernelError> {
        let left = self.get()?;
        let namespace = namespace()?;
        let before = |setting: Setting, saved: u8| {
            let value = setting.read()?;
            // Ours already: one before this was killed, and has noted what it found.
            let ours = left.namespace == namespace && value == setting.needed();
            Ok::<_, KernelError>(if ours { saved } else { value })
        };
        let cookies = Cookies {
            namespace,
            tcp_syncookies: before(SYNCOOKIES, left.tcp_syncookies)?,
            tcp_timestamps: before(TIMESTAMPS, left.tcp_timestamps)?,
            ..shape()
        };
        // Noted before anything is changed.
        self.set(cookies)?;
        self.on = true;
        SYNCOOKIES.write(SYNCOOKIES.needed())?;
        TIMESTAMPS.write(TIMESTAMPS.needed())?;
        self.renew()
    }

    fn renew(&mut self) -> Result<(), KernelError> {
        for setting in [SYNCOOKIES, TIMESTAMPS] {
            let value = setting.read()?;
            if value != setting.needed() {
                return Err(KernelError::SettingChanged {
                    name: setting.name(),
                    value,
                    needed: setting.needed(),
                });
            }
        }
        let saved = self.get()?;
        self.set(Cookies {
            deadline: now().saturating_add(nanoseconds(AHEAD)),
            namespace: saved.namespace,
            tcp_syncookies: saved.tcp_syncookies,
            tcp_timestamps: saved.tcp_timestamps,
            ..shape()
        })
    }

    /// Switches cookies off and puts the settings back that still are as they were needed. Those
    /// of another network namespace can't be reached from here and stay noted.
    pub(super) fn switch_off(&mut self) -> Result<Vec<SettingBack>, KernelError> {
        let cookies = self.get()?;
        self.set(Cookies {
            deadline: 0,
            ..cookies
        })?;
        if cookies.namespace == 0 || cookies.namespace != namespace()? {
            return Ok(Vec::new());
        }
        let back = vec![
            SYNCOOKIES.put_back(cookies.tcp_syncookies)?,
            TIMESTAMPS.put_back(cookies.tcp_timestamps)?,
        ];
        self.set(Cookies::default())?;
        self.on = false;
        Ok(back)
    }

    /// The same, if this process switched them on.
    pub(super) fn close(&mut self) -> Result<(), KernelError> {
        if self.on {
            report(&self.switch_off()?);
        }
        Ok(())
    }
}

impl KernelPlane {
    /// With `on`: from now on a SYN over the total limit is answered with a cookie, while
    /// [`renew_cookies`](Self::renew_cookies) is called more often than every five seconds. For
    /// that `net.ipv4.tcp_syncookies` and `net.ipv4.tcp_timestamps` of this network namespace are
    /// set to 2, until the plane is closed.
    ///
    /// Without: what a killed gateway left is put back.
    pub fn set_cookies(&self, on: bool) -> Result<(), KernelError> {
        let mut cookies = lock(&self.cookies);
        if on {
            cookies.switch_on()
        } else {
            report(&cookies.switch_off()?);
            Ok(())
        }
    }

    /// Lets the mode go on for five seconds from now, unless somebody changed a setting that it
    /// needs: then SYNs over the limit are dropped until it is as before.
    pub fn renew_cookies(&self) -> Result<(), KernelError> {
        lock(&self.cookies).renew()
    }

    /// Makes the listener at this address take cookies for the next two minutes: it does so only
    /// for so long after one of its own, and in a flood all SYNs that reach the host may go to
    /// another one.
    pub fn prepare_listener(&self, listener: SocketAddr) -> Result<(), KernelError> {
        let doing = format!("sending a SYN to the listener at {listener}");
        knock::send_syn(listener).map_err(KernelError::io(doing))
    }
}

/// What the program offers in the listener's stead, by the settings that the listener will look
/// at when it takes the cookie (`tcp_select_initial_window`).
fn shape() -> Cookies {
    let buffers = sysctl::numbers("net.ipv4.tcp_rmem");
    let (usual, largest) = match buffers[..] {
        [_, usual, largest] => (usual, largest),
        _ => (131_072, 6_291_456),
    };
    let number = |name| sysctl::numbers(name).first().copied();
    // Old kernels show this one in the first network namespace only.
    let largest = largest.max(number("net.core.rmem_max").unwrap_or(212_992));
    Cookies {
        window: window(usual),
        window_scale: if number("net.ipv4.tcp_window_scaling") == Some(0) {
            NO_WINDOW_SCALE
        } else {
            window_scale(largest)
        },
        sack: u8::from(number("net.ipv4.tcp_sack") != Some(0)),
        ..Cookies::default()
    }
}

/// Half of the buffer as the listener reckons, and somewhat less, as it rounds down to whole
/// segments.
fn window(buffer: u64) -> u16 {
    let half = u16::try_from(buffer / 2).unwrap_or(u16::MAX);
    half - half / 16
}

/// So that the largest buffer fits into the window's 16 bits, of which the listener counts 15.
fn window_scale(buffer: u64) -> u8 {
    let bits = buffer.clamp(1, 0xffff << 14).ilog2();
    u8::try_from(bits.saturating_sub(15).min(14)).unwrap_or(14)
}

fn report(settings: &[SettingBack]) {
    for setting in settings {
        let SettingBack { name, value, .. } = setting;
        if setting.restored {
            tracing::info!(name, value, "put back as it was before SYN cookies");
        } else {
            tracing::warn!(name, value, "left alone: it was changed meanwhile");
        }
    }
}

/// This thread's network namespace, whose settings `/proc/sys/net` shows.
fn namespace() -> Result<u64, KernelError> {
    let stat = stat("/proc/thread-self/ns/net");
    stat.map(|stat| stat.st_ino)
        .map_err(KernelError::io("looking at this network namespace"))
}

/// What `flytrap xdp status` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CookieState {
    /// Whether SYNs over the limit are answered now.
    pub on: bool,
    /// Whether settings of the host are changed for that.
    pub settings_changed: bool,
}

impl CookieState {
    pub(super) fn pinned(pin_dir: &Path) -> Result<Self, KernelError> {
        let cookies = CookieMap::pinned(pin_dir)?.get()?;
        Ok(Self {
            on: cookies.deadline > now(),
            settings_changed: cookies.namespace != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_scale_is_the_listeners() {
        // Linux' default before and since 6.18, and both ends.
        assert_eq!(window_scale(6_291_456), 7);
        assert_eq!(window_scale(33_554_432), 10);
        assert_eq!(window_scale(0), 0);
        assert_eq!(window_scale(65_535), 0);
        assert_eq!(window_scale(65_536), 1);
        assert_eq!(window_scale(u64::MAX), 14);
    }

    #[test]
    fn the_window_is_less_than_the_listeners() {
        // The listener's own: whole segments in half of the buffer.
        for (buffer, mss) in [(131_072, 1_460), (131_072, 8_940), (16_384, 536)] {
            let listeners = buffer / 2 / mss * mss;
            assert!(u64::from(window(buffer)) <= listeners, "{buffer} {mss}");
        }
        assert_eq!(window(u64::MAX), 61_440);
    }
}
