//! As much of HTTP as a scrape needs: one GET a connection, one answer.
//!
//! A web framework would be the largest dependency of the daemon for the
//! smallest of its interfaces.

use std::io;
use std::sync::Arc;
use std::task::Context;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::{MetricsFormat, Process, Sample, plain, text};
use crate::clients::{self, ClientSlot};

/// Clients at once; a further one takes the place of one that says nothing.
const MAX_CLIENTS: usize = 16;
/// A request's head may not be longer, octets.
const MAX_HEAD: usize = 8192;
/// A client has this long for its request, and again for taking the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Scrapes within this are answered alike.
const FRESH: Duration = Duration::from_secs(1);
const PLAIN: &str = "text/plain; charset=utf-8";

/// Takes the sample that is asked for.
pub type SampleRequest = oneshot::Sender<Sample>;

/// Serves scrapes until the receiver of `asked` is gone.
pub async fn serve(listener: TcpListener, asked: mpsc::Sender<SampleRequest>) {
    let scrapes = Arc::new(Scrapes {
        asked,
        fresh: FRESH,
        last: Mutex::default(),
    });
    let accept = |context: &mut Context<'_>| listener.poll_accept(context);
    let serve = |client, slot| serve_client(client, slot, Arc::clone(&scrapes));
    let end = scrapes.asked.closed();
    clients::serve_until(end, "metrics", MAX_CLIENTS, accept, serve).await;
}

async fn serve_client(
    mut client: TcpStream,
    slot: ClientSlot,
    scrapes: Arc<Scrapes>,
) -> io::Result<()> {
    let head = timeout(PATIENCE, read_head(&mut client)).await??;
    slot.client_waits();
    let (status, kind, body) = match RequestTarget::of(&head) {
        RequestTarget::Metrics(format) => match scrapes.text(format).await {
            Some(text) => ("200 OK", format.content_type(), text),
            None => failed("503 Service Unavailable", "the daemon is stopping\n"),
        },
        RequestTarget::Unknown => failed("404 Not Found", "metrics are at /metrics\n"),
        RequestTarget::WrongMethod => failed("405 Method Not Allowed", "only GET\n"),
        RequestTarget::NotHttp => failed("400 Bad Request", "expected GET /metrics HTTP/1.1\n"),
    };
    slot.we_wait();
    let head = response_head(status, kind, body.len());
    let answer = async {
        client.write_all(head.as_bytes()).await?;
        client.write_all(body.as_bytes()).await?;
        client.shutdown().await
    };
    timeout(PATIENCE, answer).await?
}

/// Status line, content type and body.
type Answer = (&'static str, &'static str, Arc<str>);

fn failed(status: &'static str, why: &str) -> Answer {
    (status, PLAIN, why.into())
}

/// The text of the last scrape. However many scrapers there are, the loop is asked
/// for a sample once for all that come within [`FRESH`], and a thread that nobody
/// waits for makes the text of it.
struct Scrapes {
    asked: mpsc::Sender<SampleRequest>,
    fresh: Duration,
    /// Held while a new one is made, so that the others wait for it.
    last: Mutex<Option<(Instant, Texts)>>,
}

/// The last scrape in each format, in the order of [`MetricsFormat::ALL`].
type Texts = [Arc<str>; MetricsFormat::ALL.len()];

impl Scrapes {
    /// None: the daemon is stopping.
    async fn text(&self, format: MetricsFormat) -> Option<Arc<str>> {
        let of = |[open, plain]: &Texts| match format {
            MetricsFormat::OpenMetrics => Arc::clone(open),
            MetricsFormat::Plain => Arc::clone(plain),
        };
        let mut last = self.last.lock().await;
        if let Some((made, known)) = &*last
            && made.elapsed() < self.fresh
        {
            return Some(of(known));
        }
        let (sample, answer) = oneshot::channel();
        self.asked.send(sample).await.ok()?;
        let sample = answer.await.ok()?;
        let made = Instant::now();
        let new = spawn_blocking(|| texts(sample)).await.ok()??;
        let wanted = of(&new);
        *last = Some((made, new));
        Some(wanted)
    }
}

fn texts(sample: Sample) -> Option<Texts> {
    let process = Process::now(sample.started);
    let open = text(sample, process).ok()?;
    let plain = plain(&open);
    Some([open.into(), plain.into()])
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
enum RequestTarget {
    Metrics(MetricsFormat),
    Unknown,
    WrongMethod,
    NotHttp,
}

impl RequestTarget {
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
            (b"GET", Some(b"/metrics")) => Self::Metrics(MetricsFormat::wanted(&accepted(head))),
            (b"GET", _) => Self::Unknown,
            _ => Self::WrongMethod,
        }
    }
}

