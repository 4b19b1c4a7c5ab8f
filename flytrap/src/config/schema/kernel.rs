//! What the kernel program is told: `[xdp]` and `[geo]`.

use toml::Spanned;

use super::{NamedFiles, check_readable, owned, path_or};
use crate::config::reader::Section;
use crate::config::{DEFAULT_PIN_DIR, Evasions, Geo, GeoMode, GeoUnknown, Scope, Xdp, XdpMode};
use crate::types::escape_control;

/// New connections each second, 0 for no limit. More differ by less than the kernel's nanoseconds.
const RATE: std::ops::RangeInclusive<u64> = 0..=1_000_000;
/// New connections at once.
const BURST: std::ops::RangeInclusive<u64> = 1..=1_000_000;

pub(super) fn xdp(mut section: Section<'_, '_>) -> Xdp {
    let interfaces = section.texts("interfaces").unwrap_or_default();
    for (index, interface) in interfaces.iter().enumerate() {
        let name: &str = interface.get_ref();
        // Linux, dev_valid_name().
        if name.is_empty()
            || name.len() > 15
            || name == "."
            || name == ".."
            || name.contains(['/', ':'])
            || name.contains(char::is_whitespace)
        {
            section.refuse(
                interface,
                format!("`{}` is no interface name", escape_control(name)),
                "`ip link` lists the names",
            );
        } else if interfaces
            .iter()
            .take(index)
            .any(|other| other.get_ref() == interface.get_ref())
        {
            section.refuse(interface, format!("`{name}` stands twice"), "remove one");
        }
    }
    let modes = [
        ("native", XdpMode::Native),
        ("generic", XdpMode::Generic),
        ("auto", XdpMode::Auto),
    ];
    let scopes = [
        ("host", Scope::Host),
        ("guarded-ports", Scope::GuardedPorts),
    ];
    let evasions = [("drop", Evasions::Drop), ("pass", Evasions::Pass)];
    let xdp = Xdp {
        interfaces: owned(interfaces),
        mode: section.choice("mode", &modes).unwrap_or(XdpMode::Native),
        pin_dir: path_or(&mut section, "pin_dir", DEFAULT_PIN_DIR),
        detach_on_exit: section
            .switch("detach_on_exit")
            .is_some_and(Spanned::into_inner),
        event_sample: section
            .number("event_sample", 1..=u64::from(u32::MAX))
            .unwrap_or(1_024),
        ban_scope: section.choice("ban_scope", &scopes).unwrap_or(Scope::Host),
        evasions: section
            .choice("evasions", &evasions)
            .unwrap_or(Evasions::Drop),
        source_rate: section.number("source_rate", RATE).unwrap_or(0),
        source_burst: section.number("source_burst", BURST).unwrap_or(1_000),
        total_rate: section.number("total_rate", RATE).unwrap_or(0),
        total_burst: section.number("total_burst", BURST).unwrap_or(10_000),
        syn_cookies: section
            .switch("syn_cookies")
            .is_some_and(Spanned::into_inner),
    };
    section.close();
    xdp
}

pub(super) fn geo(mut section: Section<'_, '_>, xdp: &Xdp, files: NamedFiles) -> Geo {
    let database = section.path("database");
    if let Some(database) = &database {
        check_readable(&section, "database", database, files);
        if xdp.interfaces.is_empty() {
            section.refuse(
                database,
                "`database` is for the kernel, and XDP is off",
                "name the interfaces in [xdp], or remove `database`",
            );
        }
    }
    let modes = [("deny", GeoMode::Deny), ("allow", GeoMode::Allow)];
    let unknown = [("pass", GeoUnknown::Pass), ("drop", GeoUnknown::Drop)];
    let scopes = [
        ("host", Scope::Host),
        ("guarded-ports", Scope::GuardedPorts),
    ];
    let countries = section.texts("countries").unwrap_or_default();
    if let (Some(first), None) = (countries.first(), &database) {
        section.refuse(
            first,
            "`countries` needs a `database` that says where addresses are",
            "name an .mmdb file, or remove `countries`",
        );
    }
    let mode = section.choice("mode", &modes).unwrap_or(GeoMode::Deny);
    if mode == GeoMode::Allow && countries.is_empty() {
        section.refuse_all(
            "`mode` \"allow\" without `countries` keeps everybody out",
            "list the countries that may come in",
        );
    }
    let help = "write two letters of ISO 3166-1, as in [\"DE\", \"FR\"]";
    let geo = Geo {
        database: database.map(Spanned::into_inner),
        mode,
        countries: section.each_parsed(countries, help),
        unknown: section
            .choice("unknown", &unknown)
            .unwrap_or(GeoUnknown::Pass),
        scope: section.choice("scope", &scopes).unwrap_or(Scope::Host),
    };
    section.close();
    geo
}
