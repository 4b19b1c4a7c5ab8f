//! A token that worked once, used again where it must not work: for every algorithm.
//!
//! Another client id, gateway, chain and contract have one reason in common. The record carries
//! none of them, so what was signed for another can't be told from what was not signed at all
//! (`docs/adr/stale-tokens.md`).

use super::*;

fn each(check: impl Fn(&Good)) {
    for vector in vectors().vectors {
        check(&vector);
    }
}

fn refused(vector: &Good, client_id: &str, deployment: &Deployment) -> Refusal {
    let login = Login {
        client_id,
        ..vector.login()
    };
    vector.verify_at(&login, deployment, 60).unwrap_err()
}

#[test]
fn at_another_gateway_chain_or_contract() {
    each(|vector| {
        let here = Deployment::from(&vector.deployment);
        for elsewhere in [
            Deployment {
                domain: "gw2.example.org".to_owned(),
                ..here.clone()
            },
            Deployment {
                chain_id: here.chain_id + 1,
                ..here.clone()
            },
            Deployment {
                contract: Wallet([9; 20]),
                ..here.clone()
            },
        ] {
            let refusal = refused(vector, &vector.client_id, &elsewhere);
            let Refusal::AuthFailed(Fault::OtherSigner | Fault::Signature) = refusal else {
                panic!("{}: {refusal}", vector.name);
            };
        }
        let says = refused(
            vector,
            &vector.client_id,
            &Deployment {
                domain: "gw2.example.org".to_owned(),
                ..here
            },
        );
        assert!(
            says.to_string().contains("gateway, chain and contract"),
            "{says}"
        );
    });
}

#[test]
fn under_another_client_id() {
    each(|vector| {
        let here = (&vector.deployment).into();
        for (flag, other, expected) in [
            (0, "another", Fault::OtherSigner),
            (0, "", Fault::ClientIdEmpty),
            (2, "another-which-is-long", Fault::OtherSigner),
            (2, "x", Fault::ClientIdPrefix),
            (2, "", Fault::ClientIdEmpty),
        ] {
            if vector.flags % 4 == flag {
                let refusal = refused(vector, other, &here);
                assert_eq!(refusal, expected.into(), "{} as {other}", vector.name);
            }
        }
    });
}

#[test]
fn before_and_after_its_time() {
    each(|vector| {
        let device = vector.device();
        let at = |now| {
            let deployment = (&vector.deployment).into();
            with_devices(device.as_slice(), |known| {
                let rules = LoginRules::default();
                verify(&vector.login(), &deployment, &rules, known, UnixTime(now))
            })
        };
        let (issued, expires) = (UnixTime(vector.issued_at), UnixTime(vector.expires));
        let early = vector.stale(Staleness::NotYetValid { issued });
        assert_eq!(at(issued.0 - 121), Err(early), "{}", vector.name);
        let late = vector.stale(Staleness::Expired { expires });
        assert_eq!(at(expires.0), Err(late), "{}", vector.name);
    });
}

#[test]
fn after_its_wallet_revoked_it() {
    each(|vector| {
        let devices: Vec<_> = vector.device().into_iter().collect();
        let device_key = |prefix: &KeyIdPrefix| devices.iter().find(|k| k.id().prefix() == *prefix);
        let until = UnixTime(vector.issued_at);
        let known = Known {
            device_key: &device_key,
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
        let revoked = vector.stale(Staleness::Revoked { until });
        assert_eq!(result, Err(revoked), "{}", vector.name);
    });
}

#[test]
fn under_another_user_name() {
    each(|vector| {
        for other in vectors().vectors {
            if other.user_name == vector.user_name {
                continue;
            }
            let devices: Vec<_> = [vector, &other].iter().filter_map(|v| v.device()).collect();
            let login = Login {
                user_name: &other.user_name,
                ..vector.login()
            };
            let deployment = (&vector.deployment).into();
            let now = UnixTime(vector.issued_at + 60);
            let result = with_devices(&devices, |known| {
                verify(&login, &deployment, &LoginRules::default(), known, now)
            });
            let failed = matches!(result, Err(Refusal::AuthFailed(_)));
            assert!(failed, "{} as {}: {result:?}", vector.name, other.name);
        }
    });
}
