//! The socket itself: whose it is, what is there already, and who else may answer on it.

use super::*;

#[tokio::test]
async fn the_socket_is_for_owner_and_group() {
    let running = Running::start();
    let mode = std::fs::metadata(running.socket())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o660);
    let parent = running.socket().parent().unwrap().to_owned();
    assert_eq!(std::fs::metadata(parent).unwrap().mode() & 0o007, 0);
    running.end().await;
}

#[tokio::test]
async fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
    let running = Running::start();
    let path = running.socket();
    assert!(matches!(
        ControlSocket::bind(&path),
        Err(SocketError::InUse(_))
    ));
    assert!(running.client().status().await.is_ok());
    running.end().await;

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let socket = ControlSocket::bind(&path).unwrap();
    // A successor's file is not this one's to remove.
    std::fs::remove_file(&path).unwrap();
    let successor = std::os::unix::net::UnixListener::bind(&path).unwrap();
    drop(socket);
    assert!(path.exists());
    drop(successor);
}

#[tokio::test]
async fn a_file_of_another_kind_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(
        ControlSocket::bind(&path),
        Err(SocketError::NoSocket(_))
    ));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn without_a_daemon_the_client_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let client = Client::new(dir.path().join("s"));
    assert!(matches!(
        client.status().await,
        Err(ClientError::Down { .. })
    ));
}

#[tokio::test]
async fn an_answer_of_something_else_is_garbled() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let server = tokio::spawn(async move {
        for answer in [
            "SSH-2.0-x\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
            "",
        ] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1_024];
            let _ = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    for _ in 0..3 {
        let answer = tokio::time::timeout(HANG, Client::new(&path).status()).await;
        assert!(matches!(answer, Ok(Err(ClientError::Garbled { .. }))));
    }
    server.await.unwrap();
}
