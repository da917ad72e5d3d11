//! Cookies: no memory and no key exchange for a sender that does not receive at its address (RFC
//! 7296 section 2.6).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use subtle::ConstantTimeEq;
use vgw_crypto::{Prf, Secret, SecretRandom};

/// A secret is used this long to make cookies and as long again to check them.
const ROTATION: Duration = Duration::from_secs(60);
/// Length of a secret in bytes: the length of the MAC.
const KEY_LEN: usize = 32;

struct Generation {
    version: u8,
    key: Secret,
}

/// Makes and checks cookies.
#[derive(Default)]
pub(super) struct CookieJar {
    current: Option<Generation>,
    previous: Option<Generation>,
    rotate_at: Option<Instant>,
}

impl CookieJar {
    /// The cookie for this initiator. It covers source address and port, so one host cannot collect
    /// cookies for many. None: there were no random numbers for a secret.
    pub(super) fn make(
        &mut self,
        now: Instant,
        random: &mut SecretRandom,
        remote: SocketAddr,
        spi_i: u64,
        nonce: &[u8],
    ) -> Option<Vec<u8>> {
        self.rotate(now, random);
        self.current
            .as_ref()
            .map(|generation| generation.cookie(remote, spi_i, nonce))
    }

    /// Whether we recently made this cookie for this initiator.
    pub(super) fn check(
        &mut self,
        now: Instant,
        random: &mut SecretRandom,
        (remote, spi_i, nonce): (SocketAddr, u64, &[u8]),
        cookie: &[u8],
    ) -> bool {
        self.rotate(now, random);
        [&self.current, &self.previous]
            .into_iter()
            .flatten()
            .any(|generation| {
                let ours = generation.cookie(remote, spi_i, nonce);
                bool::from(ours.ct_eq(cookie))
            })
    }

    fn rotate(&mut self, now: Instant, random: &mut SecretRandom) {
        if self.rotate_at.is_some_and(|at| now < at) {
            return;
        }
        let Ok(key) = random.secret(KEY_LEN) else {
            return;
        };
        let version = self
            .current
            .as_ref()
            .map_or(0, |generation| generation.version.wrapping_add(1));
        // After a pause longer than a rotation, the previous secret is too old as well.
        let stale = self.rotate_at.is_some_and(|at| now >= at + ROTATION);
        self.previous = self.current.take().filter(|_| !stale);
        self.current = Some(Generation { version, key });
        self.rotate_at = Some(now + ROTATION);
    }
}

impl Generation {
    fn cookie(&self, remote: SocketAddr, spi_i: u64, nonce: &[u8]) -> Vec<u8> {
        let address = crate::v2::handshake::nat::address_octets(remote.ip());
        let parts = [
            nonce,
            &address,
            &remote.port().to_be_bytes(),
            &spi_i.to_be_bytes(),
        ];
        let mac = Prf::HmacSha256.compute(self.key.expose(), &parts);
        let mut cookie = vec![self.version];
        cookie.extend_from_slice(mac.expose());
        cookie
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng;
    use vgw_crypto::SecretRandom;

    use super::CookieJar;

    #[test]
    #[allow(
        clippy::disallowed_methods,
        reason = "an arbitrary start of virtual time"
    )]
    fn a_cookie_holds_for_its_maker_address_port_and_time_only() {
        let mut random = SecretRandom::new(ChaCha8Rng::seed_from_u64(1));
        let mut jar = CookieJar::default();
        let start = Instant::now();
        let remote = "192.0.2.1:500".parse().unwrap();
        let nonce = [7; 32];
        let cookie = jar.make(start, &mut random, remote, 1, &nonce).unwrap();
        assert!(cookie.len() <= 64);
        let mut check = |seconds, remote: &str, spi, nonce: &[u8]| {
            let at = start + Duration::from_secs(seconds);
            let remote = remote.parse().unwrap();
            jar.check(at, &mut random, (remote, spi, nonce), &cookie)
        };
        assert!(check(1, "192.0.2.1:500", 1, &nonce));
        assert!(!check(1, "192.0.2.1:501", 1, &nonce));
        assert!(!check(1, "192.0.2.2:500", 1, &nonce));
        assert!(!check(1, "192.0.2.1:500", 2, &nonce));
        assert!(!check(1, "192.0.2.1:500", 1, &[8; 32]));
        assert!(check(61, "192.0.2.1:500", 1, &nonce), "previous secret");
        assert!(!check(122, "192.0.2.1:500", 1, &nonce), "expired");
    }
}
