//! As much of HTTP as a scrape needs: one GET a connection, one answer.
//!
//! A web framework would be the largest dependency of the daemon for the
//! smallest of its interfaces.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::{Sample, text};

/// More clients than this wait to be accepted.
const MAX_CLIENTS: usize = 16;
/// A request's head may not be longer, octets.
const MAX_HEAD: usize = 8192;
/// A client has this long for its request, and again for taking the answer.
const PATIENCE: Duration = Duration::from_secs(5);
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

/// A sample is asked for; it goes here.
pub type Asked = oneshot::Sender<Sample>;

/// Serves scrapes, each in a task of its own, until the receiver of `asked` is gone.
pub async fn serve(listener: TcpListener, asked: mpsc::Sender<Asked>) {
    let places = Arc::new(Semaphore::new(MAX_CLIENTS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let client = tokio::select! {
            accepted = listener.accept() => accepted,
            () = asked.closed() => return,
        };
        let client = match client {
            Ok((client, _)) => client,
            Err(error) => {
                tracing::warn!(%error, "a client of the metrics was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let asked = asked.clone();
        tokio::spawn(async move {
            if let Err(error) = serve_client(client, &asked).await {
                tracing::debug!(%error, "a client of the metrics was let go");
            }
            drop(place);
        });
    }
}

async fn serve_client(mut client: TcpStream, asked: &mpsc::Sender<Asked>) -> io::Result<()> {
    let head = timeout(PATIENCE, read_head(&mut client)).await??;
    let answer = match Target::of(&head) {
        Target::Metrics => match sample(asked).await.and_then(|sample| text(sample).ok()) {
            Some(text) => response("200 OK", OPENMETRICS, &text),
            None => response("503 Service Unavailable", PLAIN, "the daemon is stopping\n"),
        },
        Target::Unknown => response("404 Not Found", PLAIN, "metrics are at /metrics\n"),
        Target::WrongMethod => response("405 Method Not Allowed", PLAIN, "only GET\n"),
        Target::NotHttp => response("400 Bad Request", PLAIN, "expected GET /metrics HTTP/1.1\n"),
    };
    timeout(PATIENCE, client.write_all(answer.as_bytes())).await??;
    client.shutdown().await
}

async fn sample(asked: &mpsc::Sender<Asked>) -> Option<Sample> {
    let (sample, answer) = oneshot::channel();
    asked.send(sample).await.ok()?;
    answer.await.ok()
}

/// Reads up to the empty line that ends a head, the end, or too much.
async fn read_head(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut part = [0; 1024];
    while !ended(&head) && head.len() < MAX_HEAD {
        let read = client.read(&mut part).await?;
        if read == 0 {
            break;
        }
        head.extend_from_slice(part.get(..read).unwrap_or_default());
    }
    Ok(head)
}

fn ended(head: &[u8]) -> bool {
    head.windows(4).any(|w| w == b"\r\n\r\n") || head.windows(2).any(|w| w == b"\n\n")
}

/// What a request's head asks for.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    Metrics,
    Unknown,
    WrongMethod,
    NotHttp,
}

impl Target {
    fn of(head: &[u8]) -> Self {
        let line = head
            .split(|octet| *octet == b'\n')
            .next()
            .unwrap_or_default();
        let mut words = line
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty());
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Self::NotHttp;
        };
        let path = target.split(|octet| *octet == b'?').next();
        match (method, path) {
            _ if !version.starts_with(b"HTTP/1.") || !ended(head) => Self::NotHttp,
            (b"GET", Some(b"/metrics")) => Self::Metrics,
            (b"GET", _) => Self::Unknown,
            _ => Self::WrongMethod,
        }
    }
}

fn response(status: &str, kind: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::mpsc;

    use super::{Target, serve};
    use crate::metrics::Sample;

    #[test]
    fn only_a_get_of_the_metrics_is_answered_with_them() {
        let target = |text: &str| Target::of(text.as_bytes());
        assert_eq!(
            target("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"),
            Target::Metrics
        );
        assert_eq!(target("GET /metrics?x=1 HTTP/1.0\n\n"), Target::Metrics);
        assert_eq!(target("GET / HTTP/1.1\r\n\r\n"), Target::Unknown);
        assert_eq!(
            target("POST /metrics HTTP/1.1\r\n\r\n"),
            Target::WrongMethod
        );
        assert_eq!(target("GET /metrics HTTP/1.1\r\n"), Target::NotHttp);
        assert_eq!(target("GET /metrics\r\n\r\n"), Target::NotHttp);
        assert_eq!(target("GET /metrics FTP/1.1\r\n\r\n"), Target::NotHttp);
        assert_eq!(target(""), Target::NotHttp);
    }

    proptest! {
        #[test]
        fn any_octets_are_a_request_or_not(head in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Target::of(&head);
        }
    }

    #[test]
    fn a_scrape_is_answered_while_another_client_says_nothing() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let answer = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (sender, mut asked) = mpsc::channel::<super::Asked>(1);
            tokio::spawn(serve(listener, sender));
            let _silent = TcpStream::connect(address).await.unwrap();
            let mut client = TcpStream::connect(address).await.unwrap();
            client
                .write_all(b"GET /metrics HTTP/1.1\r\n\r\n")
                .await
                .unwrap();
            let wanted = asked.recv().await.unwrap();
            wanted.send(Sample::default()).unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            answer
        });
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("vgw_ike_half_open 0\n"), "{answer}");
        assert!(answer.ends_with("# EOF\n"), "{answer}");
    }
}
