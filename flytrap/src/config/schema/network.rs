//! What the gateway listens on and what it dials: `[[listener]]` and `[upstream]`.

use std::net::{Ipv6Addr, SocketAddr};

use toml::Spanned;

use super::{NamedFiles, PATIENCE, SECOND, check_readable, named_file};
use crate::config::reader::Section;
use crate::config::{Listener, TlsFiles, Upstream};
use crate::types::escape_control;

pub(super) fn listeners(root: &mut Section<'_, '_>, files: NamedFiles) -> Vec<Listener> {
    let sections = root.sections("listener", "listener");
    let help = "give clients somewhere to connect to: [[listener]], bind = \"127.0.0.1:1883\"";
    match &sections {
        None => root.missing("listener", help),
        Some(none) if none.is_empty() => root.refuse_all("there is no listener", help),
        Some(_) => {}
    }
    let mut listeners: Vec<Listener> = Vec::new();
    for mut section in sections.unwrap_or_default() {
        let bind = section.parsed::<SocketAddr>("bind", "write address and port: \"0.0.0.0:8883\"");
        let danger = section.switch("danger_tokens_readable_on_the_wire");
        let with_tls = section.has("tls");
        let tls = section
            .optional_section("tls")
            .and_then(|section| tls_files(section, files));
        if let (Some(danger), true) = (&danger, with_tls)
            && *danger.get_ref()
        {
            section.refuse(
                danger,
                "`danger_tokens_readable_on_the_wire` contradicts `tls`",
                "remove one of the two",
            );
        }
        let danger = danger.is_some_and(Spanned::into_inner);
        match bind {
            None => section.missing("bind", "write address and port: bind = \"0.0.0.0:8883\""),
            Some(bind) => {
                let address = *bind.get_ref();
                if !address.ip().is_loopback() && !with_tls && !danger {
                    section.refuse(
                        &bind,
                        format!("{address} is reachable from outside and has no TLS: whoever is on the way can read login tokens and use them until they expire"),
                        "add tls = { certificate_file = \"…\", key_file = \"…\" }, bind to \
                         127.0.0.1, or, knowing this, set danger_tokens_readable_on_the_wire = true",
                    );
                }
                if address.port() != 0 && listeners.iter().any(|other| other.bind == address) {
                    section.refuse(
                        &bind,
                        format!("another listener has {address} already"),
                        "give each its own address and port",
                    );
                }
                listeners.push(Listener {
                    bind: address,
                    danger_tokens_readable_on_the_wire: danger,
                    tls,
                });
            }
        }
        section.close();
    }
    listeners
}

fn tls_files(mut section: Section<'_, '_>, files: NamedFiles) -> Option<TlsFiles> {
    let help = "a TLS listener needs certificate_file and key_file, both PEM";
    let certificate = named_file(&mut section, "certificate_file", help, files);
    let key = named_file(&mut section, "key_file", help, files);
    section.close();
    Some(TlsFiles {
        certificate_file: certificate?,
        key_file: key?,
    })
}

pub(super) fn upstream(
    mut section: Section<'_, '_>,
    listeners: &[Listener],
    files: NamedFiles,
) -> Upstream {
    let help = "write host and port of the broker: address = \"127.0.0.1:1883\"";
    let address = section.text("address");
    match &address {
        None => section.missing("address", help),
        Some(address) if !is_host_and_port(address.get_ref()) => {
            let shown = escape_control(address.get_ref());
            section.refuse(address, format!("`{shown}` is no host and port"), help);
        }
        Some(address) => {
            let to = address.get_ref().parse::<SocketAddr>();
            if to.is_ok_and(|to| listeners.iter().any(|listener| reaches(to, listener.bind))) {
                section.refuse(
                    address,
                    "this is a listener of the gateway itself, not the broker",
                    "let broker and gateway listen on different ports or addresses",
                );
            }
        }
    }
    let username = section.text("username");
    let password_at = section.path("password_file");
    let password_file = password_at.as_ref().map(|at| at.get_ref().clone());
    match (&username, &password_at) {
        (Some(username), None) => section.refuse(
            username,
            "`username` without `password_file`",
            "name the file that holds the password, or remove username",
        ),
        (None, Some(file)) => section.refuse(
            file,
            "`password_file` without `username`",
            "add the username that the password belongs to",
        ),
        _ => {}
    }
    if let Some(file) = &password_at {
        check_readable(&section, "password_file", file, files);
    }
    let upstream = Upstream {
        address: address.map_or_else(String::new, |address| address.into_inner().to_owned()),
        connect_timeout: section
            .duration("connect_timeout", PATIENCE)
            .unwrap_or(5 * SECOND),
        username: username.map(|username| username.into_inner().to_owned()),
        password_file,
    };
    section.close();
    upstream
}

fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let host_is_fine = match host.strip_prefix('[') {
        Some(rest) => rest
            .strip_suffix(']')
            .is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()),
        None => {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
        }
    };
    host_is_fine && port.parse::<u16>().is_ok_and(|port| port != 0)
}

/// Whether dialling `to` arrives at a listener bound to `bind`.
fn reaches(to: SocketAddr, bind: SocketAddr) -> bool {
    to == bind || (to.port() == bind.port() && bind.ip().is_unspecified() && to.ip().is_loopback())
}
