//! The numbers the gateway counts, in the text form of `OpenMetrics`.
//!
//! Labels come from closed sets of words only: never an address, client, wallet or topic, of
//! which a stranger could invent any number.

mod labels;

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};

pub(crate) use self::labels::{
    BY_OPERATOR, BY_RULE, DENY, KERNEL_BAN, KERNEL_LIFT, KERNEL_LIST, LOGIN_OK, PERMIT,
};
pub use self::labels::{ConnectionRefusal, RefusalKind};
use self::labels::{DECISIONS, KERNEL_REQUESTS, drops};
use crate::offence::Offence;

/// Counters of one family, told apart by one label.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    key: &'static str,
    family: Family<[(&'static str, &'static str); 1], Counter>,
}

impl Counters {
    fn new(key: &'static str, values: impl IntoIterator<Item = &'static str>) -> Self {
        let family = Family::default();
        let counters = Self { key, family };
        // Seen as 0 from the start: an alert on a rate needs the value before the first event.
        for value in values {
            counters.add(value, 0);
        }
        counters
    }

    pub(crate) fn add(&self, value: &'static str, n: u64) {
        self.family.get_or_create(&[(self.key, value)]).inc_by(n);
    }

    pub(crate) fn inc(&self, value: &'static str) {
        self.add(value, 1);
    }

    fn get(&self, value: &'static str) -> u64 {
        self.family
            .get(&[(self.key, value)])
            .map_or(0, |counter| counter.get())
    }
}

/// All counters and gauges; clones are the same ones.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

struct Inner {
    registry: Registry,
    fields: Fields,
}

pub(crate) struct Fields {
    pub(crate) connections_accepted: Counter,
    pub(crate) connections_refused: Counters,
    pub(crate) tls_handshakes_failed: Counter,
    pub(crate) logins: Counters,
    pub(crate) sessions: Gauge,
    pub(crate) publishes: Counters,
    pub(crate) subscriptions: Counters,
    pub(crate) deliveries: Counters,
    pub(crate) wills_denied: Counter,
    pub(crate) malformed_packets: Counter,
    pub(crate) upstream_failures: Counter,
    pub(crate) offences: Counters,
    pub(crate) offence_queue_drops: Counter,
    pub(crate) bans: Gauge,
    pub(crate) bans_placed: Counters,
    pub(crate) bans_lifted: Counter,
    pub(crate) bans_expired: Counter,
    pub(crate) bans_evicted: Counter,
    pub(crate) bans_not_placed: Counter,
    pub(crate) bans_not_saved: Counter,
    pub(crate) sources_throttled: Counter,
    pub(crate) kernel_errors: Counters,
    pub(crate) kernel_drop_events: Counters,
    pub(crate) log_lines_suppressed: Counter,
    pub(crate) country_database_built: Gauge,
}

/// Registers metrics as it hands them out.
struct Register(Registry);

impl Register {
    fn metric<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.0.register(name, help, metric.clone());
        metric
    }

    fn counter(&mut self, name: &str, help: &str) -> Counter {
        self.metric(name, help, Counter::default())
    }

    fn gauge(&mut self, name: &str, help: &str) -> Gauge {
        self.metric(name, help, Gauge::default())
    }

    fn family(
        &mut self,
        name: &str,
        help: &str,
        key: &'static str,
        values: impl IntoIterator<Item = &'static str>,
    ) -> Counters {
        let counters = Counters::new(key, values);
        self.0.register(name, help, counters.family.clone());
        counters
    }
}

