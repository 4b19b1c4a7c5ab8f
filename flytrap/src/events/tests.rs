use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::metrics::{KERNEL_LIFT, Metrics};
use crate::types::{Asked, UnixTime, Wallet};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What `emit` logs, as JSON.
fn logged(emit: impl FnOnce()) -> Vec<serde_json::Value> {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, emit);
    let bytes = lines.0.lock().unwrap().clone();
    String::from_utf8(bytes)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

const NASTY: &str = "a\nlogin accepted \u{1b}[31m\u{202e}";

type Emit<'a> = Box<dyn Fn() + 'a>;

/// Each event with the sample that it raises to 1.
fn all(metrics: &Metrics) -> Vec<(&'static str, Emit<'_>)> {
    let peer = "192.0.2.7:40000".parse().unwrap();
    let target = "192.0.2.7".parse().unwrap();
    let wallet = Wallet([7; 20]);
    let client_id = NASTY;
    let denied = move |asked| Denied {
        asked,
        wallet,
        client_id,
        text: NASTY,
        reason: &"no grant",
    };
    let until = UnixTime(1_767_225_600);
    let m = metrics;
    macro_rules! events {
        ($($sample:literal => $event:expr),* $(,)?) => {
            vec![$(($sample, Box::new(move || $event.emit(m)) as Emit<'_>)),*]
        };
    }
    events![
        "connections_refused_total{reason=\"banned\"}"
            => ConnectionRefused { peer, reason: ConnectionRefusal::Banned },
        "tls_handshakes_failed_total" => TlsFailed { peer, error: &NASTY },
        "logins_total{result=\"ok\"}"
            => LoginAccepted { peer, wallet, device: None, client_id, version: &"5" },
        "logins_total{result=\"auth-failed\"}"
            => LoginRefused { peer, wallet: None, kind: RefusalKind::AuthFailed, why: &NASTY },
        "malformed_packets_total" => MalformedPacket { peer, rule: &NASTY },
        "upstream_failures_total" => UpstreamFailed { address: &"127.0.0.1:1883", error: &NASTY },
        "publishes_total{decision=\"deny\"}" => denied(Asked::Publish),
        "subscriptions_total{decision=\"deny\"}" => denied(Asked::Subscribe),
        "deliveries_total{decision=\"deny\"}" => denied(Asked::Delivery),
        "wills_denied_total" => denied(Asked::Will),
        "bans_placed_total{by=\"operator\"}" => BanPlaced {
            id: 3, target, reason: &"by-hand", by: "operator", note: NASTY, repeat: 1, until,
        },
        "bans_lifted_total" => BanLifted { id: 3, target, why: "asked for" },
        "bans_evicted_total" => BanEvicted { id: 3, target, until, favoured: target },
        "bans_expired_total" => BanExpired { id: 3, target },
        "kernel_errors_total{request=\"ban\"}" => BanNotInKernel { target, error: &"full" },
        "kernel_errors_total{request=\"lift\"}"
            => KernelRequestFailed { request: KERNEL_LIFT, error: &"gone" },
        "bans_not_placed_total" => BanNotPlaced { target },
        "bans_placed_total{by=\"operator\"}" => BansImported {
            placed: 1, replaced: 0, skipped: 0, evicted: 0, note: NASTY,
        },
        "bans_not_saved_total" => BansNotSaved { error: &"disk full" },
        "bans_not_saved_total" => BanNotSaved { target, error: &"disk full" },
        "sources_throttled_total"
            => SourceThrottled { target, reason: &"auth-failed", until },
        "kernel_drop_events_total{reason=\"drop_by_hand\"}"
            => KernelDrop { source: peer.ip(), ban: 3, reason: flytrap_common::abi::Outcome::DropByHand, sampled: 1024 },
    ]
}

#[test]
fn each_event_is_one_line_and_one_count_and_a_flood_is_not_all_lines() {
    let metrics = Metrics::new();
    let mut counted = std::collections::HashMap::new();
    for (sample, emit) in all(&metrics) {
        *counted.entry(sample).or_insert(0) += 1;
        let lines = logged(&emit);
        assert_eq!(lines.len(), 1, "{sample}");
        let fields = lines[0]["fields"].as_object().unwrap();
        assert!(fields.len() >= 2, "{fields:?}");
        assert!(fields["message"].is_string());
        assert!(!fields.contains_key("suppressed"), "{fields:?}");
        for text in fields.values().filter_map(|value| value.as_str()) {
            assert!(
                !text.contains(|c: char| c.is_control() || c == '\u{202e}'),
                "{text}"
            );
        }
        let expected = format!("flytrap_{sample} {}\n", counted[sample]);
        assert!(metrics.encode().contains(&expected), "{sample}");
    }

    // Budgets are the process's, so this comes behind, not beside.
    let refused = ConnectionRefused {
        peer: "192.0.2.7:40000".parse().unwrap(),
        reason: ConnectionRefusal::AddressLimit,
    };
    let lines = logged(|| (0..20_000).for_each(|_| refused.emit(&metrics)));
    assert!(lines.len() < 10_000, "{}", lines.len());
    let counted = "flytrap_connections_refused_total{reason=\"address-limit\"} 20000\n";
    assert!(metrics.encode().contains(counted));
}

#[test]
fn a_refused_login_names_the_wallet_that_proved_itself() {
    let refused = |wallet| LoginRefused {
        peer: "[2001:db8::1]:40000".parse().unwrap(),
        wallet,
        kind: RefusalKind::NotAdmitted,
        why: &"no grant",
    };
    let metrics = Metrics::new();
    let wallet = Wallet([7; 20]);
    let lines = logged(|| {
        refused(Some(wallet)).emit(&metrics);
        refused(None).emit(&metrics);
    });
    assert_eq!(lines[0]["fields"]["wallet"], wallet.to_string());
    assert!(lines[1]["fields"].get("wallet").is_none());
}

#[test]
fn an_ended_session_says_how_long_it_was() {
    let lines = logged(|| {
        SessionEnded {
            peer: "[2001:db8::1]:40000".parse().unwrap(),
            wallet: Wallet([7; 20]),
            client_id: NASTY,
            cause: &NASTY,
            duration: Duration::from_secs(90),
        }
        .emit();
    });
    assert_eq!(lines[0]["fields"]["seconds"], 90);
}
