//! The optional key log: SA keys in the formats of Wireshark's tables
//! `ikev2_decryption_table` and `esp_sa`, so that a capture can be read.
//!
//! Whoever has these files reads all traffic. Off unless the configuration
//! names the files, for the owner's eyes only, and loudly logged.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Instant;

use vgw_crypto::{DirectionKeys, Encryption, EspSuite, IkeSuite, Integrity, Secret};
use vgw_gateway::line_limit::LineLimit;
use vgw_ike::event::IkeKeyLog;
use vgw_sa::ChildSa;
use zeroize::Zeroizing;

use crate::config;

/// Only the owner may read or write.
const MODE: u32 = 0o600;

/// So many failures to write keys are logged in a minute: peers decide how often
/// there are new ones.
const FAILURES: u32 = 5;

/// Files that keys are appended to; either may be off.
#[derive(Debug)]
pub struct KeyLog {
    ike: Option<File>,
    esp: Option<File>,
    failure_lines: LineLimit,
}

impl KeyLog {
    /// Opens the files that are configured.
    ///
    /// # Errors
    /// When a file cannot be opened, or not be closed to others.
    pub fn open(config: &config::KeyLog) -> io::Result<Self> {
        let open = |path: &Option<_>| path.as_deref().map(append_privately).transpose();
        Ok(Self {
            ike: open(&config.ike)?,
            esp: open(&config.esp)?,
            failure_lines: LineLimit::new(FAILURES),
        })
    }

    /// Warns of each file that keys are written to.
    pub fn warn(config: &config::KeyLog) {
        for path in [&config.ike, &config.esp].into_iter().flatten() {
            let shown = path.display();
            tracing::warn!(
                path = %shown,
                "KEY LOG IS ON: whoever reads {shown} reads all traffic; turn it off when done"
            );
        }
    }

    /// Whether keys of IKE SAs are to be had at all.
    pub fn wants_ike(&self) -> vgw_ike::config::KeyLog {
        match self.ike {
            Some(_) => vgw_ike::config::KeyLog::On,
            None => vgw_ike::config::KeyLog::Off,
        }
    }

    /// Appends the keys of an IKE SA.
    pub fn ike(&mut self, spi_i: u64, spi_r: u64, suite: IkeSuite, keys: &IkeKeyLog) {
        if let Some(file) = &mut self.ike {
            append(
                file,
                &ike_line(spi_i, spi_r, suite, keys),
                &mut self.failure_lines,
            );
        }
    }

    /// Appends the keys of both directions of a CHILD SA.
    pub fn child(&mut self, child: &ChildSa) {
        if let Some(file) = &mut self.esp {
            append(file, &esp_lines(child), &mut self.failure_lines);
        }
    }
}

fn append_privately(path: &Path) -> io::Result<File> {
    let failed = |error: io::Error| {
        io::Error::new(error.kind(), format!("key log {}: {error}", path.display()))
    };
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(MODE)
        // A link put there by somebody else would lead the keys elsewhere.
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .map_err(failed)?;
    // The file may be older than this run, and open to others.
    file.set_permissions(Permissions::from_mode(MODE))
        .map_err(failed)?;
    Ok(file)
}

fn append(file: &mut File, lines: &str, failures: &mut LineLimit) {
    if let Err(error) = file.write_all(lines.as_bytes())
        && let Some(line) = failures.allow(Instant::now())
    {
        let held_back = line.held_back;
        tracing::warn!(%error, held_back, "keys could not be appended to the key log: {error}{line}");
    }
}

