//! Listens on the control socket and serves its clients.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use nix::sys::stat::{Mode, umask};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use vgw_admin::request::{MAX_REQUEST, Request, RequestError, parse_request};
use vgw_admin::wire::Reply;

use crate::clients::{self, ClientSlot};

/// Clients at once; a further one takes the place of one that says nothing.
const MAX_CLIENTS: usize = 32;
/// A client that says nothing for this long is let go.
const IDLE: Duration = Duration::from_secs(60);
/// A client that does not take its answer within this is let go.
const PATIENCE: Duration = Duration::from_secs(5);

/// A request and where its answer goes.
#[derive(Debug)]
pub struct PendingRequest {
    /// What is asked.
    pub request: Request,
    /// Takes the answer, which others may get too; dropped without one when the
    /// daemon stops.
    pub reply: oneshot::Sender<Arc<Reply>>,
}

/// The socket, bound. Its file is removed with it.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Binds the socket with these permission bits, in place of one that a
    /// daemon which is gone left behind.
    ///
    /// # Errors
    /// When another daemon answers there, the path is something else than a
    /// socket, or the file system refuses.
    pub fn bind(path: &Path, mode: u32) -> io::Result<Self> {
        let failed = |error: io::Error| {
            io::Error::new(
                error.kind(),
                format!("control socket {}: {error}", path.display()),
            )
        };
        make_folder(path).map_err(failed)?;
        remove_stale(path).map_err(failed)?;
        // Nobody else may connect before the mode is set.
        let before = umask(Mode::from_bits_truncate(0o177));
        let bound = UnixListener::bind(path);
        umask(before);
        let listener = Self {
            socket: bound.map_err(failed)?,
            path: path.to_owned(),
        };
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed)?;
        Ok(listener)
    }

    /// Serves clients until the receiver of `asked` is gone.
    pub async fn serve(self, asked: mpsc::Sender<PendingRequest>) {
        let accept = |context: &mut Context<'_>| self.socket.poll_accept(context);
        let serve = |client, slot| serve_client(client, slot, asked.clone());
        let end = asked.closed();
        clients::serve_until(end, "control socket", MAX_CLIENTS, accept, serve).await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            let path = self.path.display();
            tracing::debug!(%error, %path, "the control socket {path} was not removed: {error}");
        }
    }
}

fn make_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.exists() => {
            fs::DirBuilder::new().mode(0o755).create(folder)
        }
        _ => Ok(()),
    }
}

fn remove_stale(path: &Path) -> io::Result<()> {
    let Ok(found) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::other("there is a file of another kind"));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another daemon answers there",
        )),
        // Nobody listens any more.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        // Whether somebody does is not known: it is not ours to take.
        Err(error) => Err(error),
    }
}

async fn serve_client(
    client: UnixStream,
    slot: ClientSlot,
    asked: mpsc::Sender<PendingRequest>,
) -> io::Result<()> {
    let (read, mut write) = client.into_split();
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        timeout(IDLE, read_line(&mut read, &mut line)).await??;
        if line.is_empty() {
            return Ok(());
        }
        slot.client_waits();
        let too_long = line.last() != Some(&b'\n') && line.len() > MAX_REQUEST;
        let reply = answer(line.trim_ascii_end(), &asked).await;
        let octets = spawn_blocking(move || on_a_line(&reply)).await??;
        slot.we_wait();
        timeout(PATIENCE, write.write_all(&octets)).await??;
        if too_long {
            return Ok(());
        }
    }
}

/// The status of thousands of tunnels takes longer than the loop's other tasks
/// should wait: call it elsewhere.
fn on_a_line(reply: &Reply) -> io::Result<Vec<u8>> {
    let mut octets = serde_json::to_vec(reply)?;
    octets.push(b'\n');
    Ok(octets)
}

/// Reads up to a newline or the end, and no more than is needed to see that a
/// request is too long.
async fn read_line(read: &mut BufReader<OwnedReadHalf>, line: &mut Vec<u8>) -> io::Result<usize> {
    let most = u64::try_from(MAX_REQUEST).map_or(u64::MAX, |max| max.saturating_add(1));
    read.take(most).read_until(b'\n', line).await
}