/// The Accept fields of a request's head, as one (RFC 9110 section 5.3).
fn accepted(head: &[u8]) -> String {
    let head = String::from_utf8_lossy(head);
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let accept = fields.filter(|(name, _)| name.eq_ignore_ascii_case("accept"));
    let values: Vec<&str> = accept.map(|(_, value)| value.trim()).collect();
    values.join(",")
}

fn response_head(status: &str, kind: &str, length: usize) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         Vary: Accept\r\nConnection: close\r\n\r\n"
    )
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::{Mutex, mpsc};

    use super::{MAX_CLIENTS, RequestTarget, SampleRequest, Scrapes, serve};
    use crate::metrics::{MetricsFormat, Sample};

    #[test]
    fn only_a_get_of_the_metrics_is_answered_with_them() {
        let target = |text: &str| RequestTarget::of(text.as_bytes());
        assert_eq!(
            target("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"),
            RequestTarget::Metrics(MetricsFormat::Plain)
        );
        let open = "GET /metrics HTTP/1.1\r\naccept: text/html\r\n\
                    ACCEPT:application/openmetrics-text\r\n\r\n";
        assert_eq!(
            target(open),
            RequestTarget::Metrics(MetricsFormat::OpenMetrics)
        );
        assert_eq!(
            target("GET /metrics?x=1 HTTP/1.0\n\n"),
            RequestTarget::Metrics(MetricsFormat::Plain)
        );
        assert_eq!(target("GET / HTTP/1.1\r\n\r\n"), RequestTarget::Unknown);
        assert_eq!(
            target("POST /metrics HTTP/1.1\r\n\r\n"),
            RequestTarget::WrongMethod
        );
        assert_eq!(target("GET /metrics HTTP/1.1\r\n"), RequestTarget::NotHttp);
        assert_eq!(target("GET /metrics\r\n\r\n"), RequestTarget::NotHttp);
        assert_eq!(
            target("GET /metrics FTP/1.1\r\n\r\n"),
            RequestTarget::NotHttp
        );
        assert_eq!(target(""), RequestTarget::NotHttp);
    }

    proptest! {
        #[test]
        fn any_octets_are_a_request_or_not(head in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = RequestTarget::of(&head);
        }
    }

    async fn connect(to: SocketAddr) -> TcpStream {
        let mut client = TcpStream::connect(to).await.unwrap();
        let request = b"GET /metrics HTTP/1.1\r\n\r\n";
        client.write_all(request).await.unwrap();
        client
    }

    async fn answer(mut client: TcpStream) -> String {
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_scrape_is_answered_however_many_clients_say_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, mut asked) = mpsc::channel::<SampleRequest>(1);
        tokio::spawn(serve(listener, sender));
        let mut silent = Vec::new();
        for _ in 0..10 * MAX_CLIENTS {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let client = connect(address).await;
        let wanted = asked.recv().await.unwrap();
        wanted.send(Sample::default()).unwrap();
        let answer = answer(client).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("vgw_ike_half_open 0\n"), "{answer}");
        let plain = "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n";
        assert!(
            answer.contains(plain) && !answer.contains("# EOF"),
            "{answer}"
        );
    }

    #[tokio::test]
    async fn scrapers_who_come_together_cost_the_loop_one_sample() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, mut asked) = mpsc::channel::<SampleRequest>(8);
        tokio::spawn(serve(listener, sender));
        let mut scrapers = Vec::new();
        for _ in 0..8 {
            scrapers.push(connect(address).await);
        }
        let wanted = asked.recv().await.unwrap();
        let sample = Sample {
            half_open: 7,
            ..Sample::default()
        };
        wanted.send(sample).unwrap();
        for client in scrapers {
            let answer = answer(client).await;
            assert!(answer.contains("vgw_ike_half_open 7\n"), "{answer}");
        }
        assert!(asked.try_recv().is_err(), "one sample was enough");
    }

    #[tokio::test]
    async fn a_sample_is_not_used_for_longer_than_it_is_fresh() {
        let (asked, mut wanted) = mpsc::channel::<SampleRequest>(1);
        let scrapes = Scrapes {
            asked,
            fresh: Duration::ZERO,
            last: Mutex::default(),
        };
        for half_open in 1..4 {
            let give = async {
                let sample = Sample {
                    half_open,
                    ..Sample::default()
                };
                wanted.recv().await.unwrap().send(sample).unwrap();
            };
            let (text, ()) = tokio::join!(scrapes.text(MetricsFormat::Plain), give);
            let line = format!("vgw_ike_half_open {half_open}\n");
            assert!(text.unwrap().contains(&line));
        }
    }
}