/// One row of `ikev2_decryption_table`. Binary fields are bare hex, names quoted.
fn ike_line(spi_i: u64, spi_r: u64, suite: IkeSuite, keys: &IkeKeyLog) -> Zeroizing<String> {
    let cipher = match suite.encryption {
        Encryption::AesCbc128 => "AES-CBC-128 [RFC3602]",
        Encryption::AesCbc256 => "AES-CBC-256 [RFC3602]",
        Encryption::AesGcm128 => "AES-GCM-128 with 16 octet ICV [RFC5282]",
        Encryption::AesGcm256 => "AES-GCM-256 with 16 octet ICV [RFC5282]",
    };
    let integrity = match suite.integrity {
        None => "NONE [RFC4306]",
        Some(Integrity::HmacSha1_96) => "HMAC_SHA1_96 [RFC2404]",
        Some(Integrity::HmacSha256_128) => "HMAC_SHA2_256_128 [RFC4868]",
        Some(Integrity::HmacSha384_192) => "HMAC_SHA2_384_192 [RFC4868]",
        Some(Integrity::HmacSha512_256) => "HMAC_SHA2_512_256 [RFC4868]",
    };
    Zeroizing::new(format!(
        "{spi_i:016x},{spi_r:016x},{ei},{er},\"{cipher}\",{ai},{ar},\"{integrity}\"\n",
        ei = *hex(&keys.sk_ei),
        er = *hex(&keys.sk_er),
        ai = *hex(&keys.sk_ai),
        ar = *hex(&keys.sk_ar),
    ))
}

/// Two rows of `esp_sa`, one for each direction.
fn esp_lines(child: &ChildSa) -> Zeroizing<String> {
    let (ours, theirs) = (child.path.local.ip(), child.path.remote.ip());
    let inbound = esp_line(theirs, ours, child.spi_in, child.suite, &child.keys_in);
    let outbound = esp_line(ours, theirs, child.spi_out, child.suite, &child.keys_out);
    Zeroizing::new([inbound.as_str(), outbound.as_str()].concat())
}

fn esp_line(
    from: IpAddr,
    to: IpAddr,
    spi: u32,
    suite: EspSuite,
    keys: &DirectionKeys,
) -> Zeroizing<String> {
    let family = if from.is_ipv4() { "IPv4" } else { "IPv6" };
    // The key of AES-GCM includes its salt (RFC 4106 section 8.1).
    let cipher = match suite.encryption {
        Encryption::AesCbc128 | Encryption::AesCbc256 => "AES-CBC [RFC3602]",
        Encryption::AesGcm128 | Encryption::AesGcm256 => "AES-GCM with 16 octet ICV [RFC4106]",
    };
    let integrity = match suite.integrity {
        None => "NULL",
        Some(Integrity::HmacSha1_96) => "HMAC-SHA-1-96 [RFC2404]",
        Some(Integrity::HmacSha256_128) => "HMAC-SHA-256-128 [RFC4868]",
        Some(Integrity::HmacSha384_192) => "HMAC-SHA-384-192 [RFC4868]",
        Some(Integrity::HmacSha512_256) => "HMAC-SHA-512-256 [RFC4868]",
    };
    let key = hex(&keys.encryption);
    let integrity_key = if keys.integrity.is_empty() {
        Zeroizing::default()
    } else {
        Zeroizing::new(format!("0x{}", *hex(&keys.integrity)))
    };
    Zeroizing::new(format!(
        "\"{family}\",\"{from}\",\"{to}\",\"{spi:#010x}\",\"{cipher}\",\"0x{key}\",\"{integrity}\",\"{integrity_key}\"\n",
        key = *key,
        integrity_key = *integrity_key,
    ))
}

