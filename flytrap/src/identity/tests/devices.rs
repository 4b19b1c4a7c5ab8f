//! Device keys: whose they are, how long they hold, and which signatures they make.

use super::*;
use crate::types::KeyId;

const DEVICES: [&str; 3] = ["device secp256k1", "device p256", "device ed25519 any"];

impl Good {
    fn device_signer(&self) -> DeviceSigner {
        let secret = hex::decode(&self.private_key).unwrap();
        let kind = KeyKind::from_code(self.alg).unwrap();
        DeviceSigner::from_secret(kind, &secret.try_into().unwrap()).unwrap()
    }

    fn verify_among(&self, login: &Login<'_>, devices: &[DeviceKey]) -> Result<Proof, Refusal> {
        let now = UnixTime(self.issued_at + 60);
        let deployment = (&self.deployment).into();
        with_devices(devices, |known| {
            verify(login, &deployment, &LoginRules::default(), known, now)
        })
    }
}

#[test]
fn a_device_must_be_registered() {
    for name in DEVICES {
        let vector = vector(name);
        let refused = vector.verify_among(&vector.login(), &[]);
        assert_eq!(refused, Err(Fault::UnknownDevice.into()), "{name}");
    }
}

/// Who lists somebody else's public key gets an id of its own, under which that device's logins
/// don't verify; and the device's own id keeps naming its wallet.
#[test]
fn two_wallets_with_one_key_never_capture_each_others_device() {
    for name in DEVICES {
        let vector = vector(name);
        let device = vector.device().unwrap();
        let thief = DeviceKey {
            wallet: Wallet([0x66; 20]),
            ..device.clone()
        };
        assert_ne!(thief.id().prefix(), device.id().prefix());
        for devices in [
            [thief.clone(), device.clone()],
            [device.clone(), thief.clone()],
        ] {
            let proof = vector.verify_among(&vector.login(), &devices).unwrap();
            assert_eq!(
                (proof.wallet, proof.device),
                (device.wallet, Some(device.id()))
            );
            let as_thiefs = Login {
                user_name: &device_user_name(&thief.id()),
                ..vector.login()
            };
            let refused = vector.verify_among(&as_thiefs, &devices);
            assert!(
                matches!(refused, Err(Refusal::AuthFailed(_))),
                "{name}: {refused:?}"
            );
        }
        // The owner of the device's own key can still log in for either wallet that lists it.
        let request = Request {
            algorithm: Algorithm::Device(device.key.kind()),
            scope: ClientScope::Any,
            subscribe_only: false,
            single_use: false,
            issued: UnixTime(vector.issued_at),
            lifetime: 600,
        };
        let deployment = (&vector.deployment).into();
        let signer = vector.device_signer();
        let minted = mint_for(thief.wallet, &signer, &deployment, &request).unwrap();
        let login = Login {
            user_name: &minted.user_name,
            password: minted.password.as_bytes(),
            client_id: "x",
        };
        let proof = vector
            .verify_among(&login, &[device, thief.clone()])
            .unwrap();
        assert_eq!(
            (proof.wallet, proof.device),
            (thief.wallet, Some(thief.id()))
        );
    }
}

#[test]
fn a_device_key_of_another_kind_or_wallet_is_another_key() {
    for name in DEVICES {
        let vector = vector(name);
        let (device, signer) = (vector.device().unwrap(), vector.device_signer());
        assert_eq!(signer.public_key(), device.key, "{name}");
        // The same name, by a look-up that is mistaken.
        for wrong in [
            DeviceKey {
                wallet: Wallet([1; 20]),
                ..device.clone()
            },
            DeviceKey {
                key: PublicKey::Ed25519([1; 32]),
                ..device
            },
        ] {
            let lookup = |_: &KeyIdPrefix| Some(&wrong);
            let known = Known {
                device_key: &lookup,
                ..Known::NOTHING
            };
            let now = UnixTime(vector.issued_at);
            let deployment = (&vector.deployment).into();
            let rules = LoginRules::default();
            let refused = verify(&vector.login(), &deployment, &rules, &known, now);
            assert_eq!(refused, Err(Fault::UnknownDevice.into()), "{name}");
        }
    }
}

#[test]
fn user_name_and_algorithm_belong_together() {
    let (wallet, device) = (vector("eip191 plain"), vector("device p256"));
    let login = Login {
        user_name: &device.wallet.to_string(),
        ..device.login()
    };
    assert_eq!(device.verify(&login, 60), Err(Fault::OtherUser.into()));
    let login = Login {
        user_name: &device.user_name,
        ..wallet.login()
    };
    assert_eq!(wallet.verify(&login, 60), Err(Fault::OtherUser.into()));
    for user_name in [
        "dev:",
        "dev:7Cj8q0e0Kzm_N1gkihh-5",
        "dev:7Cj8q0e0Kzm_N1gkihh-5R",
        "dev:7Cj8q0e0Kzm_N1gkihh-5Q==",
        "dev:7Cj8q0e0Kzm/N1gkihh+5Q",
        "dev:7Cj8q0e0Kzm_N1gkihh-5QA",
        "DEV:7Cj8q0e0Kzm_N1gkihh-5Q",
    ] {
        let login = Login {
            user_name,
            ..device.login()
        };
        let refused = device.verify(&login, 60);
        assert_eq!(refused, Err(Fault::UserName.into()), "{user_name}");
    }
}