impl Default for Metrics {
    #[expect(clippy::too_many_lines, reason = "a list of what there is")]
    fn default() -> Self {
        let mut r = Register(Registry::with_prefix("flytrap"));
        let fields = Fields {
            connections_accepted: r.counter(
                "connections_accepted",
                "Downstream connections that were let in",
            ),
            connections_refused: r.family(
                "connections_refused",
                "Downstream connections closed at accept, by reason",
                "reason",
                ConnectionRefusal::ALL.map(ConnectionRefusal::as_str),
            ),
            tls_handshakes_failed: r.counter(
                "tls_handshakes_failed",
                "Downstream TLS handshakes that didn't complete",
            ),
            logins: r.family(
                "logins",
                "CONNECT packets answered, by result",
                "result",
                RefusalKind::ALL
                    .map(RefusalKind::as_str)
                    .into_iter()
                    .chain([LOGIN_OK]),
            ),
            sessions: r.gauge("sessions", "MQTT sessions that are logged in now"),
            publishes: r.family(
                "publishes",
                "Messages clients asked to publish, by decision",
                "decision",
                DECISIONS,
            ),
            subscriptions: r.family(
                "subscriptions",
                "Topic filters clients asked to subscribe to, by decision",
                "decision",
                DECISIONS,
            ),
            deliveries: r.family(
                "deliveries",
                "Messages of the broker to clients, by decision",
                "decision",
                DECISIONS,
            ),
            wills_denied: r.counter("wills_denied", "Wills clients may not leave"),
            malformed_packets: r.counter(
                "malformed_packets",
                "Packets of clients that broke a rule of MQTT",
            ),
            upstream_failures: r
                .counter("upstream_failures", "Connections to the broker that failed"),
            offences: r.family(
                "offences",
                "Offences of sources, by kind",
                "kind",
                Offence::ALL.map(Offence::as_str),
            ),
            offence_queue_drops: r.counter(
                "offence_queue_drops",
                "Offences and successful logins not counted because too many came at once",
            ),
            bans: r.gauge("bans", "Bans in force now"),
            bans_placed: r.family(
                "bans_placed",
                "Bans that were placed, by who placed them",
                "by",
                [BY_RULE, BY_OPERATOR],
            ),
            bans_lifted: r.counter("bans_lifted", "Bans that an operator ended"),
            bans_expired: r.counter("bans_expired", "Bans that ended by themselves"),
            bans_evicted: r.counter(
                "bans_evicted",
                "Bans that ended before their time, to make room for others",
            ),
            bans_not_placed: r.counter(
                "bans_not_placed",
                "Throttlings that were due and found no room",
            ),
            bans_not_saved: r.counter(
                "bans_not_saved",
                "Changes of bans that the database didn't take",
            ),
            sources_throttled: r.counter(
                "sources_throttled",
                "Sources throttled rather than banned, for a live session of theirs",
            ),
            kernel_errors: r.family(
                "kernel_errors",
                "Requests the kernel refused, by request",
                "request",
                KERNEL_REQUESTS,
            ),
            kernel_drop_events: r.family(
                "kernel_drop_events",
                "Sampled events of packets the kernel dropped, by reason",
                "reason",
                drops(),
            ),
            log_lines_suppressed: r.counter(
                "log_lines_suppressed",
                "Log lines left out because too many of their kind came at once",
            ),
            country_database_built: r.gauge(
                "country_database_built_timestamp_seconds",
                "When the country database in force was made, since 1970; 0 without one",
            ),
        };
        Self(Arc::new(Inner {
            registry: r.0,
            fields,
        }))
    }
}

/// How much traffic the kernel gave a verdict, since its maps were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelCount {
    /// The verdict, one of a closed set.
    pub verdict: &'static str,
    /// Packets.
    pub packets: u64,
    /// Bytes, link-layer headers included.
    pub bytes: u64,
}

/// The kernel counts for itself, so its numbers are read when somebody asks. What can't be read is
/// left out: a 0 would look like a restart.
fn kernel_registry(counts: &[KernelCount]) -> Registry {
    let mut r = Register(Registry::with_prefix("flytrap"));
    if !counts.is_empty() {
        let packets = "Packets that the kernel program judged, by verdict";
        let packets = r.family("xdp_packets", packets, "verdict", []);
        let bytes = "Bytes of the packets that the kernel program judged, by verdict";
        let bytes = r.family("xdp_bytes", bytes, "verdict", []);
        for count in counts {
            packets.add(count.verdict, count.packets);
            bytes.add(count.verdict, count.bytes);
        }
    }
    r.0
}

