//! What the control socket can ask and order.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::sync::mpsc::UnboundedReceiver;

use super::countries::Countries;
use super::start::kernel_failure;
use super::xdp::mode_name;
use crate::api::{
    BanRequest, BanView, DropView, GeoAnswer, GeoLine, ImportRequest, ImportView, LedgerView,
    Lifted, ListenerView, PacketTally, PolicyAction, PolicyAnswer, PolicyQuestion, Problem,
    SkippedView, Status, UpstreamView, XdpInterface, XdpState, XdpView,
};
use crate::bans::{BanError, BanRecord, ImportList, Standing};
use crate::config::Config;
use crate::failure::Failure;
use crate::kernel::KernelPlane;
use crate::metrics::KernelCount;
use crate::policy::{Decision, decide};
use crate::proxy::{Surroundings, dial};
use crate::types::{Action, Prefix, Principal, SubscriptionFilter, TopicName, UnixTime};

/// The gateway as its operators see it.
pub(super) struct Control {
    surroundings: Arc<Surroundings>,
    kernel: Option<Kernel>,
    since: UnixTime,
    domain: String,
    listeners: Vec<ListenerView>,
    ledger: String,
    upstream_timeout: Duration,
    upstream_reachable: AtomicBool,
}

/// What there is where XDP is on.
pub(super) struct Kernel {
    pub(super) plane: Arc<KernelPlane>,
    /// None: countries aren't looked at.
    pub(super) countries: Option<Arc<Countries>>,
    /// None: the kernel's reports can't be read.
    pub(super) drops: Option<broadcast::WeakSender<DropView>>,
}

impl Control {
    pub(super) fn new(
        config: &Config,
        bound: &[SocketAddr],
        surroundings: &Arc<Surroundings>,
        kernel: Option<Kernel>,
    ) -> Self {
        let listeners = config
            .listeners
            .iter()
            .zip(bound)
            .map(|(listener, address)| ListenerView {
                address: address.to_string(),
                tls: listener.tls.is_some(),
                danger: listener.danger_tokens_readable_on_the_wire,
            });
        Self {
            surroundings: Arc::clone(surroundings),
            kernel,
            since: surroundings.clock.now(),
            domain: config.gateway.domain.clone(),
            listeners: listeners.collect(),
            ledger: config.ledger.path.display().to_string(),
            upstream_timeout: config.upstream.connect_timeout,
            // It was reached a moment ago, or there would be no gateway.
            upstream_reachable: AtomicBool::new(true),
        }
    }

    /// One line for each way in, and the warnings that `status` repeats.
    pub(super) fn say_ready(&self) {
        for listener in &self.listeners {
            let transport = if listener.tls { "tls" } else { "plain" };
            tracing::info!(address = listener.address, transport, "listening");
        }
        for warning in self.warnings() {
            tracing::warn!("{warning}");
        }
        tracing::info!(domain = self.domain, upstream = %self.surroundings.upstream, "ready");
    }

    fn plane(&self) -> Option<&KernelPlane> {
        Some(&*self.kernel.as_ref()?.plane)
    }

    fn countries(&self) -> Option<&Countries> {
        self.kernel.as_ref()?.countries.as_deref()
    }

    /// From here on the kernel's part outlives a failure.
    pub(super) fn keep_kernel(&self) -> Result<(), Failure> {
        self.plane().map_or(Ok(()), |plane| {
            plane.keep().map_err(|error| kernel_failure(&error))
        })
    }

    /// Takes the program off the interfaces, if the configuration wants that.
    pub(super) fn close_kernel(&self) -> Result<(), Failure> {
        self.plane().map_or(Ok(()), |plane| {
            plane.close().map_err(|error| kernel_failure(&error))
        })
    }

    pub(super) async fn check_upstream(&self) {
        let reached = dial(&self.surroundings.upstream, self.upstream_timeout).await;
        let reachable = reached.is_ok();
        if self.upstream_reachable.swap(reachable, Ordering::Relaxed) != reachable {
            let address = &self.surroundings.upstream;
            if reachable {
                tracing::info!(%address, "the broker can be reached again");
            } else {
                tracing::warn!(%address, "the broker can't be reached: clients are refused");
            }
        }
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for listener in self.listeners.iter().filter(|listener| listener.danger) {
            warnings.push(format!(
                "danger_tokens_readable_on_the_wire: {} has no TLS, whoever is on the way can read \
                 login tokens and use them",
                listener.address
            ));
        }
        match self.plane() {
            None => warnings.push(
                "XDP is off (xdp.interfaces is empty): bans act when a connection is accepted, \
                 not on packets"
                    .to_owned(),
            ),
            Some(plane) => {
                let detached = plane
                    .status()
                    .interfaces
                    .into_iter()
                    .filter(|one| !one.attached);
                warnings.extend(detached.map(|interface| {
                    format!(
                        "{} no longer has the program: restart flytrap",
                        interface.name
                    )
                }));
            }
        }
        let now = self.surroundings.clock.now();
        warnings.extend(
            self.countries()
                .and_then(|countries| countries.warning(now)),
        );
        if !self.upstream_reachable.load(Ordering::Relaxed) {
            warnings.push(format!(
                "the broker at {} can't be reached",
                self.surroundings.upstream
            ));
        }
        warnings
    }

