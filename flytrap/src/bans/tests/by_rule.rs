//! Offences, and what becomes of them.

use super::*;

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
        note: Arc::default(),
        placed_by: PlacedBy::Auto,
        repeat: 1,
        since: UnixTime(1_767_225_600),
        until: UnixTime(1_767_226_200),
        kernel_refused: false,
        allowlisted: None,
        dropped: Some(PacketCount {
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
