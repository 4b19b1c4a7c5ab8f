//! What operators order, and the allowlist.

use super::*;

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
    let refused = add("192.0.2.7", false).await.unwrap_err();
    assert!(matches!(refused, BanError::Allowlisted { .. }), "{refused}");
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
async fn a_stopped_gateway_says_so() {
    let gateway = Machine::new().start();
    let bans = gateway.bans.clone();
    gateway.stop().await;
    assert_eq!(bans.list().await, Err(BanError::Stopped));
    bans.offence(ip("192.0.2.7"), AUTH);
}
