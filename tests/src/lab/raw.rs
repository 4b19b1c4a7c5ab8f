//! An MQTT client that says exactly the bytes it is told to, over TCP or TLS.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto};

use super::PATIENCE;
use super::netns::Place;
use super::packet::{Connect, Packet, Version, ack, kind, publish, subscribe};
use super::wallet::Login;

/// A number that no other client of this process has.
pub fn serial() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Opens a TCP connection from `place`, from the address `source` if there is one.
pub fn dial(
    place: &Place,
    source: Option<IpAddr>,
    to: SocketAddr,
    timeout: Duration,
) -> Result<TcpStream> {
    let stream = place.run(|| {
        let Some(source) = source else {
            return Ok(TcpStream::connect_timeout(&to, timeout)?);
        };
        let family = if to.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let socket = socket(family, SocketType::STREAM, None)?;
        bind(&socket, &SocketAddr::new(source, 0))?;
        // A send timeout bounds connect() too (socket(7)).
        let timeout_of = rustix::net::sockopt::Timeout::Send;
        rustix::net::sockopt::set_socket_timeout(&socket, timeout_of, Some(timeout))?;
        connect(&socket, &to).map_err(|error| match error {
            rustix::io::Errno::INPROGRESS | rustix::io::Errno::AGAIN => {
                io::Error::from(ErrorKind::TimedOut)
            }
            other => other.into(),
        })?;
        Ok(TcpStream::from(socket))
    })?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &stream.sock,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// One connection.
#[derive(Debug)]
pub struct Raw {
    stream: Stream,
    /// The version that its helpers speak.
    pub version: Version,
}

impl Raw {
    /// Around an open TCP connection.
    pub fn plain(stream: TcpStream, version: Version) -> Self {
        Self {
            stream: Stream::Plain(stream),
            version,
        }
    }

    /// The same with TLS, trusting the CA in `ca`; `name` is a DNS name or an address.
    pub fn tls(stream: TcpStream, version: Version, ca: &Path, name: &str) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca)?)?;
        let provider = Arc::new(crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned())?;
        let connection = ClientConnection::new(Arc::new(config), name)?;
        let stream = Stream::Tls(Box::new(StreamOwned::new(connection, stream)));
        Ok(Self { stream, version })
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()?;
        Ok(())
    }

    /// The next packet; `None`: closed by the other side, in order or by a reset.
    pub fn packet(&mut self) -> Result<Option<Packet>> {
        let mut first = [0];
        match self.stream.read(&mut first) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(error) if closed(&error) => return Ok(None),
            Err(error) => return Err(error).context("waiting for a packet"),
        }
        let mut size = 0_usize;
        for shift in [0, 7, 14, 21] {
            let mut digit = [0];
            self.stream.read_exact(&mut digit)?;
            let [digit] = digit;
            size |= usize::from(digit & 0x7F) << shift;
            if digit & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; size];
        self.stream.read_exact(&mut body)?;
        let [first] = first;
        Ok(Some(Packet { first, body }))
    }

    /// The next packet, which has to be of this kind.
    pub fn expect(&mut self, kind: u8) -> Result<Packet> {
        match self.packet()? {
            Some(packet) if packet.kind() == kind => Ok(packet),
            Some(packet) => bail!("expected packet {kind:#04x}, got {packet:02x?}"),
            None => bail!("expected packet {kind:#04x}, got a closed connection"),
        }
    }

    /// Waits for the other side to close; what comes before that is returned.
    pub fn until_closed(&mut self) -> Result<Vec<Packet>> {
        let mut packets = Vec::new();
        while let Some(packet) = self.packet()? {
            packets.push(packet);
        }
        Ok(packets)
    }

    /// Sends a CONNECT and returns the reason of the CONNACK.
    pub fn log_in(&mut self, login: &Login) -> Result<u8> {
        let connect = login.connect(self.version);
        self.connect(&connect)
    }

    /// Sends this CONNECT and returns the reason of the CONNACK.
    pub fn connect(&mut self, connect: &Connect<'_>) -> Result<u8> {
        self.send(&connect.bytes())?;
        let packet = self.expect(kind::CONNACK)?;
        packet.connack_reason().context("a CONNACK without reason")
    }

    /// Subscribes and returns the reasons.
    pub fn subscribe(&mut self, filters: &[(&str, u8)]) -> Result<Vec<u8>> {
        self.send(&subscribe(self.version, 1, filters))?;
        Ok(self.expect(kind::SUBACK)?.reasons(self.version))
    }

    /// Publishes, answers what the QoS asks for, and returns the reason of the acknowledgement
    /// (0 for QoS 0).
    pub fn publish(&mut self, topic: &str, payload: &[u8], qos: u8) -> Result<u8> {
        let id = 77;
        self.send(&publish(self.version, topic, payload, qos, id))?;
        match qos {
            0 => Ok(0),
            1 => Ok(self.expect(kind::PUBACK)?.ack_reason()),
            _ => {
                let reason = self.expect(kind::PUBREC)?.ack_reason();
                if reason < 0x80 {
                    self.send(&ack(0x62, id))?;
                    self.expect(kind::PUBCOMP)?;
                }
                Ok(reason)
            }
        }
    }

    /// Waits for a message, completes its handshake, and returns QoS, topic and payload.
    pub fn receive(&mut self) -> Result<(u8, String, Vec<u8>)> {
        let packet = self.expect(kind::PUBLISH)?;
        let (topic, id, payload) = packet
            .message(self.version)
            .context("a PUBLISH that makes no sense")?;
        match packet.qos() {
            0 => {}
            1 => self.send(&ack(0x40, id))?,
            _ => {
                self.send(&ack(0x50, id))?;
                self.expect(kind::PUBREL)?;
                self.send(&ack(0x70, id))?;
            }
        }
        Ok((packet.qos(), topic, payload))
    }

    /// The connection below, for timeouts and addresses.
    pub fn tcp(&self) -> &TcpStream {
        self.stream.tcp()
    }
}

fn closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
    )
}