/// The counts that `flytrap status` shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "each is the metric of its name")]
pub struct MetricsSnapshot {
    pub connections_accepted: u64,
    pub sessions: u64,
    pub logins_ok: u64,
    pub logins_auth_failed: u64,
    pub publishes_permitted: u64,
    pub publishes_denied: u64,
    pub subscriptions_permitted: u64,
    pub subscriptions_denied: u64,
    pub deliveries_permitted: u64,
    pub deliveries_denied: u64,
    pub malformed_packets: u64,
    pub upstream_failures: u64,
    pub bans: u64,
    pub bans_evicted: u64,
    pub bans_not_saved: u64,
    pub kernel_errors: u64,
    pub offence_queue_drops: u64,
}

impl Metrics {
    /// All metrics at zero, in a registry of their own.
    pub fn new() -> Self {
        Self::default()
    }

    /// All metrics, as `application/openmetrics-text; version=1.0.0; charset=utf-8`.
    pub fn encode(&self) -> String {
        self.encode_with(&[])
    }

    /// All metrics, and the kernel's counts as they are now.
    pub fn encode_with(&self, kernel: &[KernelCount]) -> String {
        let mut out = String::new();
        // Only a writer can fail, and a String doesn't.
        let _ = text::encode_registry(&mut out, &self.0.registry)
            .and_then(|()| text::encode_registry(&mut out, &kernel_registry(kernel)))
            .and_then(|()| text::encode_eof(&mut out));
        out
    }

    /// The counts for `status`.
    pub fn snapshot(&self) -> MetricsSnapshot {
        let now = self.fields();
        let gauge = |gauge: &Gauge| u64::try_from(gauge.get()).unwrap_or(0);
        MetricsSnapshot {
            connections_accepted: now.connections_accepted.get(),
            sessions: gauge(&now.sessions),
            logins_ok: now.logins.get(LOGIN_OK),
            logins_auth_failed: now.logins.get(RefusalKind::AuthFailed.as_str()),
            publishes_permitted: now.publishes.get(PERMIT),
            publishes_denied: now.publishes.get(DENY),
            subscriptions_permitted: now.subscriptions.get(PERMIT),
            subscriptions_denied: now.subscriptions.get(DENY),
            deliveries_permitted: now.deliveries.get(PERMIT),
            deliveries_denied: now.deliveries.get(DENY),
            malformed_packets: now.malformed_packets.get(),
            upstream_failures: now.upstream_failures.get(),
            bans: gauge(&now.bans),
            bans_evicted: now.bans_evicted.get(),
            bans_not_saved: now.bans_not_saved.get(),
            kernel_errors: KERNEL_REQUESTS
                .map(|request| now.kernel_errors.get(request))
                .iter()
                .sum(),
            offence_queue_drops: now.offence_queue_drops.get(),
        }
    }

    /// The country database in force was made so many seconds after 1970.
    pub fn country_database_built(&self, seconds: i64) {
        self.fields().country_database_built.set(seconds);
    }

    /// A session begins. It counts for as long as the answer lives, however its task ends.
    pub fn session(&self) -> SessionGuard {
        self.fields().sessions.inc();
        SessionGuard(self.clone())
    }

    /// A connection passed accept.
    pub fn connection_accepted(&self) {
        self.fields().connections_accepted.inc();
    }

    /// `n` more messages of a session were passed to the broker. Sessions add them in batches.
    pub fn publishes_permitted(&self, n: u64) {
        self.fields().publishes.add(PERMIT, n);
    }

    /// `n` more topic filters were passed to the broker.
    pub fn subscriptions_permitted(&self, n: u64) {
        self.fields().subscriptions.add(PERMIT, n);
    }

