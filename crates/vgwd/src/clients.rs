//! Serves the clients of a listening socket, each in a task of its own, so that
//! none waits for another, and no more than so many at once.
//!
//! There is always room for a new client: the one that has kept us waiting
//! longest makes it. So whoever opens connections and says nothing, or does not
//! take its answers, takes nobody's place.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{AbortHandle, yield_now};

/// No descriptors, most likely; they come back.
const RETRY: Duration = Duration::from_millis(100);

/// Serves clients until `end`: what `accept` gives when polled is served by `serve`, at
/// most `most` at once. `what` names the socket in the log.
pub async fn serve_until<C, A, T: Future<Output = io::Result<()>> + Send + 'static>(
    end: impl Future<Output = ()>,
    what: &'static str,
    most: usize,
    accept: impl Fn(&mut Context<'_>) -> Poll<io::Result<(C, A)>>,
    serve: impl Fn(C, ClientSlot) -> T,
) {
    let table = Arc::new(Table::default());
    let serving = async {
        loop {
            let client = match poll_fn(&accept).await {
                Ok((client, _)) => client,
                Err(error) => {
                    tracing::warn!(%error, "a client of the {what} was not accepted: {error}");
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            };
            table.make_room(most).await;
            let slot = table.enter();
            let number = slot.number;
            let client = serve(client, slot);
            let task = tokio::spawn(async move {
                if let Err(error) = client.await {
                    tracing::debug!(%error, "a client of the {what} was let go: {error}");
                }
            });
            table.set_task(number, task.abort_handle());
            // Its request may have come with it. Read now, it is not the next one to
            // make room, however many are accepted after it.
            yield_now().await;
        }
    };
    tokio::select! {
        () = serving => {}
        () = end => {}
    }
}

/// A client's slot among those that are served; it is free again when dropped.
#[derive(Debug)]
pub struct ClientSlot {
    table: Arc<Table>,
    number: u64,
}

#[derive(Debug, Default)]
struct Table {
    clients: Mutex<Clients>,
    /// A client has left, or waits for us no longer.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Clients {
    /// By number.
    served: BTreeMap<u64, Client>,
    last_number: u64,
    /// Counts whenever the next step becomes a client's.
    moves: u64,
}

#[derive(Debug)]
struct Client {
    /// When the next step became this client's, by [`Clients::moves`]; None while
    /// it is ours.
    waited_for_since: Option<u64>,
    task: Option<AbortHandle>,
}

impl ClientSlot {
    /// The client waits for us from now on: it has asked for something.
    pub fn client_waits(&self) {
        if let Some(client) = self.table.clients().served.get_mut(&self.number) {
            client.waited_for_since = None;
        }
    }

    /// We wait for the client from now on: to ask, or to take its answer.
    pub fn we_wait(&self) {
        let mut clients = self.table.clients();
        clients.moves += 1;
        let moves = clients.moves;
        if let Some(client) = clients.served.get_mut(&self.number) {
            client.waited_for_since = Some(moves);
        }
        drop(clients);
        self.table.changed.notify_one();
    }
}

impl Drop for ClientSlot {
    fn drop(&mut self) {
        self.table.clients().served.remove(&self.number);
        self.table.changed.notify_one();
    }
}

impl Table {
    fn clients(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until fewer than `most` are served, which is at once unless all of
    /// them wait for us.
    async fn make_room(&self, most: usize) {
        while !self.clients().make_room(most) {
            self.changed.notified().await;
        }
    }

    fn enter(self: &Arc<Self>) -> ClientSlot {
        let mut clients = self.clients();
        clients.last_number += 1;
        clients.moves += 1;
        let (number, moves) = (clients.last_number, clients.moves);
        let client = Client {
            waited_for_since: Some(moves),
            task: None,
        };
        clients.served.insert(number, client);
        ClientSlot {
            table: Arc::clone(self),
            number,
        }
    }

    fn set_task(&self, number: u64, task: AbortHandle) {
        if let Some(client) = self.clients().served.get_mut(&number) {
            client.task = Some(task);
        }
    }
}

impl Clients {
    fn make_room(&mut self, most: usize) -> bool {
        if self.served.len() < most {
            return true;
        }
        let waited_for = self.served.iter();
        let longest = waited_for
            .filter_map(|(number, client)| Some((client.waited_for_since?, *number)))
            .min();
        let Some((_, longest)) = longest else {
            return false;
        };
        if let Some(task) = self.served.remove(&longest).and_then(|client| client.task) {
            task.abort();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};
    use std::task::Context;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::sync::{Semaphore, mpsc};

    use super::{ClientSlot, serve_until};

    const MOST: usize = 4;

    /// Serves what is sent here: each octet is answered with itself, as soon as
    /// there is a permit for it.
    fn echo(permits: Arc<Semaphore>) -> mpsc::UnboundedSender<DuplexStream> {
        let (sender, clients) = mpsc::unbounded_channel();
        let clients = Mutex::new(clients);
        let accept = move |context: &mut Context<'_>| {
            let next = clients.lock().unwrap().poll_recv(context);
            next.map(|client| Ok((client.ok_or_else(|| io::Error::other("none is left"))?, ())))
        };
        let answer = move |mut client: DuplexStream, slot: ClientSlot| {
            let permits = Arc::clone(&permits);
            async move {
                loop {
                    let octet = client.read_u8().await?;
                    slot.client_waits();
                    permits.acquire().await.map_err(io::Error::other)?.forget();
                    slot.we_wait();
                    client.write_u8(octet).await?;
                }
            }
        };
        let end = std::future::pending();
        tokio::spawn(serve_until(end, "test", MOST, accept, answer));
        sender
    }

    fn connect(to: &mpsc::UnboundedSender<DuplexStream>) -> DuplexStream {
        let (ours, theirs) = duplex(16);
        to.send(theirs).unwrap();
        ours
    }

    async fn ask(client: &mut DuplexStream) -> io::Result<u8> {
        client.write_u8(7).await?;
        client.read_u8().await
    }

    #[tokio::test]
    async fn a_new_client_is_served_however_many_say_nothing() {
        let to = echo(Arc::new(Semaphore::new(1000)));
        let mut silent: Vec<_> = (0..1000).map(|_| connect(&to)).collect();
        for _ in 0..20 {
            assert_eq!(ask(&mut connect(&to)).await.unwrap(), 7);
        }
        // Nearly all of them were let go, so their ends are closed.
        let mut closed = 0;
        for client in &mut silent {
            closed += usize::from(client.write_u8(7).await.is_err());
        }
        assert!(closed >= 1000 - MOST, "{closed}");
    }

    #[tokio::test]
    async fn whoever_kept_us_waiting_longest_makes_room() {
        let to = echo(Arc::new(Semaphore::new(1000)));
        let mut clients: Vec<_> = (0..MOST).map(|_| connect(&to)).collect();
        for client in &mut clients {
            assert_eq!(ask(client).await.unwrap(), 7);
        }
        // The first two say something again, so the third has been silent longest.
        for client in &mut clients[..2] {
            assert_eq!(ask(client).await.unwrap(), 7);
        }
        assert_eq!(ask(&mut connect(&to)).await.unwrap(), 7);
        let mut served = Vec::new();
        for client in &mut clients {
            served.push(ask(client).await.is_ok());
        }
        assert_eq!(served, [true, true, false, true]);
    }

    #[tokio::test]
    async fn whoever_waits_for_us_is_not_let_go() {
        let permits = Arc::new(Semaphore::new(0));
        let to = echo(Arc::clone(&permits));
        let mut waiting: Vec<_> = (0..MOST).map(|_| connect(&to)).collect();
        for client in &mut waiting {
            client.write_u8(7).await.unwrap();
        }
        let mut late = connect(&to);
        late.write_u8(9).await.unwrap();
        permits.add_permits(MOST + 1);
        assert_eq!(late.read_u8().await.unwrap(), 9);
        let mut answered = 0;
        for client in &mut waiting {
            answered += usize::from(client.read_u8().await.is_ok_and(|octet| octet == 7));
        }
        assert_eq!(answered, MOST);
    }
}
