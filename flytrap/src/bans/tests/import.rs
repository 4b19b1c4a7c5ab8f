//! Whole lists.

use super::*;

fn list(targets: impl IntoIterator<Item = Prefix>) -> ImportList {
    ImportList {
        targets: targets.into_iter().collect(),
        duration: Duration::from_hours(24),
        note: "from a list".into(),
        force: false,
    }
}

fn numbered(count: u32) -> impl Iterator<Item = Prefix> {
    let address = |n: u32| std::net::Ipv4Addr::from_bits(0x0a00_0000 + n);
    (0..count).map(move |n| Prefix::of_source(address(n).into()))
}

#[tokio::test]
async fn a_list_is_as_many_bans_by_hand() {
    let mut machine = Machine::new();
    machine.allowlist = vec![prefix("198.51.100.7")];
    let gateway = machine.start();
    gateway
        .bans
        .add(prefix("10.0.0.1"), TEN_MINUTES, String::new(), false)
        .await
        .unwrap();
    let others = [
        "198.51.100.0/24",
        "198.51.100.7",
        "2001:db8::/32",
        "10.0.0.2",
    ];
    // More than one piece.
    let targets = numbered(10_000).chain(others.map(prefix));
    let imported = gateway.bans.import(list(targets)).await.unwrap();
    assert_eq!((imported.placed, imported.replaced), (10_001, 1));
    assert_eq!((imported.merged, imported.skipped), (1, 2));
    assert_eq!((imported.evicted, imported.kernel_refused), (0, 0));
    let mut skipped = imported.skipped_first;
    skipped.sort_unstable();
    let allowed = prefix("198.51.100.7");
    assert_eq!(
        skipped,
        [(prefix("198.51.100.0/24"), allowed), (allowed, allowed)]
    );
    assert!(gateway.sample("bans 10001"));
    assert!(gateway.sample("bans_placed_total{by=\"operator\"} 10002"));
    for address in ["10.0.39.15", "2001:db8::1"] {
        assert_eq!(standing(&gateway.bans, address), Standing::Banned);
        assert!(machine.kernel.holds("10.0.39.15").is_some());
    }
    assert_eq!(standing(&gateway.bans, "198.51.100.8"), Standing::Welcome);

    let forced = ImportList {
        force: true,
        ..list([prefix("198.51.100.0/24")])
    };
    assert_eq!(gateway.bans.import(forced).await.unwrap().placed, 1);
    assert_eq!(standing(&gateway.bans, "198.51.100.8"), Standing::Banned);
    assert_eq!(standing(&gateway.bans, "198.51.100.7"), Standing::Welcome);
    gateway.stop().await;

    machine.kernel.bans.lock().unwrap().clear();
    let gateway = machine.start();
    let saved = gateway.bans.list().await.unwrap();
    assert_eq!(saved.len(), 10_002);
    assert!(saved.iter().all(|ban| &*ban.note == "from a list"));
    assert!(machine.kernel.holds("10.0.39.15").is_some());
    gateway.stop().await;
}

#[tokio::test]
async fn nothing_waits_for_a_whole_list() {
    let machine = Machine::new();
    let gateway = machine.start();
    let bans = gateway.bans.clone();
    let import = tokio::spawn(async move { bans.import(list(numbered(50_000))).await });
    eventually(|| standing(&gateway.bans, "10.0.0.1") == Standing::Banned || import.is_finished())
        .await;
    gateway.offend("192.0.2.7", 6);
    gateway.reaches("192.0.2.7", Standing::Banned).await;
    gateway.bans.lift(prefix("192.0.2.7")).await.unwrap();
    assert_eq!(import.await.unwrap().unwrap().placed, 50_000);
    gateway.stop().await;
}

#[tokio::test]
async fn a_list_that_is_too_long_evicts_also_itself() {
    let mut machine = Machine::new();
    machine.capacity.sources = 5000;
    let gateway = machine.start();
    let imported = gateway.bans.import(list(numbered(5020))).await.unwrap();
    assert_eq!((imported.placed, imported.evicted), (5020, 20));
    assert!(gateway.sample("bans 5000"));
    assert!(gateway.sample("bans_evicted_total 20"));
    assert_eq!(machine.kernel.bans.lock().unwrap().len(), 5000);
    let before = gateway.bans.list().await.unwrap();
    gateway.stop().await;
    let gateway = machine.start();
    let after = gateway.bans.list().await.unwrap();
    assert_eq!(after.len(), before.len());
    assert!(after.iter().zip(&before).all(|(a, b)| a.target == b.target));
    gateway.stop().await;
}

#[tokio::test]
async fn a_list_says_what_the_disk_and_the_limits_say() {
    let machine = Machine::new();
    let gateway = machine.start();
    let empty = gateway.bans.import(list([])).await.unwrap();
    assert_eq!((empty.placed, empty.skipped), (0, 0));
    let short = ImportList {
        duration: Duration::from_millis(999),
        ..list(numbered(1))
    };
    assert_eq!(gateway.bans.import(short).await, Err(BanError::Duration));
    gateway.stop().await;
}

#[tokio::test]
async fn a_list_again_takes_the_place_of_itself_also_on_disk() {
    let machine = Machine::new();
    let gateway = machine.start();
    gateway.bans.import(list(numbered(9000))).await.unwrap();
    let again = gateway.bans.import(list(numbered(9000))).await.unwrap();
    assert_eq!((again.placed, again.replaced), (9000, 9000));
    assert!(gateway.sample("bans 9000"));
    let before = gateway.bans.list().await.unwrap();
    gateway.stop().await;
    let saved = machine.open().records;
    assert_eq!(saved.len(), 9000);
    assert!(saved.iter().zip(&before).all(|(a, b)| a.id == b.id));
}

#[tokio::test]
async fn a_list_ends_what_ends_first_itself_included() {
    for (minutes, left) in [
        (60, ["10.0.0.0", "10.0.0.1"]),
        (5, ["10.0.0.1", "192.0.2.9"]),
    ] {
        let mut machine = Machine::new();
        machine.capacity.sources = 2;
        let gateway = machine.start();
        for (target, minutes) in [("192.0.2.8", 10), ("192.0.2.9", 30)] {
            let duration = Duration::from_mins(minutes);
            let ban = gateway
                .bans
                .add(prefix(target), duration, String::new(), false);
            ban.await.unwrap();
        }
        // One after the other, so that the order is known.
        for target in ["10.0.0.0", "10.0.0.1"] {
            let one = ImportList {
                duration: Duration::from_mins(minutes),
                ..list([prefix(target)])
            };
            assert_eq!(gateway.bans.import(one).await.unwrap().evicted, 1);
        }
        let bans = gateway.bans.list().await.unwrap();
        let mut targets: Vec<String> = bans.iter().map(|ban| ban.target.to_string()).collect();
        targets.sort_unstable();
        assert_eq!(targets, left);
        gateway.stop().await;

        // The same in one piece: the last is in force, and so many have ended.
        let mut machine = Machine::new();
        machine.capacity.sources = 2;
        let gateway = machine.start();
        let pair = ImportList {
            duration: Duration::from_mins(minutes),
            ..list(numbered(5))
        };
        let imported = gateway.bans.import(pair).await.unwrap();
        assert_eq!((imported.placed, imported.evicted), (5, 3));
        assert_eq!(machine.kernel.bans.lock().unwrap().len(), 2);
        gateway.stop().await;
        assert_eq!(machine.open().records.len(), 2);
    }
}
