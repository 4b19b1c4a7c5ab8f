use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::*;
use crate::kernel::{ActiveBan, KernelBan, PacketCount, VerdictReason};
use crate::types::UnixTime;

const AUTH: Offence = Offence::AuthFailed;
const TEN_MINUTES: Duration = Duration::from_mins(10);

/// A kernel that remembers, and that can be told to refuse.
#[derive(Default)]
struct Recorder {
    bans: Mutex<HashMap<Prefix, ActiveBan>>,
    allowlist: Mutex<Vec<Prefix>>,
    refuses: AtomicBool,
    /// The standing of each target while the kernel was told of its ban.
    seen: Mutex<Vec<Standing>>,
    board: OnceLock<Arc<Board>>,
}

impl Recorder {
    fn answer<T>(&self, value: T) -> Result<T, KernelError> {
        if self.refuses.load(Ordering::SeqCst) {
            Err(refusal())
        } else {
            Ok(value)
        }
    }

    fn holds(&self, target: &str) -> Option<ActiveBan> {
        self.bans.lock().unwrap().get(&prefix(target)).copied()
    }
}

fn refusal() -> KernelError {
    KernelError::Full { map: "ft_ban4" }
}

impl Blocklist for Recorder {
    fn ban(&self, ban: &KernelBan) -> Result<(), KernelError> {
        self.answer(())?;
        if let Some(board) = self.board.get() {
            let standing = board.view.load().standing(ban.target.base());
            self.seen.lock().unwrap().push(standing);
        }
        let active = ActiveBan {
            target: ban.target,
            id: ban.id,
            reason: ban.reason,
            remaining: ban.remaining,
            dropped: PacketCount {
                packets: 3,
                bytes: 180,
            },
        };
        self.bans.lock().unwrap().insert(ban.target, active);
        Ok(())
    }

    fn lift(&self, target: Prefix) -> Result<bool, KernelError> {
        self.answer(())?;
        Ok(self.bans.lock().unwrap().remove(&target).is_some())
    }

    fn bans(&self) -> Result<Vec<ActiveBan>, KernelError> {
        self.answer(self.bans.lock().unwrap().values().copied().collect())
    }

    fn set_allowlist(&self, prefixes: &[Prefix]) -> Result<(), KernelError> {
        self.answer(())?;
        *self.allowlist.lock().unwrap() = prefixes.to_vec();
        Ok(())
    }

    fn counters(&self) -> Result<Vec<(VerdictReason, PacketCount)>, KernelError> {
        self.answer(Vec::new())
    }
}

struct SetClock(AtomicU64);

impl Clock for SetClock {
    fn now(&self) -> UnixTime {
        UnixTime(self.0.load(Ordering::SeqCst))
    }
}

/// One machine: what outlives a gateway process.
struct Machine {
    dir: TempDir,
    kernel: Arc<Recorder>,
    clock: Arc<SetClock>,
    rules: Vec<Rule>,
    allowlist: Vec<Prefix>,
}