    /// `n` more messages were passed to a client. Sessions add them in batches.
    pub fn deliveries_permitted(&self, n: u64) {
        self.fields().deliveries.add(PERMIT, n);
    }

    pub(crate) fn fields(&self) -> &Fields {
        &self.0.fields
    }
}

/// One session in the gauge of sessions.
#[derive(Debug)]
#[must_use = "the session counts as ended when this is dropped"]
pub struct SessionGuard(Metrics);

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.0.fields().sessions.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exposition_is_complete_and_prefixed() {
        let metrics = Metrics::new();
        metrics.publishes_permitted(3);
        metrics.clone().publishes_permitted(4);
        let kernel = [("pass", 5, 500), ("drop_by_hand", 0, 0)];
        let text = metrics.encode_with(&kernel.map(|(verdict, packets, bytes)| KernelCount {
            verdict,
            packets,
            bytes,
        }));
        assert!(
            text.contains("flytrap_publishes_total{decision=\"permit\"} 7\n"),
            "{text}"
        );
        assert!(
            text.contains("flytrap_publishes_total{decision=\"deny\"} 0\n"),
            "{text}"
        );
        assert!(
            text.contains("flytrap_offences_total{kind=\"auth-failed\"} 0\n"),
            "{text}"
        );
        for seen_from_the_start in [
            "flytrap_connections_refused_total{reason=\"address-limit\"} 0\n",
            "flytrap_logins_total{result=\"ok\"} 0\n",
            "flytrap_logins_total{result=\"unavailable\"} 0\n",
            "flytrap_kernel_drop_events_total{reason=\"drop_by_hand\"} 0\n",
            "flytrap_xdp_packets_total{verdict=\"pass\"} 5\n",
            "flytrap_xdp_packets_total{verdict=\"drop_by_hand\"} 0\n",
            "flytrap_xdp_bytes_total{verdict=\"pass\"} 500\n",
        ] {
            assert!(text.contains(seen_from_the_start), "{text}");
        }
        assert!(text.ends_with("# EOF\n"));
        let names = |kind: &str| -> Vec<String> {
            text.lines()
                .filter_map(|line| line.strip_prefix(kind))
                .map(|line| line.split(' ').next().unwrap().to_owned())
                .collect()
        };
        assert_eq!(names("# TYPE "), names("# HELP "));
        assert!(names("# TYPE ").len() > 20);
        assert!(
            names("# TYPE ")
                .iter()
                .all(|name| name.starts_with("flytrap_"))
        );
        assert!(!metrics.encode().contains("flytrap_xdp"));
        for forbidden in [
            "peer=", "address=", "client=", "wallet=", "topic=", "target=",
        ] {
            assert!(!text.contains(forbidden), "{forbidden}");
        }
    }

    #[test]
    fn sessions_are_those_that_live_also_after_a_panic() {
        let metrics = Metrics::new();
        let lives = metrics.session();
        let panics = metrics.session();
        assert_eq!(metrics.snapshot().sessions, 2);
        let panicked = std::thread::spawn(move || {
            let _session = panics;
            panic!("a session's task");
        });
        assert!(panicked.join().is_err());
        assert_eq!(metrics.snapshot().sessions, 1);
        drop(lives);
        assert_eq!(metrics.snapshot().sessions, 0);
    }

    #[test]
    fn the_snapshot_reads_the_same_counters() {
        let metrics = Metrics::new();
        assert_eq!(metrics.snapshot(), MetricsSnapshot::default());
        metrics.publishes_permitted(2);
        metrics.deliveries_permitted(5);
        metrics.connection_accepted();
        metrics.fields().kernel_errors.inc(KERNEL_BAN);
        metrics.fields().kernel_errors.inc(KERNEL_LIST);
        let expected = MetricsSnapshot {
            publishes_permitted: 2,
            deliveries_permitted: 5,
            connections_accepted: 1,
            kernel_errors: 2,
            ..MetricsSnapshot::default()
        };
        assert_eq!(metrics.snapshot(), expected);
    }
}