#[test]
fn a_device_key_ends_at_its_second_and_cuts_the_session_short() {
    let vector = vector("device ed25519 any");
    let at = |until: u64, now: u64| {
        let device = DeviceKey {
            until: Validity::Until(UnixTime(until)),
            ..vector.device().unwrap()
        };
        let deployment = (&vector.deployment).into();
        with_devices(&[device], |known| {
            let rules = LoginRules::default();
            verify(&vector.login(), &deployment, &rules, known, UnixTime(now))
        })
    };
    let now = vector.issued_at + 60;
    let until = UnixTime(now);
    let stale = vector.stale(Staleness::KeyExpired { until });
    assert_eq!(at(now, now), Err(stale));
    assert_eq!(at(now + 1, now).unwrap().expires, UnixTime(now + 1));
    let proof = at(vector.expires + 1, now).unwrap();
    assert_eq!(proof.expires, UnixTime(vector.expires));
}

#[test]
fn a_revocation_of_the_wallet_is_for_its_devices_too() {
    let vector = vector("device secp256k1");
    let device = vector.device().unwrap();
    let until = UnixTime(vector.issued_at);
    let lookup = |_: &KeyIdPrefix| Some(&device);
    let known = Known {
        device_key: &lookup,
        revoked_before: &|wallet| (wallet == vector.wallet).then_some(until),
    };
    let deployment = (&vector.deployment).into();
    let now = UnixTime(vector.issued_at + 60);
    let result = verify(
        &vector.login(),
        &deployment,
        &LoginRules::default(),
        &known,
        now,
    );
    assert_eq!(result, Err(vector.stale(Staleness::Revoked { until })));
}

/// Both curves' signatures have a twin with n - s, which must not be a second password.
#[test]
fn high_s_is_refused() {
    const ORDERS: [(&str, &str); 2] = [
        (
            "device secp256k1",
            "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141",
        ),
        (
            "device p256",
            "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
        ),
    ];
    for (name, order) in ORDERS {
        let vector = vector(name);
        let mut record = vector.record();
        let s = &mut record[51..83];
        let mut borrow = 0;
        for (byte, n) in s.iter_mut().zip(hex::decode(order).unwrap()).rev() {
            let difference = i16::from(n) - i16::from(*byte) - borrow;
            borrow = i16::from(difference < 0);
            *byte = u8::try_from(difference.rem_euclid(256)).unwrap();
        }
        if let Some(v) = record.get_mut(83) {
            *v = 55 - *v;
        }
        let password = URL_SAFE_NO_PAD.encode(record);
        let login = Login {
            password: password.as_bytes(),
            ..vector.login()
        };
        assert_eq!(
            vector.verify(&login, 60),
            Err(Fault::HighS.into()),
            "{name}"
        );
    }
}

#[test]
fn minted_tokens_of_devices_verify() {
    let deployment = Deployment::from(&vector("device p256").deployment);
    let wallet = Wallet([9; 20]);
    for (kind, seed) in KeyKind::ALL.into_iter().zip(1_u8..) {
        for round in 0..8 {
            let signer = DeviceSigner::from_secret(kind, &[seed * 16 + round; 32]).unwrap();
            let request = Request {
                algorithm: Algorithm::Device(kind),
                scope: ClientScope::Prefix("käse/"),
                subscribe_only: true,
                single_use: false,
                issued: UnixTime(1_800_000_000),
                lifetime: 600,
            };
            let minted = mint_for(wallet, &signer, &deployment, &request).unwrap();
            let device = DeviceKey {
                wallet,
                key: signer.public_key(),
                until: Validity::Forever,
                scope: None,
            };
            assert_eq!(minted.user_name, device_user_name(&device.id()));
            let login = Login {
                user_name: &minted.user_name,
                password: minted.password.as_bytes(),
                client_id: "käse/1",
            };
            let rules = LoginRules::default();
            let proof = with_devices(std::slice::from_ref(&device), |known| {
                verify(&login, &deployment, &rules, known, request.issued)
            });
            let proof = proof.unwrap();
            assert_eq!((proof.wallet, proof.device), (wallet, Some(device.id())));
            assert!(proof.subscribe_only && !proof.bound);

            let other = Request {
                algorithm: Algorithm::Eip191,
                ..request
            };
            let refused = mint_for(wallet, &signer, &deployment, &other);
            assert!(matches!(refused, Err(MintError::OtherKey)));
        }
    }
    assert!(DeviceSigner::from_secret(KeyKind::P256, &[0; 32]).is_none());
    assert!(DeviceSigner::from_secret(KeyKind::Secp256k1, &[0xff; 32]).is_none());
}

#[test]
fn debug_output_of_a_signer_keeps_the_secret() {
    let vector = vector("device p256");
    let shown = format!("{:?}", vector.device_signer());
    assert_eq!(
        shown,
        format!(
            "DeviceSigner(p256, {})",
            vector.public_key.as_ref().unwrap()
        )
    );
    assert!(!shown.contains(&vector.private_key));
    assert_eq!(KeyId([7; 32]).to_string(), format!("0x{}", "07".repeat(32)));
}