impl Machine {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            kernel: Arc::default(),
            clock: Arc::new(SetClock(AtomicU64::new(1_767_225_600))),
            rules: vec![Rule::default()],
            allowlist: Vec::new(),
        }
    }

    fn settings(&self) -> BansSettings {
        BansSettings {
            state_dir: self.dir.path().to_owned(),
            rules: self.rules.clone(),
            allowlist: self.allowlist.clone(),
        }
    }

    /// Starts a gateway whose task isn't running yet.
    fn try_start(&self) -> Result<(Bans, BansTask), StartError> {
        let kernel = Arc::clone(&self.kernel);
        let clock = Arc::clone(&self.clock);
        Bans::start(self.settings(), kernel, clock, Metrics::new())
    }

    fn start(&self) -> Gateway {
        let (bans, task) = self.try_start().unwrap();
        let stop = CancellationToken::new();
        let running = tokio::spawn(task.run(stop.clone()));
        Gateway {
            bans,
            stop,
            running,
        }
    }

    fn wait(&self, seconds: u64) {
        self.clock.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

struct Gateway {
    bans: Bans,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Gateway {
    async fn stop(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }

    fn offend(&self, address: &str, times: u32) {
        for _ in 0..times {
            self.bans.offence(ip(address), AUTH);
        }
    }

    async fn reaches(&self, address: &str, standing: Standing) {
        eventually(|| self.bans.standing(ip(address)) == standing).await;
    }

    /// Until every report so far has been counted: the queue is first in, first out.
    async fn counted(&self) {
        eventually(|| self.bans.reports.capacity() == self.bans.reports.max_capacity()).await;
        self.bans.list().await.unwrap();
    }

    fn sample(&self, sample: &str) -> bool {
        self.bans
            .metrics
            .encode()
            .contains(&format!("flytrap_{sample}\n"))
    }
}

async fn eventually(mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(2), wait)
        .await
        .unwrap();
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn standing(bans: &Bans, address: &str) -> Standing {
    bans.standing(ip(address))
}

#[tokio::test]
async fn the_sixth_failure_bans_kernel_first_and_the_fifth_does_not() {
    let machine = Machine::new();
    let gateway = machine.start();
    machine
        .kernel
        .board
        .set(Arc::clone(&gateway.bans.board))
        .unwrap();
    gateway.offend("192.0.2.7", 5);
    gateway.offend("192.0.2.8", 5);
    gateway.counted().await;
    assert_eq!(standing(&gateway.bans, "192.0.2.7"), Standing::Welcome);
    assert!(machine.kernel.bans.lock().unwrap().is_empty());

    gateway.offend("192.0.2.7", 1);
    gateway.reaches("192.0.2.7", Standing::Banned).await;
    assert_eq!(*machine.kernel.seen.lock().unwrap(), [Standing::Welcome]);
    let told = machine.kernel.holds("192.0.2.7").unwrap();
    assert_eq!((told.reason, told.remaining), (AUTH.code(), TEN_MINUTES));
    assert_eq!(standing(&gateway.bans, "192.0.2.8"), Standing::Welcome);

    let list = gateway.bans.list().await.unwrap();
    let expected = BanRecord {
        id: told.id,
        target: prefix("192.0.2.7"),
        standing: Standing::Banned,
        reason: Reason::Offence(AUTH),
        note: String::new(),
        placed_by: PlacedBy::Auto,
        repeat: 1,
        since: UnixTime(1_767_225_600),
        until: UnixTime(1_767_226_200),
        dropped: Some(Dropped {
            packets: 3,
            bytes: 180,
        }),
    };
    assert_eq!(list, [expected]);
    eventually(|| gateway.sample("bans_placed_total{by=\"auto\"} 1")).await;
    assert!(gateway.sample("bans 1"));
    assert!(gateway.sample("offences_total{kind=\"auth-failed\"} 11"));
    gateway.stop().await;
}

#[tokio::test]
async fn a_success_in_between_keeps_a_source_welcome() {
    let gateway = Machine::new().start();
    for _ in 0..4 {
        gateway.offend("192.0.2.7", 5);
        drop(gateway.bans.session_opened(ip("192.0.2.7")));
    }
    gateway.counted().await;
    assert_eq!(standing(&gateway.bans, "192.0.2.7"), Standing::Welcome);
    gateway.stop().await;
}

#[tokio::test]
async fn failures_under_way_when_a_source_is_banned_do_not_lengthen_the_ban() {
    let gateway = Machine::new().start();
    gateway.offend("192.0.2.7", 600);
    gateway.reaches("192.0.2.7", Standing::Banned).await;
    gateway.counted().await;
    let list = gateway.bans.list().await.unwrap();
    assert_eq!((list.len(), list[0].repeat), (1, 1));
    gateway.stop().await;
}

#[tokio::test]
async fn an_ipv6_source_is_its_64_and_a_mapped_address_its_ipv4() {
    let gateway = Machine::new().start();
    for host in 0..6 {
        gateway.offend(&format!("2001:db8::{host}"), 1);
    }
    gateway.offend("::ffff:192.0.2.7", 6);
    gateway.reaches("2001:db8::ffff:1", Standing::Banned).await;
    gateway.reaches("192.0.2.7", Standing::Banned).await;
    assert_eq!(
        standing(&gateway.bans, "::ffff:192.0.2.7"),
        Standing::Banned
    );
    assert_eq!(
        standing(&gateway.bans, "2001:db8:0:1::1"),
        Standing::Welcome
    );
    gateway.stop().await;
}

#[tokio::test]
async fn bans_by_hand_name_any_prefix() {
    let machine = Machine::new();
    let gateway = machine.start();
    for target in ["192.0.2.0/24", "2001:db8::1", "2001:db8:1::/48"] {
        let note = "scanner".to_owned();
        let placed = gateway
            .bans
            .add(prefix(target), TEN_MINUTES, note, false)
            .await
            .unwrap();
        assert_eq!(placed.reason, Reason::ByHand);
        assert_eq!(placed.placed_by, PlacedBy::Operator);
        assert_eq!(machine.kernel.holds(target).unwrap().reason, 0);
    }
    for (address, expected) in [
        ("192.0.2.255", Standing::Banned),
        ("192.0.3.0", Standing::Welcome),
        ("2001:db8::1", Standing::Banned),
        ("2001:db8::2", Standing::Welcome),
        ("2001:db8:1:ffff::1", Standing::Banned),
    ] {
        assert_eq!(standing(&gateway.bans, address), expected, "{address}");
    }
    let refused = gateway
        .bans
        .add(
            prefix("192.0.2.1"),
            Duration::from_millis(999),
            String::new(),
            false,
        )
        .await;
    assert_eq!(refused, Err(BanError::Duration));
    gateway.stop().await;
}

#[tokio::test]
async fn a_second_ban_of_a_target_takes_the_place_of_the_first() {
    let machine = Machine::new();
    let gateway = machine.start();
    let target = prefix("192.0.2.7");
    let hour = Duration::from_hours(1);
    let first = gateway.bans.add(target, TEN_MINUTES, String::new(), false);
    let first = first.await.unwrap();
    let second = gateway.bans.add(target, hour, String::new(), false);
    let second = second.await.unwrap();
    assert!(second.id > first.id);
    assert!(gateway.sample("bans 1"));
    gateway.stop().await;
    let gateway = machine.start();
    let list = gateway.bans.list().await.unwrap();
    assert_eq!(list.len(), 1);
    assert_eq!(list[0].until, second.until);
    gateway.stop().await;
}

#[tokio::test]
async fn a_lift_ends_the_ban_everywhere_and_forgets_its_cause() {
    let machine = Machine::new();
    let gateway = machine.start();
    let target = prefix("192.0.2.7");
    gateway.offend("192.0.2.7", 6);
    gateway.reaches("192.0.2.7", Standing::Banned).await;
    let lifted = gateway.bans.lift(target).await.unwrap();
    assert_eq!(lifted.target, target);
    assert_eq!(standing(&gateway.bans, "192.0.2.7"), Standing::Welcome);
    assert_eq!(machine.kernel.holds("192.0.2.7"), None);
    assert!(gateway.sample("bans_lifted_total 1"));
    assert!(gateway.sample("bans 0"));
    let again = gateway.bans.lift(target).await;
    assert_eq!(again, Err(BanError::NotBanned { target }));

    gateway.offend("192.0.2.7", 6);
    gateway.reaches("192.0.2.7", Standing::Banned).await;
    assert_eq!(gateway.bans.list().await.unwrap()[0].repeat, 1);
    gateway.bans.lift(target).await.unwrap();
    gateway.stop().await;

    let gateway = machine.start();
    assert_eq!(gateway.bans.list().await.unwrap(), []);
    gateway.stop().await;
}

#[tokio::test]
async fn the_allowlist_comes_before_every_ban() {
    let mut machine = Machine::new();
    machine.allowlist = vec![prefix("192.0.2.0/24"), prefix("2001:db8::1")];
    let gateway = machine.start();
    assert_eq!(*machine.kernel.allowlist.lock().unwrap(), machine.allowlist);
    gateway.offend("192.0.2.7", 60);
    gateway.offend("::ffff:192.0.2.7", 60);
    gateway.offend("2001:db8::1", 60);
    gateway.counted().await;
    assert_eq!(gateway.bans.list().await.unwrap(), []);

    let add = |target, force| {
        gateway
            .bans
            .add(prefix(target), TEN_MINUTES, String::new(), force)
    };
    for force in [false, true] {
        let refused = add("192.0.2.7", force).await.unwrap_err();
        assert!(matches!(refused, BanError::Allowlisted { .. }), "{refused}");
    }
    let refused = add("192.0.0.0/16", false).await.unwrap_err();
    assert!(
        matches!(refused, BanError::PartlyAllowlisted { .. }),
        "{refused}"
    );
    assert!(machine.kernel.bans.lock().unwrap().is_empty());
    add("192.0.0.0/16", true).await.unwrap();
    assert_eq!(standing(&gateway.bans, "192.0.3.7"), Standing::Banned);
    assert_eq!(standing(&gateway.bans, "192.0.2.7"), Standing::Welcome);

    // Its neighbours in the /64 are charged for themselves only.
    gateway.offend("2001:db8::2", 6);
    gateway.reaches("2001:db8::2", Standing::Banned).await;
    assert_eq!(standing(&gateway.bans, "2001:db8::1"), Standing::Welcome);
    gateway.stop().await;
}

#[tokio::test]
async fn a_target_put_on_the_allowlist_is_lifted_at_start() {
    let mut machine = Machine::new();
    let gateway = machine.start();
    gateway.offend("192.0.2.7", 6);
    gateway.reaches("192.0.2.7", Standing::Banned).await;
    gateway.stop().await;
    machine.allowlist = vec![prefix("192.0.2.0/24")];
    let gateway = machine.start();
    assert_eq!(gateway.bans.list().await.unwrap(), []);
    assert_eq!(machine.kernel.holds("192.0.2.7"), None);
    gateway.stop().await;
    machine.allowlist.clear();
    let gateway = machine.start();
    assert_eq!(
        gateway.bans.list().await.unwrap(),
        [],
        "also gone from disk"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_source_with_a_live_session_is_throttled_instead() {
    let machine = Machine::new();
    let gateway = machine.start();
    let first = gateway.bans.session_opened(ip("2001:db8::1"));
    let second = gateway.bans.session_opened(ip("2001:db8::2"));
    drop(first);
    gateway.offend("2001:db8::3", 6);
    gateway.reaches("2001:db8::1", Standing::Throttled).await;
    assert!(machine.kernel.bans.lock().unwrap().is_empty());
    let list = gateway.bans.list().await.unwrap();
    assert_eq!(list[0].standing, Standing::Throttled);
    eventually(|| gateway.sample("sources_throttled_total 1")).await;
    assert!(gateway.sample("bans 0"));

    // Still offending, but nobody proven there any more: banned, and for longer.
    drop(second);
    gateway.offend("2001:db8::3", 6);
    gateway.reaches("2001:db8::1", Standing::Banned).await;
    let list = gateway.bans.list().await.unwrap();
    assert_eq!((list.len(), list[0].repeat), (1, 2));
    assert!(gateway.sample("bans 1"));
    gateway.stop().await;
}

#[tokio::test]
async fn bans_outlive_a_restart_with_the_time_that_is_left() {
    let machine = Machine::new();
    let gateway = machine.start();
    gateway.offend("192.0.2.7", 6);
    gateway.reaches("192.0.2.7", Standing::Banned).await;
    let before = gateway.bans.list().await.unwrap();
    gateway.stop().await;

    // The kernel lost it meanwhile, as with a reboot.
    machine.kernel.bans.lock().unwrap().clear();
    machine.wait(400);
    let gateway = machine.start();
    assert_eq!(standing(&gateway.bans, "192.0.2.7"), Standing::Banned);
    assert_eq!(gateway.bans.list().await.unwrap(), before);
    let told = machine.kernel.holds("192.0.2.7").unwrap();
    assert_eq!(told.remaining, Duration::from_secs(200));

    let next = gateway
        .bans
        .add(prefix("192.0.2.9"), TEN_MINUTES, String::new(), false)
        .await
        .unwrap();
    assert!(next.id > before[0].id);
    gateway.stop().await;

    machine.wait(200);
    let gateway = machine.start();
    assert_eq!(standing(&gateway.bans, "192.0.2.7"), Standing::Welcome);
    assert_eq!(machine.kernel.holds("192.0.2.7"), None);
    eventually(|| gateway.sample("bans_expired_total 1")).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_wall_clock_set_back_makes_no_ban_longer() {
    let machine = Machine::new();
    let gateway = machine.start();
    gateway.offend("192.0.2.7", 6);
    gateway.reaches("192.0.2.7", Standing::Banned).await;
    gateway.stop().await;
    machine.clock.0.store(0, Ordering::SeqCst);
    let gateway = machine.start();
    assert_eq!(
        machine.kernel.holds("192.0.2.7").unwrap().remaining,
        TEN_MINUTES
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_ban_that_only_the_kernel_knows_is_taken_up() {
    let machine = Machine::new();
    let kernel_ban = |target: &str, id, remaining| {
        let ban = KernelBan {
            target: prefix(target),
            id,
            reason: AUTH.code(),
            remaining,
        };
        machine.kernel.ban(&ban).unwrap();
    };
    kernel_ban("192.0.2.7", 41, TEN_MINUTES);
    kernel_ban("192.0.2.8", 42, Duration::ZERO);
    let gateway = machine.start();
    assert_eq!(standing(&gateway.bans, "192.0.2.7"), Standing::Banned);
    assert_eq!(standing(&gateway.bans, "192.0.2.8"), Standing::Welcome);
    assert_eq!(machine.kernel.holds("192.0.2.8"), None, "freed");
    let adopted = gateway.bans.list().await.unwrap();
    assert_eq!(adopted[0].id, 41);
    assert_eq!(adopted[0].reason, Reason::Offence(AUTH));
    assert!(adopted[0].dropped.is_some());
    let next = gateway
        .bans
        .add(prefix("192.0.2.9"), TEN_MINUTES, String::new(), false)
        .await
        .unwrap();
    assert!(next.id > 41);
    gateway.stop().await;

    // Now the database has it too, but the kernel has a later one.
    kernel_ban("192.0.2.7", 90, Duration::from_hours(1));
    let gateway = machine.start();
    let list = gateway.bans.list().await.unwrap();
    let own: Vec<_> = list
        .iter()
        .filter(|b| b.target == prefix("192.0.2.7"))
        .collect();
    assert_eq!(own.len(), 1);
    assert_eq!((own[0].id, own[0].until.since(own[0].since)), (90, 3600));
    gateway.stop().await;
}

#[tokio::test]
async fn a_ban_ends_by_itself() {
    let mut machine = Machine::new();
    machine.rules[0].ban = Duration::from_secs(1);
    let gateway = machine.start();
    gateway.offend("192.0.2.7", 6);
    eventually(|| gateway.sample("bans_expired_total 1")).await;
    assert!(gateway.sample("bans_placed_total{by=\"auto\"} 1"));
    assert_eq!(standing(&gateway.bans, "192.0.2.7"), Standing::Welcome);
    assert_eq!(machine.kernel.holds("192.0.2.7"), None);
    assert!(gateway.sample("bans 0"));
    gateway.stop().await;
}

#[test]
fn a_ban_ends_at_its_deadline_and_not_before() {
    let machine = Machine::new();
    let (bans, task) = machine.try_start().unwrap();
    let mut keeper = task.keeper;
    let begin = Duration::from_secs(5);
    for _ in 0..6 {
        keeper.report(Report::Offence(ip("192.0.2.7"), AUTH), begin);
    }
    assert!(machine.kernel.holds("192.0.2.7").is_some());
    assert_eq!(
        standing(&bans, "192.0.2.7"),
        Standing::Welcome,
        "kernel before view"
    );
    keeper.flush();
    assert_eq!(standing(&bans, "192.0.2.7"), Standing::Banned);
    let just_before = begin + Duration::from_millis(599_999);
    let end = begin + TEN_MINUTES;
    assert_eq!(keeper.next_deadline(), Some(end));
    keeper.expire(just_before);
    keeper.flush();
    assert_eq!(standing(&bans, "192.0.2.7"), Standing::Banned);
    keeper.expire(end);
    keeper.flush();
    assert_eq!(standing(&bans, "192.0.2.7"), Standing::Welcome);
    assert_eq!(keeper.next_deadline(), None);
    keeper.close();
}

#[tokio::test]
async fn a_ban_that_the_kernel_refuses_holds_at_accept_and_says_so() {
    let machine = Machine::new();
    let gateway = machine.start();
    machine.kernel.refuses.store(true, Ordering::SeqCst);
    gateway.offend("192.0.2.7", 6);
    gateway.reaches("192.0.2.7", Standing::Banned).await;
    assert!(gateway.sample("kernel_errors_total{request=\"ban\"} 1"));
    let list = gateway.bans.list().await.unwrap();
    assert_eq!((list.len(), list[0].dropped), (1, None));
    assert!(gateway.sample("kernel_errors_total{request=\"list\"} 1"));

    let refused = gateway.bans.lift(prefix("192.0.2.7")).await.unwrap_err();
    assert!(matches!(refused, BanError::Kernel { .. }), "{refused}");
    assert_eq!(standing(&gateway.bans, "192.0.2.7"), Standing::Banned);
    gateway.stop().await;

    let refused = machine.try_start().err().unwrap();
    assert!(matches!(refused, StartError::Allowlist(_)), "{refused}");
}

#[tokio::test]
async fn a_flood_of_offences_is_dropped_and_counted_and_never_waits() {
    let machine = Machine::new();
    let (bans, task) = machine.try_start().unwrap();
    for n in 0..REPORTS + 10 {
        let address = std::net::Ipv4Addr::from_bits(u32::try_from(n).unwrap());
        bans.offence(address.into(), AUTH);
    }
    assert_eq!(bans.metrics.snapshot().offence_queue_drops, 10);
    // Without handles the task ends by itself.
    drop(bans);
    task.run(CancellationToken::new()).await;
}

#[tokio::test]
async fn a_stuck_disk_delays_no_ban() {
    let machine = Machine::new();
    let (bans, mut task) = machine.try_start().unwrap();
    let (release, stuck) = std::sync::mpsc::channel::<()>();
    let busy = store::Change::Remove(prefix("192.0.2.1"));
    let stall = Box::new(move |_: Result<(), &str>| {
        let _ = stuck.recv();
    });
    task.keeper.effects.push((Some(busy), stall));
    task.keeper.flush();
    let stop = CancellationToken::new();
    let running = tokio::spawn(task.run(stop.clone()));
    let gateway = Gateway {
        bans,
        stop,
        running,
    };
    gateway.offend("192.0.2.7", 6);
    gateway.reaches("192.0.2.7", Standing::Banned).await;
    assert!(machine.kernel.holds("192.0.2.7").is_some());
    assert!(
        !gateway.sample("bans_placed_total{by=\"auto\"} 1"),
        "not on disk yet"
    );
    drop(release);
    eventually(|| gateway.sample("bans_placed_total{by=\"auto\"} 1")).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_failing_disk_is_told_and_the_ban_holds() {
    let machine = Machine::new();
    machine.start().stop().await;
    sql(
        &database(&machine),
        "CREATE TRIGGER full BEFORE INSERT ON bans
         BEGIN SELECT RAISE(ABORT, 'no room on the disk'); END",
    );
    let gateway = machine.start();
    let added = gateway
        .bans
        .add(prefix("192.0.2.7"), TEN_MINUTES, String::new(), false)
        .await;
    assert!(
        added
            .as_ref()
            .is_err_and(|error| error.to_string().contains("no room on the disk")),
        "{added:?}"
    );
    assert_eq!(standing(&gateway.bans, "192.0.2.7"), Standing::Banned);
    assert_eq!(gateway.bans.metrics.snapshot().bans_not_saved, 1);
    gateway.stop().await;
}

#[tokio::test]
async fn a_stopped_gateway_says_so() {
    let gateway = Machine::new().start();
    let bans = gateway.bans.clone();
    gateway.stop().await;
    assert_eq!(bans.list().await, Err(BanError::Stopped));
    bans.offence(ip("192.0.2.7"), AUTH);
}

fn start_error(machine: &Machine) -> String {
    machine.try_start().err().unwrap().to_string()
}

fn database(machine: &Machine) -> PathBuf {
    machine.dir.path().join("bans.db")
}

fn sql(path: &Path, statement: &str) {
    rusqlite::Connection::open(path)
        .unwrap()
        .execute_batch(statement)
        .unwrap();
}

#[test]
fn databases_that_cannot_be_used_are_told_at_start() {
    let garbage = Machine::new();
    std::fs::write(database(&garbage), "no database at all".repeat(100)).unwrap();
    assert!(start_error(&garbage).contains("is damaged"));

    let newer = Machine::new();
    sql(&database(&newer), "PRAGMA user_version = 7");
    assert!(start_error(&newer).contains("layout 7"));

    let row = Machine::new();
    let (bans, task) = row.try_start().unwrap();
    assert!(start_error(&row).contains("in use"));
    task.keeper.close();
    drop(bans);
    sql(
        &database(&row),
        "INSERT INTO bans VALUES (1, '192.0.2.999', 'auth-failed', '', 0, 1, 0, 1)",
    );
    assert!(start_error(&row).contains("192.0.2.999"));

    let nowhere = Machine::new();
    std::fs::create_dir(database(&nowhere)).unwrap();
    assert!(start_error(&nowhere).contains("can't be used"));
}
