//! A tunnel's pre-shared key: in the file itself, or in one of its own, or a credential.

use std::path::Path;

use toml::de::DeValue;
use vgw_crypto::Secret;
use vgw_gateway::rules::{self, Refusal};
use vgw_ike::config::Psk;

use super::keys::{Key, KeySource};
use super::table::Table;
use super::values;

const INLINE: &str = "pre_shared_key";
const FILE: &str = "pre_shared_key_file";
const CREDENTIAL: &str = "pre_shared_key_credential";
const GENERATE: &str = "pre_shared_key_generate";

/// Reads a tunnel's pre-shared key from whichever place its table names.
pub(super) fn read(table: &mut Table<'_>, source: &mut dyn KeySource) -> Psk {
    let inline = table.read(INLINE, inline);
    let file = table.read(FILE, file_path);
    let credential = table.read(CREDENTIAL, credential_name);
    let generate = table.read(GENERATE, values::boolean);
    if generate.is_some() && !table.has(FILE) {
        let message = format!("is set, expected {FILE} with it, where the key is kept");
        table.refuse(GENERATE, message);
    }
    if table.has(INLINE) {
        table.report().note_inline_key(&table.field(INLINE));
    }
    let places = [INLINE, FILE, CREDENTIAL];
    let set: Vec<&str> = places.into_iter().filter(|key| table.has(key)).collect();
    let key = match set.as_slice() {
        [] => {
            let message = format!("is missing, expected {INLINE}, {FILE} or {CREDENTIAL}");
            table.refuse(INLINE, message);
            None
        }
        [INLINE] => inline,
        [FILE] => file.and_then(|path| {
            let key = source.file(path, generate.unwrap_or_default());
            fetched(table, FILE, key)
        }),
        [_] => credential.and_then(|name| fetched(table, CREDENTIAL, source.credential(name))),
        several => {
            let message = format!("found {}, expected one of them", several.join(" and "));
            table.refuse(INLINE, message);
            None
        }
    };
    Psk(key.unwrap_or_else(|| {
        table.stand_in(INLINE);
        Secret::default()
    }))
}

/// The key that `option` names, with what is to be said of it.
fn fetched(table: &Table<'_>, option: &str, key: Result<Key, String>) -> Option<Secret> {
    let Key { octets, remark } = key.map_err(|why| table.refuse(option, why)).ok()?;
    if let Some(remark) = remark {
        table.warn(option, remark);
    }
    // No key is empty, so this one was not read.
    (!octets.expose().is_empty()).then_some(octets)
}

fn inline(value: &DeValue<'_>) -> Result<Secret, Refusal> {
    let key = values::secret_text(value)?.as_bytes();
    rules::psk(key)?;
    Ok(Secret::from(key))
}

/// A path has a slash, which a key has not: so a key that was put here by
/// mistake is not shown.
fn file_path<'d>(value: &'d DeValue<'_>) -> Result<&'d Path, Refusal> {
    let path = values::secret_text(value)?;
    if !path.contains('/') || path.contains('\0') {
        return Err(Refusal::new(
            "a word without /",
            "a path: absolute, or ./NAME beside this file",
        ));
    }
    Ok(Path::new(path))
}

/// The name of a credential, a file name as systemd allows it.
fn credential_name<'d>(value: &'d DeValue<'_>) -> Result<&'d str, Refusal> {
    let name = values::secret_text(value)?;
    rules::id(name).map_err(|why| Refusal::new("another word", why.expected))?;
    Ok(name)
}
