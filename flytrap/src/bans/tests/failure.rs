//! A kernel, a disk or a database that fails.

use std::path::{Path, PathBuf};

use super::*;

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
    assert!(list[0].kernel_refused);
    assert!(gateway.sample("kernel_errors_total{request=\"list\"} 1"));

    let refused = gateway.bans.lift(prefix("192.0.2.7")).await.unwrap_err();
    assert!(matches!(refused, BanError::Kernel { .. }), "{refused}");
    assert_eq!(standing(&gateway.bans, "192.0.2.7"), Standing::Banned);
    gateway.stop().await;

    let refused = machine.try_start().err().unwrap();
    assert!(matches!(refused, StartError::Allowlist(_)), "{refused}");
}

#[tokio::test]
async fn a_stuck_disk_delays_no_ban() {
    let machine = Machine::new();
    let (bans, mut task) = machine.try_start().unwrap();
    let (release, stuck) = std::sync::mpsc::channel::<()>();
    let busy = store::Change::end(1);
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

fn start_error(machine: &Machine) -> String {
    BansStore::open(machine.dir.path()).unwrap_err().to_string()
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

#[tokio::test]
async fn a_database_of_the_first_layout_is_taken_over() {
    let machine = Machine::new();
    sql(
        &database(&machine),
        "CREATE TABLE bans (
             id        INTEGER PRIMARY KEY AUTOINCREMENT,
             target    TEXT NOT NULL UNIQUE,
             reason    TEXT NOT NULL,
             note      TEXT NOT NULL,
             operator  INTEGER NOT NULL,
             repeat    INTEGER NOT NULL,
             since     INTEGER NOT NULL,
             until     INTEGER NOT NULL
         ) STRICT;
         INSERT INTO bans VALUES
             (3, '192.0.2.7', 'by-hand', 'a note', 1, 1, 1767225600, 1767226200),
             (9, '192.0.2.8', 'auth-failed', '', 0, 2, 1767225600, 1767226200);
         DELETE FROM bans WHERE id = 9;
         PRAGMA user_version = 1;",
    );
    for _ in 0..2 {
        let gateway = machine.start();
        let bans = gateway.bans.list().await.unwrap();
        assert_eq!((bans.len(), bans[0].id, &*bans[0].note), (1, 3, "a note"));
        assert_eq!(standing(&gateway.bans, "192.0.2.7"), Standing::Banned);
        gateway.stop().await;
    }
    let gateway = machine.start();
    let added = gateway
        .bans
        .add(prefix("192.0.2.9"), TEN_MINUTES, String::new(), false);
    assert_eq!(added.await.unwrap().id, 10, "no number is given twice");
    gateway.stop().await;
}