fn hex(secret: &Secret) -> Zeroizing<String> {
    // Room for all digits at once: a string that grows leaves copies behind.
    let mut digits = Zeroizing::new(String::with_capacity(secret.len().saturating_mul(2)));
    for octet in secret.expose() {
        let _ = write!(digits, "{octet:02x}");
    }
    digits
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use vgw_crypto::{
        DirectionKeys, Encryption, EspSuite, Group, IkeSuite, Integrity, Prf, Secret,
    };
    use vgw_ike::event::IkeKeyLog;

    use vgw_sa::{ChildSa, Path};

    use super::{KeyLog, esp_lines, ike_line};
    use crate::config;

    fn key(octet: u8, len: usize) -> Secret {
        Secret::new(vec![octet; len])
    }

    fn child(suite: EspSuite, cipher_len: usize, integrity_len: usize) -> ChildSa {
        let keys = |octet| DirectionKeys {
            encryption: key(octet, cipher_len),
            integrity: key(octet, integrity_len),
        };
        ChildSa {
            spi_in: 0x0012_3456,
            spi_out: 0xc0de_cafe,
            suite,
            keys_in: keys(0xaa),
            keys_out: keys(0xbb),
            local_selectors: Vec::new(),
            remote_selectors: Vec::new(),
            path: Path {
                local: "203.0.113.1:4500".parse().unwrap(),
                remote: "198.51.100.7:4500".parse().unwrap(),
                udp_encapsulation: true,
            },
        }
    }

    // The names are those that tshark 4.0 takes; it refuses a table with any other.
    #[test]
    fn an_ike_sa_is_a_row_of_wiresharks_decryption_table() {
        let suite = IkeSuite {
            encryption: Encryption::AesCbc128,
            integrity: Some(Integrity::HmacSha1_96),
            prf: Prf::HmacSha1,
            group: Group::Modp2048,
        };
        let keys = IkeKeyLog {
            sk_ei: key(1, 4),
            sk_er: key(2, 4),
            sk_ai: key(3, 4),
            sk_ar: key(4, 4),
        };
        assert_eq!(
            *ike_line(0x0123, 0xfedc_ba98_7654_3210, suite, &keys),
            "0000000000000123,fedcba9876543210,01010101,02020202,\
             \"AES-CBC-128 [RFC3602]\",03030303,04040404,\"HMAC_SHA1_96 [RFC2404]\"\n"
        );
    }

    #[test]
    fn an_aead_ike_sa_has_no_integrity_keys() {
        let suite = IkeSuite {
            encryption: Encryption::AesGcm256,
            integrity: None,
            prf: Prf::HmacSha384,
            group: Group::Ecp384,
        };
        let keys = IkeKeyLog {
            sk_ei: key(1, 2),
            sk_er: key(2, 2),
            ..IkeKeyLog::default()
        };
        assert_eq!(
            *ike_line(1, 2, suite, &keys),
            "0000000000000001,0000000000000002,0101,0202,\
             \"AES-GCM-256 with 16 octet ICV [RFC5282]\",,,\"NONE [RFC4306]\"\n"
        );
    }

    #[test]
    fn a_child_sa_is_two_rows_one_for_each_direction() {
        let suite = EspSuite {
            encryption: Encryption::AesGcm128,
            integrity: None,
            esn: false,
        };
        assert_eq!(
            *esp_lines(&child(suite, 2, 0)),
            "\"IPv4\",\"198.51.100.7\",\"203.0.113.1\",\"0x00123456\",\
             \"AES-GCM with 16 octet ICV [RFC4106]\",\"0xaaaa\",\"NULL\",\"\"\n\
             \"IPv4\",\"203.0.113.1\",\"198.51.100.7\",\"0xc0decafe\",\
             \"AES-GCM with 16 octet ICV [RFC4106]\",\"0xbbbb\",\"NULL\",\"\"\n"
        );
        let suite = EspSuite {
            encryption: Encryption::AesCbc256,
            integrity: Some(Integrity::HmacSha256_128),
            esn: false,
        };
        assert!(esp_lines(&child(suite, 1, 1)).starts_with(
            "\"IPv4\",\"198.51.100.7\",\"203.0.113.1\",\"0x00123456\",\
             \"AES-CBC [RFC3602]\",\"0xaa\",\"HMAC-SHA-256-128 [RFC4868]\",\"0xaa\"\n"
        ));
    }

    #[test]
    fn the_file_is_closed_to_others_even_if_it_was_open_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ike.csv");
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let named = config::KeyLog {
            ike: Some(path.clone()),
            esp: None,
        };
        KeyLog::open(&named).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_link_in_the_files_place_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("esp.csv");
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &path).unwrap();
        let named = config::KeyLog {
            ike: None,
            esp: Some(path),
        };
        assert!(KeyLog::open(&named).is_err());
    }
}
