//! What is accepted, each refusal, and tokens from minting to login.

use proptest::prelude::*;

use super::*;

#[test]
fn the_user_name_may_be_written_in_any_case() {
    let vector = vector("eip191 plain");
    let digits = vector.user_name.trim_start_matches("0x");
    let upper = format!("0x{}", digits.to_uppercase());
    for user_name in [upper, vector.wallet.to_string()] {
        let login = Login {
            user_name: &user_name,
            ..vector.login()
        };
        assert!(vector.verify(&login, 0).is_ok(), "{user_name}");
    }
    for user_name in ["", "alice", digits, "0X", "dev"] {
        let login = Login {
            user_name,
            ..vector.login()
        };
        assert_eq!(
            vector.verify(&login, 0),
            Err(Fault::UserName.into()),
            "{user_name}"
        );
    }
}

#[test]
fn both_forms_of_v_are_read() {
    let vector = vector("eip191 plain");
    let mut record = vector.record();
    *record.last_mut().unwrap() -= 27;
    let password = URL_SAFE_NO_PAD.encode(record);
    let login = Login {
        password: password.as_bytes(),
        ..vector.login()
    };
    assert!(vector.verify(&login, 0).is_ok());
}

#[test]
fn only_canonical_base64_is_read() {
    // 85 bytes leave two bits of the last character unused.
    let vector = vector("eip191 prefix");
    let (start, last) = vector.password.split_at(vector.password.len() - 1);
    assert_eq!(last, "w");
    let login = |password: &[u8]| {
        vector.verify(
            &Login {
                password,
                ..vector.login()
            },
            0,
        )
    };
    assert!(login(vector.password.as_bytes()).is_ok());
    for last in ["x", "y", "z"] {
        let password = format!("{start}{last}");
        assert_eq!(
            login(password.as_bytes()),
            Err(Fault::Base64.into()),
            "{last}"
        );
    }
}

#[test]
fn long_passwords_are_refused_unread() {
    let decode = |length| Token::decode(&vec![b'!'; length]);
    assert_eq!(decode(MAX_PASSWORD_BYTES), Err(Fault::Base64));
    assert_eq!(decode(MAX_PASSWORD_BYTES + 1), Err(Fault::PasswordTooLong));
}

#[test]
fn an_empty_prefix_is_refused() {
    let mut record = vector("eip191 prefix").record();
    record[19] = 0;
    let password = URL_SAFE_NO_PAD.encode(record);
    assert_eq!(
        Token::decode(password.as_bytes()),
        Err(Fault::ClientIdPrefix)
    );
}

#[test]
fn a_token_with_reversed_times_is_refused() {
    let mut token = Token::decode(vector("eip191 plain").password.as_bytes()).unwrap();
    token.claims.expires = token.claims.issued;
    assert_eq!(Token::decode(token.encode().as_bytes()), Err(Fault::Times));
}

/// The two attacks of other gateways: a signature over a constant, or over one's own address,
/// both replayable for ever.
#[test]
fn a_signature_over_a_constant_proves_nothing() {
    let vector = vector("eip191 plain");
    for text in ["testing", &vector.wallet.to_string(), &vector.user_name] {
        let digest = ethers_core::utils::hash_message(text);
        let signature: [u8; 65] = (&vector.signer().0.sign_hash(digest).unwrap()).into();
        let mut record = vector.record();
        record.truncate(19);
        record.extend(signature);
        for password in [
            URL_SAFE_NO_PAD.encode(record),
            URL_SAFE_NO_PAD.encode(signature),
            format!("0x{}", hex::encode(signature)),
        ] {
            let login = Login {
                password: password.as_bytes(),
                ..vector.login()
            };
            let result = vector.verify(&login, 0);
            assert!(matches!(result, Err(Refusal::AuthFailed(_))), "{result:?}");
        }
    }
}

