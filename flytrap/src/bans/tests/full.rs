//! As many bans as there may be.

use super::*;

const CAPACITY: Capacity = Capacity {
    sources: 2,
    ranges: 1,
    throttled: 1,
};

fn small() -> Machine {
    let mut machine = Machine::new();
    machine.capacity = CAPACITY;
    machine
}

async fn add(gateway: &Gateway, target: &str, minutes: u64) -> BanRecord {
    let duration = Duration::from_mins(minutes);
    let ban = gateway
        .bans
        .add(prefix(target), duration, String::new(), false);
    ban.await.unwrap()
}

async fn targets(gateway: &Gateway) -> Vec<String> {
    let list = gateway.bans.list().await.unwrap();
    let mut targets: Vec<String> = list.iter().map(|ban| ban.target.to_string()).collect();
    targets.sort_unstable();
    targets
}

#[tokio::test]
async fn the_soonest_to_expire_makes_room_and_it_is_told() {
    let machine = small();
    let gateway = machine.start();
    add(&gateway, "192.0.2.1", 30).await;
    add(&gateway, "192.0.2.2", 20).await;
    add(&gateway, "198.51.100.0/24", 10).await;
    assert!(gateway.sample("bans_evicted_total 0"));
    // Prefixes have a table of their own, and the replaced ban needs no room.
    add(&gateway, "192.0.2.2", 25).await;
    assert!(gateway.sample("bans_evicted_total 0"));

    add(&gateway, "192.0.2.3", 40).await;
    assert_eq!(
        targets(&gateway).await,
        ["192.0.2.1", "192.0.2.3", "198.51.100.0/24"]
    );
    assert_eq!(machine.kernel.holds("192.0.2.2"), None);
    assert_eq!(standing(&gateway.bans, "192.0.2.2"), Standing::Welcome);
    assert!(gateway.sample("bans_evicted_total 1"));
    assert!(gateway.sample("bans 3"));

    // By rule, for ten minutes: the new one is placed also where it would itself end first.
    gateway.offend("192.0.2.4", 6);
    gateway.reaches("192.0.2.4", Standing::Banned).await;
    assert_eq!(
        targets(&gateway).await,
        ["192.0.2.3", "192.0.2.4", "198.51.100.0/24"]
    );
    add(&gateway, "203.0.113.0/24", 5).await;
    assert_eq!(
        targets(&gateway).await,
        ["192.0.2.3", "192.0.2.4", "203.0.113.0/24"]
    );
    eventually(|| gateway.sample("bans_evicted_total 3")).await;
    gateway.stop().await;

    let gateway = machine.start();
    assert_eq!(
        targets(&gateway).await,
        ["192.0.2.3", "192.0.2.4", "203.0.113.0/24"],
        "also on disk"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn no_ban_ends_for_a_throttling() {
    let machine = small();
    let gateway = machine.start();
    add(&gateway, "192.0.2.1", 30).await;
    add(&gateway, "192.0.2.2", 20).await;
    let _first = gateway.bans.session_opened(ip("192.0.2.3"));
    let _second = gateway.bans.session_opened(ip("192.0.2.4"));
    gateway.offend("192.0.2.3", 6);
    gateway.reaches("192.0.2.3", Standing::Throttled).await;
    gateway.offend("192.0.2.4", 6);
    eventually(|| gateway.sample("bans_not_placed_total 1")).await;
    assert_eq!(standing(&gateway.bans, "192.0.2.4"), Standing::Welcome);
    assert_eq!(
        targets(&gateway).await,
        ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
    );
    assert!(gateway.sample("bans_evicted_total 0"));
    gateway.stop().await;
}

#[tokio::test]
async fn a_full_table_of_the_kernel_evicts_too() {
    let machine = Machine::new();
    machine.kernel.room.store(2, Ordering::SeqCst);
    let gateway = machine.start();
    add(&gateway, "192.0.2.1", 30).await;
    add(&gateway, "192.0.2.2", 20).await;
    let third = add(&gateway, "192.0.2.3", 40).await;
    assert!(!third.kernel_refused);
    assert_eq!(targets(&gateway).await, ["192.0.2.1", "192.0.2.3"]);
    assert!(machine.kernel.holds("192.0.2.3").is_some());
    assert!(gateway.sample("bans_evicted_total 1"));
    assert!(gateway.sample("kernel_errors_total{request=\"ban\"} 0"));
    gateway.stop().await;
}

#[tokio::test]
async fn a_forced_ban_of_an_allowlisted_source_waits_for_the_allowlist_to_change() {
    let mut machine = Machine::new();
    machine.allowlist = vec![prefix("192.0.2.0/24")];
    let gateway = machine.start();
    let forced = gateway
        .bans
        .add(prefix("192.0.2.7"), TEN_MINUTES, String::new(), true)
        .await
        .unwrap();
    assert_eq!(forced.allowlisted, Some(prefix("192.0.2.0/24")));
    assert_eq!(standing(&gateway.bans, "192.0.2.7"), Standing::Welcome);
    gateway.stop().await;
    let gateway = machine.start();
    let list = gateway.bans.list().await.unwrap();
    assert_eq!(list[0].allowlisted, Some(prefix("192.0.2.0/24")));
    gateway.stop().await;
    machine.allowlist.clear();
    let gateway = machine.start();
    assert_eq!(standing(&gateway.bans, "192.0.2.7"), Standing::Banned);
    gateway.stop().await;
}
