//! Sessions of device keys: what they are upstream, what they may do, and when they end.

use super::world::*;
use crate::identity::{
    Algorithm, ClientScope, DeviceSigner, Minted, Request, mint_for, upstream_client_id,
};
use crate::mqtt::encode::ConnectOut;
use crate::mqtt::{Connect, Qos, Sender, Version, encode};
use crate::offence::Offence;
use crate::session::{Cause, Close, LoginRefusal, Note, Phase};
use crate::types::{DeviceKey, KeyKind, UnixTime, Validity, Wallet};

fn signer() -> DeviceSigner {
    DeviceSigner::from_secret(KeyKind::P256, &[5; 32]).unwrap()
}

/// A key of the owner, for `plant/in`.
fn key(wallet: Wallet, until: Validity) -> DeviceKey {
    DeviceKey {
        wallet,
        key: signer().public_key(),
        until,
        scope: Some("plant/in".parse().unwrap()),
    }
}

fn token(wallet: Wallet) -> Minted {
    let request = Request {
        algorithm: Algorithm::Device(KeyKind::P256),
        scope: ClientScope::Exact("client"),
        subscribe_only: false,
        single_use: false,
        issued: NOW,
        lifetime: 3_600,
    };
    mint_for(wallet, &signer(), &settings().deployment, &request).unwrap()
}

fn packet(minted: &Minted) -> Vec<u8> {
    let mut packet = Vec::new();
    let connect = ConnectOut {
        version: Version::V5,
        bridge: false,
        clean_start: true,
        keep_alive: 0,
        client_id: "client",
        user_name: Some(&minted.user_name),
        password: Some(minted.password.as_bytes()),
        will: None,
        properties: &[],
    };
    encode::connect(&mut packet, &connect).unwrap();
    packet
}

fn live(until: Validity) -> Driver {
    let mut driver = Driver::new();
    let mut builder = later();
    builder.set_device_key(key(OWNER.wallet(), until));
    driver.snapshot = builder.build();
    driver
        .client(&packet(&token(OWNER.wallet())))
        .result
        .unwrap();
    let step = driver.broker(&connack(Version::V5, false, 0));
    let device = Some(key(OWNER.wallet(), until).id());
    assert!(
        matches!(&step.out.notes[..], [Note::LoggedIn { wallet, device: used, .. }]
            if *wallet == OWNER.wallet() && *used == device)
    );
    assert_eq!(driver.session.phase(), Phase::Live);
    driver
}

#[test]
fn sibling_devices_have_their_own_ids_upstream() {
    let mut driver = Driver::new();
    let mut builder = later();
    let key = key(OWNER.wallet(), Validity::Forever);
    builder.set_device_key(key.clone());
    driver.snapshot = builder.build();
    let step = driver.client(&packet(&token(OWNER.wallet())));
    let up = frames(&step.up, Sender::Client);
    let connect = Connect::decode(&up[0], &settings().limits).unwrap();
    let expected = upstream_client_id(OWNER.wallet(), Some(key.id()), "client");
    assert_eq!(connect.client_id, expected);
    let wallets_own = upstream_client_id(OWNER.wallet(), None, "client");
    assert_ne!(connect.client_id, wallets_own);
}

#[test]
fn a_device_stays_in_its_scope() {
    let mut driver = live(Validity::Forever);
    let inside = publish(Version::V5, "plant/in/x", Qos::AtLeastOnce, 1);
    assert_eq!(driver.client(&inside).up, inside);
    let outside = publish(Version::V5, "plant/out", Qos::AtLeastOnce, 2);
    let step = driver.client(&outside);
    assert!(step.up.is_empty());
    assert_eq!(step.down, [0x40, 3, 0, 2, 0x87]);
    let filters = subscribe(Version::V5, 3, &["plant/#"]);
    assert!(driver.client(&filters).up.is_empty());
}

