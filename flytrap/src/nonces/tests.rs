use super::*;

const WALLET: Wallet = Wallet([1; 20]);
const NOW: UnixTime = UnixTime(1_000);

fn one(nonce: u64) -> Use {
    Use {
        wallet: WALLET,
        device: None,
        nonce: nonce.to_be_bytes(),
        expires: UnixTime(2_000),
    }
}

fn spend(nonces: &Nonces, one: Use, now: UnixTime) -> Result<(), Refused> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(nonces.spend(one, now))
}

fn start(directory: &tempfile::TempDir) -> Nonces {
    Nonces::start(NoncesStore::open(directory.path()).unwrap()).unwrap()
}

#[test]
fn a_nonce_is_used_once() {
    let directory = tempfile::tempdir().unwrap();
    let nonces = start(&directory);
    assert_eq!(spend(&nonces, one(1), NOW), Ok(()));
    assert_eq!(spend(&nonces, one(1), NOW), Err(Refused::Used));
    // Those of others, of devices, and other nonces are other ones.
    for other in [
        one(2),
        Use {
            wallet: Wallet([2; 20]),
            ..one(1)
        },
        Use {
            device: Some(KeyId([1; 32])),
            ..one(1)
        },
    ] {
        assert_eq!(spend(&nonces, other, NOW), Ok(()));
        assert_eq!(spend(&nonces, other, NOW), Err(Refused::Used));
    }
}

#[test]
fn a_restart_allows_no_second_use() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let nonces = start(&directory);
        let expected = if round == 0 {
            Ok(())
        } else {
            Err(Refused::Used)
        };
        assert_eq!(spend(&nonces, one(1), NOW), expected);
        nonces.close();
    }
}

/// The database is copied as a kill would leave it.
#[test]
fn what_is_answered_survives_a_kill() {
    let (directory, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let nonces = start(&directory);
    assert_eq!(spend(&nonces, one(1), NOW), Ok(()));
    for file in std::fs::read_dir(directory.path()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), killed.path().join(file.file_name())).unwrap();
    }
    let again = start(&killed);
    assert_eq!(spend(&again, one(1), NOW), Err(Refused::Used));
}

#[test]
fn a_second_gateway_is_kept_out() {
    let directory = tempfile::tempdir().unwrap();
    let _first = start(&directory);
    let error = NoncesStore::open(directory.path()).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
}

#[test]
fn entries_go_with_their_tokens_and_no_clock_brings_them_back() {
    let directory = tempfile::tempdir().unwrap();
    let nonces = start(&directory);
    assert_eq!(spend(&nonces, one(1), NOW), Ok(()));
    let later = Use {
        expires: UnixTime(9_000),
        ..one(2)
    };
    assert_eq!(spend(&nonces, later, UnixTime(2_000)), Ok(()));
    nonces.close();
    let mut store = NoncesStore::open(directory.path()).unwrap();
    assert!(format!("{store:?}").contains("count: 1"), "{store:?}");
    // The clock is set back: the first token looks unused, and is refused all the same.
    let verdicts = store.spend([(&one(1), NOW), (&later, NOW)].into_iter());
    assert_eq!(verdicts.unwrap(), [Err(Refused::Used), Err(Refused::Used)]);
}

#[test]
fn one_wallet_cannot_fill_it_for_others() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = NoncesStore::open(directory.path()).unwrap();
    let all: Vec<_> = (0..=PER_WALLET).map(one).collect();
    let verdicts = store.spend(all.iter().map(|one| (one, NOW))).unwrap();
    let (last, others) = verdicts.split_last().unwrap();
    assert!(others.iter().all(Result::is_ok));
    assert_eq!(*last, Err(Refused::Full));
    let other = Use {
        wallet: Wallet([2; 20]),
        ..one(0)
    };
    let again = store.spend([(&other, NOW), (&one(0), NOW)].into_iter());
    assert_eq!(again.unwrap(), [Ok(()), Err(Refused::Used)]);
    // Room comes back when tokens expire.
    let fresh = Use {
        expires: UnixTime(3_000),
        ..one(5_000)
    };
    let verdicts = store.spend([(&fresh, UnixTime(2_000))].into_iter());
    assert_eq!(verdicts.unwrap(), [Ok(())]);
}