#[test]
fn the_times_are_judged_to_the_second() {
    let vector = vector("eip191 plain");
    let at = |now| {
        let deployment = (&vector.deployment).into();
        verify(
            &vector.login(),
            &deployment,
            &LoginRules::default(),
            &Known::NOTHING,
            UnixTime(now),
        )
    };
    let (issued, expires) = (UnixTime(vector.issued_at), UnixTime(vector.expires));
    assert_eq!(
        at(issued.0 - 121),
        Err(vector.stale(Staleness::NotYetValid { issued }))
    );
    assert!(at(issued.0 - 120).is_ok());
    assert!(at(expires.0 - 1).is_ok());
    assert_eq!(
        at(expires.0),
        Err(vector.stale(Staleness::Expired { expires }))
    );
}

/// Whether a token's signature is bad must not be hidden behind its times.
#[test]
fn an_expired_token_with_a_wrong_signature_is_no_stale_token() {
    let vector = vector("eip191 plain");
    let other = Wallet([1; 20]).to_string();
    let login = Login {
        user_name: &other,
        ..vector.login()
    };
    assert_eq!(
        vector.verify(&login, 1_000_000),
        Err(Fault::OtherSigner.into())
    );
}

#[test]
fn lifetimes_have_one_limit_for_bound_tokens_and_one_for_others() {
    let lifetime = 24 * 60 * 60;
    for (name, long_bound, expected) in [
        ("eip191 plain", true, None),
        ("eip191 plain", false, Some(lifetime - 1)),
        ("eip191 any client", true, Some(lifetime - 1)),
        ("eip191 any client", false, None),
        ("eip712 prefix", true, Some(lifetime - 1)),
    ] {
        let vector = vector(name);
        let (max_lifetime_bound, max_lifetime) = if long_bound {
            (lifetime, lifetime - 1)
        } else {
            (lifetime - 1, lifetime)
        };
        let rules = LoginRules {
            max_lifetime,
            max_lifetime_bound,
            max_skew: 0,
        };
        let now = UnixTime(vector.issued_at);
        let deployment = (&vector.deployment).into();
        let result = verify(&vector.login(), &deployment, &rules, &Known::NOTHING, now);
        let expected =
            expected.map(|maximum| vector.stale(Staleness::LifetimeTooLong { lifetime, maximum }));
        assert_eq!(result.err(), expected, "{name}");
    }
}

#[test]
fn revocation_covers_tokens_up_to_its_second() {
    let vector = vector("eip712 plain");
    let revoked = |until: u64| {
        let known = Known {
            revoked_before: &|wallet| (wallet == vector.wallet).then_some(UnixTime(until)),
            ..Known::NOTHING
        };
        let deployment = (&vector.deployment).into();
        let now = UnixTime(vector.issued_at + 60);
        verify(
            &vector.login(),
            &deployment,
            &LoginRules::default(),
            &known,
            now,
        )
    };
    assert!(revoked(vector.issued_at - 1).is_ok());
    let until = UnixTime(vector.issued_at);
    assert_eq!(
        revoked(until.0),
        Err(vector.stale(Staleness::Revoked { until }))
    );
}

/// Whoever merely claims a wallet learns nothing about it, and costs no look-up.
#[test]
fn revocations_are_not_looked_up_for_unproven_wallets() {
    let vector = vector("eip191 plain");
    let other = Wallet([1; 20]).to_string();
    let login = Login {
        user_name: &other,
        ..vector.login()
    };
    let deployment = (&vector.deployment).into();
    let now = UnixTime(vector.issued_at);
    let known = Known {
        revoked_before: &|_| panic!("looked up"),
        ..Known::NOTHING
    };
    assert!(verify(&login, &deployment, &LoginRules::default(), &known, now).is_err());
}

