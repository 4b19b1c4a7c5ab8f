//! What is in force after a restart.

use super::*;

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