    fn xdp(&self) -> XdpView {
        let Some(plane) = self.plane() else {
            return XdpView {
                state: XdpState::Off,
                interfaces: Vec::new(),
                counters: BTreeMap::new(),
            };
        };
        let status = plane.status();
        let interfaces = status.interfaces.into_iter().map(|interface| XdpInterface {
            name: interface.name,
            mode: mode_name(interface.mode).to_owned(),
            program_id: status.program_id,
        });
        let counters = plane
            .counters()
            .unwrap_or_default()
            .into_iter()
            .map(|(reason, count)| {
                let tally = PacketTally {
                    packets: count.packets,
                    bytes: count.bytes,
                };
                (reason.name().to_owned(), tally)
            });
        XdpView {
            state: XdpState::Attached,
            interfaces: interfaces.collect(),
            counters: counters.collect(),
        }
    }

    fn counters(&self) -> BTreeMap<String, u64> {
        // A struct of numbers is an object of numbers.
        let snapshot = self.surroundings.metrics.snapshot();
        serde_json::to_value(snapshot)
            .and_then(serde_json::from_value)
            .unwrap_or_default()
    }
}

impl crate::api::Control for Control {
    async fn status(&self) -> Result<Status, Problem> {
        let now = self.surroundings.clock.now();
        let snapshot = self.surroundings.mirror.current();
        let counters = self.counters();
        let count = |name| counters.get(name).copied().unwrap_or_default();
        let (sessions, bans) = (count("sessions"), count("bans"));
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            since: self.since,
            uptime_s: now.since(self.since),
            domain: self.domain.clone(),
            listeners: self.listeners.clone(),
            upstream: UpstreamView {
                address: self.surroundings.upstream.to_string(),
                reachable: self.upstream_reachable.load(Ordering::Relaxed),
                sessions,
            },
            ledger: LedgerView {
                kind: "file".to_owned(),
                source: self.ledger.clone(),
                generation: snapshot.generation,
                spaces: snapshot.spaces() as u64,
                grants: snapshot.grants() as u64,
            },
            xdp: self.xdp(),
            geo: self.countries().map(Countries::view),
            sessions,
            bans,
            counters,
            warnings: self.warnings(),
        })
    }

    async fn bans(&self) -> Result<Vec<BanView>, Problem> {
        let records = self
            .surroundings
            .bans
            .list()
            .await
            .map_err(|error| problem(&error))?;
        Ok(records.iter().map(view).collect())
    }

    async fn ban(&self, request: BanRequest) -> Result<BanView, Problem> {
        let duration = Duration::from_secs(request.seconds);
        let note = request.note.unwrap_or_default();
        let bans = &self.surroundings.bans;
        let banned = bans
            .add(request.target, duration, note, request.force)
            .await;
        // What isn't saved is in force all the same; what the allowlist holds isn't.
        let in_force = match &banned {
            Ok(ban) => ban.allowlisted.is_none(),
            Err(error) => matches!(error, BanError::NotSaved { .. }),
        };
        if in_force {
            let ended = self.surroundings.registry.end_all_of(&request.target);
            if ended > 0 {
                tracing::info!(prefix = %request.target, connections = ended, "ended by the ban");
            }
        }
        banned
            .map(|ban| view(&ban))
            .map_err(|error| problem(&error))
    }

    async fn import(&self, request: ImportRequest) -> Result<ImportView, Problem> {
        let begin = std::time::Instant::now();
        let bans = &self.surroundings.bans;
        let list = ImportList {
            targets: request.targets,
            duration: Duration::from_secs(request.seconds),
            note: request.note.unwrap_or_default().into(),
            force: request.force,
        };
        let imported = bans.import(list).await;
        if matches!(imported, Ok(_) | Err(BanError::ListNotSaved { .. })) {
            let banned = |address| bans.standing(address) == Standing::Banned;
            let ended = self.surroundings.registry.end_where(banned);
            if ended > 0 {
                tracing::info!(connections = ended, "ended by a list of bans");
            }
        }
        let imported = imported.map_err(|error| problem(&error))?;
        let skipped = imported.skipped_first.into_iter();
        Ok(ImportView {
            imported: imported.placed,
            replaced: imported.replaced,
            merged: imported.merged,
            skipped: imported.skipped,
            skipped_first: skipped
                .map(|(target, allowed)| SkippedView { target, allowed })
                .collect(),
            evicted: imported.evicted,
            kernel_refused: imported.kernel_refused,
            seconds_to_force: imported.took.as_secs_f64(),
            seconds: begin.elapsed().as_secs_f64(),
        })
    }

    async fn lift(&self, target: Prefix) -> Result<Lifted, Problem> {
        self.surroundings
            .bans
            .lift(target)
            .await
            .map_err(|error| problem(&error))?;
        Ok(Lifted { target })
    }

    async fn check(&self, question: PolicyQuestion) -> Result<PolicyAnswer, Problem> {
        let not_a_topic = |error: crate::types::BadTopic| {
            Problem::bad_request(
                error.to_string(),
                "see section 4.7 of the MQTT specification",
            )
        };
        let action = match &question.action {
            PolicyAction::Publish(topic) => {
                Action::Publish(TopicName::new(topic).map_err(not_a_topic)?)
            }
            PolicyAction::Receive(topic) => {
                Action::Receive(TopicName::new(topic).map_err(not_a_topic)?)
            }
            PolicyAction::Subscribe(filter) => {
                Action::Subscribe(SubscriptionFilter::new(filter).map_err(not_a_topic)?.filter)
            }
        };
        let snapshot = self.surroundings.mirror.current();
        let principal = Principal {
            wallet: question.wallet,
            device: None,
            client_id: String::new(),
        };
        let decision = decide(&snapshot, &principal, action, self.surroundings.clock.now());
        let (permit, reason, sentence, until) = match decision {
            Decision::Permit { why, until } => (true, why.as_str(), why.to_string(), until),
            Decision::Deny { reason } => (false, reason.as_str(), reason.to_string(), None),
        };
        let reason = reason.to_owned();
        Ok(PolicyAnswer {
            permit,
            reason,
            sentence,
            until,
            generation: snapshot.generation,
        })
    }

    fn drops(&self) -> Result<broadcast::Receiver<DropView>, Problem> {
        let drops = self
            .kernel
            .as_ref()
            .and_then(|kernel| kernel.drops.as_ref());
        let Some(drops) = drops else {
            let help = "name the interfaces in [xdp] and restart";
            return Err(Problem::unavailable(
                "XDP is off: the kernel drops nothing",
                help,
            ));
        };
        // The task that reads the ring has the sender, and ends with what ails it in the log.
        let drops = drops.upgrade().ok_or_else(|| {
            let help = "see the log of the gateway; counters and bans don't depend on it";
            Problem::unavailable("the kernel's reports can't be read any more", help)
        })?;
        Ok(drops.subscribe())
    }

    fn update_countries(&self, database: Vec<u8>) -> Result<UnboundedReceiver<GeoLine>, Problem> {
        let kernel = self.kernel.as_ref();
        let of = |kernel: &'_ Kernel| {
            Some((
                Arc::clone(kernel.countries.as_ref()?),
                Arc::clone(&kernel.plane),
            ))
        };
        let (countries, plane) = kernel.and_then(of).ok_or_else(no_countries)?;
        countries.update(&plane, database)
    }

    fn country(&self, address: IpAddr) -> Result<GeoAnswer, Problem> {
        let countries = self.countries().ok_or_else(no_countries)?;
        Ok(countries.lookup(address))
    }

    fn metrics(&self) -> String {
        let counters = self.plane().map(KernelPlane::counters);
        let counters = match counters.transpose() {
            Ok(counters) => counters.unwrap_or_default(),
            Err(error) => {
                tracing::warn!(%error, "the kernel's counters can't be read");
                Vec::new()
            }
        };
        let kernel = counters.iter().map(|(verdict, count)| KernelCount {
            verdict: verdict.name(),
            packets: count.packets,
            bytes: count.bytes,
        });
        let kernel: Vec<_> = kernel.collect();
        self.surroundings.metrics.encode_with(&kernel)
    }
}

