//! Requests, good and bad, and their answers.

use super::*;

#[tokio::test]
async fn every_request_comes_back_as_it_was_meant() {
    let running = Running::start();
    let client = running.client();
    let status = client.status().await.unwrap();
    assert_eq!(status, Fake::default().status().await.unwrap());

    for target in ["198.51.100.0/24", "2001:db8:1:2::/64", "192.0.2.7"] {
        let target: Prefix = target.parse().unwrap();
        let request = BanRequest {
            target,
            seconds: 60,
            note: Some("ä \"quoted\"".to_owned()),
            force: false,
        };
        let ban = client.ban(&request).await.unwrap();
        assert_eq!(client.bans().await.unwrap(), std::slice::from_ref(&ban));
        assert_eq!((ban.target, ban.note), (target, request.note));
        assert_eq!(client.lift(target).await.unwrap(), Lifted { target });
    }
    let wallet = Wallet([7; 20]);
    for (action, permit) in [
        (PolicyAction::Publish("a".to_owned()), true),
        (PolicyAction::Subscribe("a".to_owned()), false),
        (PolicyAction::Receive("a".to_owned()), false),
    ] {
        let question = PolicyQuestion { wallet, action };
        assert_eq!(client.check(&question).await.unwrap().permit, permit);
    }
    running.end().await;
}

#[tokio::test]
async fn refusals_reach_the_client_whole() {
    let running = Running::start();
    let request = BanRequest {
        target: "192.0.2.0/24".parse().unwrap(),
        seconds: 1,
        note: None,
        force: false,
    };
    let Err(ClientError::Problem(problem)) = running.client().ban(&request).await else {
        panic!("not refused");
    };
    let expected = Problem::conflict("192.0.2.1 is allowlisted", "lift first");
    assert_eq!(problem, expected);
    let lifted = running.client().lift("192.0.2.9".parse().unwrap()).await;
    assert!(matches!(lifted, Err(ClientError::Problem(p)) if p.status == 404));
    running.end().await;
}

#[tokio::test]
async fn what_is_not_understood_is_a_problem_not_a_crash() {
    let running = Running::start();
    let wallet = Wallet([7; 20]);
    let bans = "/api/v1/bans";
    let check = "/api/v1/policy/check";
    for (path, body, status, word) in [
        (bans, "{".to_owned(), "400", "bad-request"),
        (
            bans,
            r#"{"target":"host","seconds":1}"#.to_owned(),
            "400",
            "no IPv4 or IPv6",
        ),
        (
            bans,
            r#"{"target":"::1","seconds":0}"#.to_owned(),
            "400",
            "at once",
        ),
        (
            bans,
            r#"{"target":"::1","seconds":1,"x":1}"#.to_owned(),
            "400",
            "unknown field",
        ),
        (bans, format!("[{}", " ".repeat(20_000)), "413", "too-large"),
        (
            check,
            format!(r#"{{"wallet":"{wallet}"}}"#),
            "400",
            "missing field",
        ),
        (
            check,
            format!(r#"{{"wallet":"{wallet}","action":{{"publish":"a","receive":"a"}}}}"#),
            "400",
            "bad-request",
        ),
        (
            check,
            format!(r#"{{"wallet":"{wallet}","action":{{"delete":"a"}}}}"#),
            "400",
            "unknown variant",
        ),
        ("/api/v1/status", String::new(), "405", "wrong-method"),
        ("/api/v2/status", String::new(), "404", "not-found"),
    ] {
        let answer = running.post(path, &body).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{body}: {answer}"
        );
        assert!(answer.contains("application/problem+json"), "{answer}");
        assert!(answer.contains(word), "{word}: {answer}");
    }
    let answer = running
        .raw(b"DELETE /api/v1/bans/nobody HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    running.end().await;
}

fn drop_number(number: u64) -> DropView {
    DropView {
        time: UnixTime(number),
        source: "2001:db8::7".parse().unwrap(),
        protocol: "udp".to_owned(),
        destination_port: None,
        interface: "eth0".to_owned(),
        reason: "drop_by_hand".to_owned(),
        ban: Some(number),
        country: None,
        bytes: 74,
        first_hit: true,
        one_in: 1,
    }
}

#[tokio::test]
async fn drops_are_streamed_and_a_slow_reader_is_told_what_it_missed() {
    let running = Running::start();
    let mut quick = running.client().drops().await.unwrap();
    for number in 0..20 {
        running.drops.send(drop_number(number)).unwrap();
        let line = quick.next().await.unwrap();
        assert_eq!(line, Some(DropLine::Drop(drop_number(number))));
    }
    // Nothing else runs meanwhile, and four fit.
    for number in 0..20 {
        running.drops.send(drop_number(number)).unwrap();
    }
    let lost = quick.next().await.unwrap();
    assert_eq!(lost, Some(DropLine::Lost { lost: 16 }));
    for number in 16..20 {
        let line = quick.next().await.unwrap();
        assert_eq!(line, Some(DropLine::Drop(drop_number(number))));
    }
    // A reader that is gone is forgotten before the next drop.
    drop(quick);
    tokio::time::timeout(HANG, async {
        while running.drops.receiver_count() > 0 {
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .unwrap();
    let mut open = running.client().drops().await.unwrap();
    running.end().await;
    assert_eq!(open.next().await.unwrap(), None);
}

#[tokio::test]
async fn metrics_are_open_metrics_text() {
    let running = Running::start();
    let answer = running
        .raw(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
    assert!(answer.contains(kind), "{answer}");
    assert!(answer.ends_with("\r\n\r\n# EOF\n"), "{answer}");
    running.end().await;
}

#[tokio::test]
async fn bytes_that_are_no_http_do_not_end_it() {
    let running = Running::start();
    for garbage in [
        &b"\x10\x00\x00\xff\xff"[..],
        b"GET\r\n\r\n",
        b"",
        b"GET / HTTP/9.9\r\n\r\n",
    ] {
        running.raw(garbage).await;
    }
    assert!(running.client().status().await.is_ok());
    running.end().await;
}

#[tokio::test]
async fn a_silent_client_does_not_hold_up_the_end() {
    let running = Running::start();
    let mut silent = UnixStream::connect(running.socket()).await.unwrap();
    silent
        .write_all(
            b"POST /api/v1/bans HTTP/1.1\r\nhost: x\r\n\
              content-type: application/json\r\ncontent-length: 9\r\n\r\n",
        )
        .await
        .unwrap();
    running.client().status().await.unwrap();
    running.end().await;
}