async fn answer(line: &[u8], asked: &mpsc::Sender<PendingRequest>) -> Arc<Reply> {
    let request = match parse_request(line) {
        Ok(request) => request,
        Err(error) => return Arc::new(refusal(&error)),
    };
    let (reply, answer) = oneshot::channel();
    let sent = asked.send(PendingRequest { request, reply }).await;
    match (sent, answer.await) {
        (Ok(()), Ok(reply)) => reply,
        _ => Arc::new(Reply::Failed {
            lines: vec!["the daemon is stopping".to_owned()],
        }),
    }
}

fn refusal(error: &RequestError) -> Reply {
    Reply::Failed {
        lines: vec![error.to_string()],
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use tokio::sync::mpsc;

    use super::{Listener, MAX_CLIENTS, MAX_REQUEST};
    use vgw_admin::request::Request;
    use vgw_admin::wire::Reply;

    /// Runs a client against a daemon that does everything it is asked.
    fn with_server<T: Send + 'static>(
        client: impl FnOnce(&std::path::Path) -> T + Send + 'static,
    ) -> T {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vgw.sock");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = Listener::bind(&path, 0o600).unwrap();
            let (sender, mut asked) = mpsc::channel(1);
            let server = tokio::spawn(listener.serve(sender));
            let client = tokio::task::spawn_blocking(move || client(&path));
            let doer = tokio::spawn(async move {
                while let Some(asked) = asked.recv().await {
                    let lines = match asked.request {
                        Request::Reload => vec!["reloaded".to_owned()],
                        other => vec![format!("{other:?}")],
                    };
                    let _ = asked.reply.send(Arc::new(Reply::Done { lines }));
                }
            });
            let result = client.await.unwrap();
            doer.abort();
            server.await.unwrap();
            result
        })
    }

    fn ask(stream: &UnixStream, line: &[u8]) -> Reply {
        let mut write = stream;
        write.write_all(line).unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap()
    }

    #[test]
    fn a_request_is_answered_however_many_clients_say_nothing() {
        let reply = with_server(|path| {
            let connect = |_| UnixStream::connect(path).unwrap();
            let silent: Vec<_> = (0..10 * MAX_CLIENTS).map(connect).collect();
            for half in silent.iter().step_by(2) {
                // It may have been let go.
                let _ = (&mut &*half).write_all(b"{\"request\":");
            }
            ask(
                &UnixStream::connect(path).unwrap(),
                b"{\"request\":\"reload\"}\n",
            )
        });
        let lines = vec!["reloaded".to_owned()];
        assert_eq!(reply, Reply::Done { lines });
    }

    #[test]
    fn a_client_may_ask_again_after_nonsense_on_the_same_connection() {
        let replies = with_server(|path| {
            let stream = UnixStream::connect(path).unwrap();
            [
                ask(&stream, b"nonsense\n"),
                ask(&stream, b"{\"request\":\"reload\"}\n"),
            ]
        });
        assert!(
            matches!(&replies[0], Reply::Failed { lines } if lines[0].contains("not a request"))
        );
        assert!(matches!(replies[1], Reply::Done { .. }));
    }

    #[test]
    fn an_endless_line_is_refused_and_the_client_let_go() {
        let (reply, rest) = with_server(|path| {
            let stream = UnixStream::connect(path).unwrap();
            let reply = ask(&stream, &vec![b'['; MAX_REQUEST + 1]);
            let mut rest = String::new();
            let end = BufReader::new(&stream).read_line(&mut rest).unwrap();
            (reply, end)
        });
        assert!(matches!(&reply, Reply::Failed { lines } if lines[0].contains("octets")));
        assert_eq!(rest, 0);
    }

    #[test]
    fn the_socket_has_its_mode_and_takes_the_place_of_a_stale_one_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/vgw.sock");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let _entered = runtime.enter();
        std::fs::create_dir(folder.path().join("run")).unwrap();
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let listener = Listener::bind(&path, 0o660).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        let error = Listener::bind(&path, 0o660).unwrap_err().to_string();
        assert!(error.contains("another daemon"), "{error}");
        drop(listener);
        assert!(!path.exists());
        let other = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        assert!(Listener::bind(&path, 0o660).is_err());
        assert!(path.exists(), "a socket of another kind is somebody else's");
        drop(other);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "precious").unwrap();
        assert!(Listener::bind(&path, 0o660).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}