#[test]
fn minted_tokens_verify_for_their_client_ids_only() {
    let vector = vector("eip191 plain");
    let deployment = Deployment::from(&vector.deployment);
    for algorithm in [Algorithm::Eip191, Algorithm::Eip712] {
        for (scope, fits, others) in [
            (
                ClientScope::Exact("käse/β 7"),
                vec!["käse/β 7"],
                vec!["käse/β 8", "", "*"],
            ),
            (ClientScope::Any, vec!["", "a", "*"], vec![]),
            (
                ClientScope::Prefix("käse/"),
                vec!["käse/", "käse/1"],
                vec!["käse", "", "kase/1"],
            ),
        ] {
            for subscribe_only in [false, true] {
                let request = Request {
                    algorithm,
                    scope,
                    subscribe_only,
                    single_use: false,
                    issued: UnixTime(1_800_000_000),
                    lifetime: 600,
                };
                let minted = mint(&vector.signer(), &deployment, &request).unwrap();
                assert_eq!(minted.wallet, vector.wallet);
                let user_name = minted.wallet.to_string();
                let login = |client_id| {
                    let password = minted.password.as_bytes();
                    let login = Login {
                        user_name: &user_name,
                        password,
                        client_id,
                    };
                    let rules = LoginRules::default();
                    verify(&login, &deployment, &rules, &Known::NOTHING, request.issued)
                };
                for client_id in fits.iter().copied() {
                    let proof = login(client_id).unwrap();
                    assert_eq!(
                        (proof.issued, proof.expires),
                        (minted.issued, minted.expires)
                    );
                    assert_eq!(proof.expires, UnixTime(1_800_000_600));
                    assert_eq!(proof.subscribe_only, subscribe_only);
                    assert_eq!(proof.bound, matches!(scope, ClientScope::Exact(_)));
                }
                for client_id in others.iter().copied() {
                    let result = login(client_id);
                    assert!(
                        matches!(result, Err(Refusal::AuthFailed(_))),
                        "{client_id}: {result:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn what_no_record_can_say_is_not_minted() {
    let vector = vector("eip191 plain");
    let good = Request {
        algorithm: Algorithm::Eip191,
        scope: ClientScope::Any,
        subscribe_only: false,
        single_use: false,
        issued: UnixTime(u64::from(u32::MAX) - 10),
        lifetime: 10,
    };
    let mint =
        |request: &Request<'_>| mint(&vector.signer(), &(&vector.deployment).into(), request);
    assert!(mint(&good).is_ok());
    let long = "x".repeat(256);
    for bad in [
        Request {
            lifetime: 11,
            ..good
        },
        Request {
            lifetime: u64::MAX,
            ..good
        },
        Request {
            lifetime: 0,
            ..good
        },
        Request {
            scope: ClientScope::Exact(""),
            ..good
        },
        Request {
            scope: ClientScope::Prefix(""),
            ..good
        },
        Request {
            scope: ClientScope::Prefix(&long),
            ..good
        },
    ] {
        assert!(mint(&bad).is_err(), "{bad:?}");
    }
}

#[test]
fn debug_output_keeps_the_secrets() {
    let vector = vector("eip191 plain");
    let token = Token::decode(vector.password.as_bytes()).unwrap();
    assert!(format!("{token:?}").contains("Signature(secret)"));
    assert!(!format!("{:?}", vector.login()).contains("password"));
    assert_eq!(
        format!("{:?}", vector.signer()),
        format!("Signer({})", vector.wallet)
    );
}

proptest! {
    #[test]
    fn no_password_panics(password in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Token::decode(&password).is_err());
    }

    /// Random records with a valid start get as far as the signature.
    #[test]
    fn no_record_panics(
        flags in 0_u8..16,
        alg in 1_u8..=2,
        rest in prop::collection::vec(any::<u8>(), 75..85),
        client_id in ".{0,20}",
    ) {
        let record = [&[1, alg, flags][..], &rest].concat();
        let password = URL_SAFE_NO_PAD.encode(record);
        let vector = vector("eip191 plain");
        let login = Login { password: password.as_bytes(), client_id: &client_id, ..vector.login() };
        prop_assert!(matches!(vector.verify(&login, 0), Err(Refusal::AuthFailed(_))));
    }

    #[test]
    fn what_is_decoded_encodes_to_the_same(
        flags in 0_u8..16,
        alg in 1_u8..=2,
        rest in prop::collection::vec(any::<u8>(), 75..85),
    ) {
        let record = [&[1, alg, flags][..], &rest].concat();
        let password = URL_SAFE_NO_PAD.encode(record);
        if let Ok(token) = Token::decode(password.as_bytes()) {
            prop_assert_eq!(token.encode(), password);
        }
    }
}