fn no_countries() -> Problem {
    Problem::conflict(
        "no database of countries is configured",
        "name one as geo.database and restart: its format is MaxMind's, its name ends in .mmdb",
    )
}

fn view(record: &BanRecord) -> BanView {
    BanView {
        id: record.id,
        target: record.target,
        standing: record.standing.as_str().to_owned(),
        kernel_refused: record.kernel_refused,
        allowlisted: record.allowlisted,
        reason: record.reason.to_string(),
        since: record.since,
        until: record.until,
        dropped: record.dropped.map(|dropped| PacketTally {
            packets: dropped.packets,
            bytes: dropped.bytes,
        }),
        note: (!record.note.is_empty()).then(|| record.note.to_string()),
    }
}

fn problem(error: &BanError) -> Problem {
    let detail = error.to_string();
    match error {
        BanError::Allowlisted { .. } => Problem::conflict(
            detail,
            "change defence.allowlist and restart, or add --force to note the ban all the same",
        ),
        BanError::PartlyAllowlisted { .. } => Problem::conflict(detail, "add --force"),
        BanError::Duration => Problem::bad_request(detail, "give a duration like 10m, 24h or 30d"),
        BanError::NotBanned { .. } => Problem::not_found(detail, "see `flytrap ban list`"),
        BanError::NotSaved { .. } | BanError::ListNotSaved { .. } => {
            Problem::unavailable(detail, "make room in gateway.state_dir and try again")
        }
        BanError::Kernel { .. } => Problem::unavailable(detail, "see the log of the gateway"),
        BanError::Stopped => Problem::unavailable(detail, "wait until it runs again"),
    }
}
