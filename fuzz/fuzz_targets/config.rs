//! Any text as a configuration: a gateway that keeps the rules, or problems.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match vgwd::config::load_str(text, "fuzz") {
        Ok(loaded) => assert!(!loaded.gateway.outside_addresses.is_empty()),
        Err(problems) => assert!(!problems.is_empty()),
    }
});