#[test]
fn a_session_ends_with_its_device_key() {
    let mut driver = live(Validity::Until(NOW.plus(60)));
    driver.now = NOW.plus(59);
    assert!(driver.tick().result.is_ok());
    driver.now = NOW.plus(60);
    let step = driver.tick();
    assert_eq!(step.result, Err(Close::quiet(Cause::TokenExpired)));
    assert_eq!((step.down, step.up), (vec![0xe0, 1, 0x87], vec![0xe0, 0]));
}

/// A stolen device: its key is removed, and its wallet goes on.
#[test]
fn removing_a_key_ends_its_sessions_and_its_logins() {
    let publish = publish(Version::V5, "plant/in/x", Qos::AtLeastOnce, 1);
    let generation = |generation| {
        let mut snapshot = later().build();
        snapshot.generation = generation;
        snapshot
    };
    for act in [0, 1, 2] {
        let mut driver = live(Validity::Forever);
        driver.snapshot = generation(3);
        let step = match act {
            0 => driver.client(&publish),
            1 => driver.broker(&publish),
            _ => driver.tick(),
        };
        assert_eq!(step.result, Err(Close::quiet(Cause::DeviceKeyEnded)));
        assert_eq!((step.down, step.up), (vec![0xe0, 1, 0x87], vec![0xe0, 0]));

        let mut again = Driver::new();
        again.snapshot = generation(3);
        let close = again
            .client(&packet(&token(OWNER.wallet())))
            .result
            .unwrap_err();
        assert_eq!(close.offence, Some(Offence::AuthFailed));
    }
    let mut wallets_own = Driver::live(&OWNER, Version::V5);
    wallets_own.snapshot = generation(3);
    assert_eq!(wallets_own.client(&publish).up, publish);
}

#[test]
fn a_time_that_is_cut_short_ends_the_session_too() {
    let mut driver = live(Validity::Forever);
    let mut builder = later();
    builder.set_device_key(key(OWNER.wallet(), Validity::Until(NOW)));
    driver.snapshot = builder.build();
    driver.snapshot.generation = 3;
    let step = driver.tick();
    assert_eq!(step.result, Err(Close::quiet(Cause::DeviceKeyEnded)));
}

#[test]
fn a_revocation_ends_live_sessions() {
    for (before, ends) in [(UnixTime(NOW.0 - 1), false), (NOW, true)] {
        for by_device in [true, false] {
            let mut driver = if by_device {
                live(Validity::Forever)
            } else {
                Driver::live(&OWNER, Version::V5)
            };
            let mut builder = later();
            builder.set_device_key(key(OWNER.wallet(), Validity::Forever));
            builder.revoke_tokens(OWNER.wallet(), before);
            driver.snapshot = builder.build();
            driver.snapshot.generation = 3;
            let result = driver.tick().result;
            let expected = ends.then(|| Close::quiet(Cause::TokenRevoked));
            assert_eq!(result.err(), expected);
        }
    }
}

/// The key of one device, listed by a wallet of its thief.
#[test]
fn a_key_registered_by_another_wallet_captures_nobody() {
    let mut driver = Driver::new();
    let mut builder = later();
    builder.set_device_key(key(OWNER.wallet(), Validity::Forever));
    builder.set_device_key(key(STRANGER.wallet(), Validity::Forever));
    driver.snapshot = builder.build();
    driver
        .client(&packet(&token(OWNER.wallet())))
        .result
        .unwrap();
    assert_eq!(driver.session.principal().unwrap().wallet, OWNER.wallet());

    let mut other = Driver::new();
    other.snapshot = driver.snapshot;
    let close = other.client(&packet(&token(STRANGER.wallet()))).result;
    let Err(Close {
        cause: Cause::Refused(LoginRefusal::NotAdmitted { wallet, .. }),
        ..
    }) = close
    else {
        panic!("{close:?}");
    };
    assert_eq!(wallet, STRANGER.wallet());
}
