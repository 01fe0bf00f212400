//! The servers the benchmarks run against, on loopback and free ports, ended when dropped.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::process::find;

/// A child process that is killed when dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Server {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// As `kill -9` does it.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts `command` and waits until something accepts connections on `address`.
    pub fn start(mut command: Command, address: SocketAddr, log: &Path) -> anyhow::Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let file = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let mut server = Server { child: command.spawn().context(name.clone())?, address };
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(address).is_err() {
            if let Some(status) = server.child.try_wait()? {
                bail!("{name} ended with {status}; its log is\n{}", std::fs::read_to_string(log)?);
            }
            if Instant::now() > deadline {
                bail!("{name} does not answer on {address}");
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }
}

/// An address without a listener at the moment.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// A certificate for 127.0.0.1 and localhost with the authority that signed it, made by openssl.
pub struct Certificate {
    pub authority: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Certificate {
    pub fn make(folder: &Path) -> anyhow::Result<Self> {
        let script = "umask 077
            printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\\nextendedKeyUsage=serverAuth\\n' >ext
            openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj '/CN=bench authority' \
                -keyout ca.key -out ca.pem -addext keyUsage=critical,keyCertSign
            openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -keyout key.pem -out csr.pem
            openssl x509 -req -in csr.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile ext -out cert.pem
            chmod a+r *.pem";
        let output = Command::new("sh").args(["-ec", script]).current_dir(folder).output()?;
        if !output.status.success() {
            bail!("openssl: {}", String::from_utf8_lossy(&output.stderr));
        }
        let file = |name| folder.join(name);
        Ok(Certificate { authority: file("ca.pem"), certificate: file("cert.pem"), key: file("key.pem") })
    }
}

/// Starts nats-server with JetStream in `folder`, on `address`, with TLS if there is a certificate.
// Not the guard of the library `tests`: that one is asynchronous, and its dependencies would be built in the fleet profile.
pub fn nats(folder: &Path, address: SocketAddr, tls: Option<&Certificate>) -> anyhow::Result<Server> {
    let program = find("nats-server").context("nats-server is not on PATH")?;
    let mut config =
        format!("listen: \"{address}\"\njetstream: {{ store_dir: {folder:?}, max_file_store: 20GB }}\n");
    if let Some(tls) = tls {
        config += &format!("tls: {{ cert_file: {:?}, key_file: {:?} }}\n", tls.certificate, tls.key);
    }
    let path = folder.join("nats.conf");
    std::fs::write(&path, config)?;
    let mut command = Command::new(program);
    command.arg("-c").arg(&path);
    Server::start(command, address, &folder.join("nats.log"))
}

/// Starts mosquitto with a plain and a TLS listener, if it is installed.
pub fn mosquitto(folder: &Path, tls: &Certificate) -> anyhow::Result<Option<(Server, SocketAddr)>> {
    let Some(program) = find("mosquitto") else { return Ok(None) };
    let (plain, secure) = (free_address()?, free_address()?);
    let config = format!(
        "allow_anonymous true\nuser root\nlistener {} 127.0.0.1\nlistener {} 127.0.0.1\ncertfile {}\nkeyfile {}\n",
        plain.port(),
        secure.port(),
        tls.certificate.display(),
        tls.key.display()
    );
    let path = folder.join("mosquitto.conf");
    std::fs::write(&path, config)?;
    let mut command = Command::new(program);
    command.arg("-c").arg(&path);
    Ok(Some((Server::start(command, plain, &folder.join("mosquitto.log"))?, secure)))
}

/// Reads every connection to its end and closes it: the server for peers without acknowledgement.
pub fn line_sink() -> anyhow::Result<SocketAddr> {
    serve(|mut stream| {
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    })
}

/// Answers every HTTP request with an empty 200.
pub fn http_sink() -> anyhow::Result<SocketAddr> {
    serve(|stream| {
        let _ = answer(stream);
    })
}

fn answer(stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        line.clear();
    }
    reader.read_exact(&mut vec![0; length])?;
    reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

fn serve(each: fn(TcpStream)) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            each(stream);
        }
    });
    Ok(address)
}
