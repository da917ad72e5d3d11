//! Any text gives a configuration or problems, and nothing else.

use proptest::prelude::*;

use super::{OTHER_END, SMALLEST};
use crate::config::{load_str, outline_of};
use crate::kernel::Desired;

/// Either a gateway that breaks no rule, or problems that each say something; and in
/// any case an outline, which says the same of what is for tunnels.
fn is_total(text: &str) {
    let outline = outline_of(text, "vgw.toml");
    match load_str(text, "vgw.toml") {
        Ok(loaded) => {
            assert!(vgw_gateway::rules::gateway(&loaded.gateway).is_empty());
            assert_eq!(outline.problems, []);
            assert_eq!(outline.settings, loaded.settings);
            let desired = Desired::of(&loaded.gateway, &loaded.settings);
            assert_eq!(outline.desired, desired);
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            assert!(problems.iter().all(|problem| !problem.message.is_empty()));
        }
    }
}

/// Values of every type, for keys that expect others.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| format!("{number:?}")),
        any::<bool>().prop_map(|truth| truth.to_string()),
        "[ -~]{0,20}".prop_map(|text| format!("{text:?}")),
        Just("[]".to_owned()),
        Just("[[1], {a = 2}]".to_owned()),
        Just("{}".to_owned()),
        Just("1979-05-27".to_owned()),
        Just("\"169.254.10.0/30\"".to_owned()),
        Just("\"::/0\"".to_owned()),
        Just("99999999999999999999999999".to_owned()),
    ]
}

proptest! {
    #[test]
    fn any_text_is_accepted_or_refused(text in "\\PC{0,200}") {
        is_total(&text);
    }

    #[test]
    fn any_value_of_any_key_is_accepted_or_refused(line in 0_usize..24, other in any::<bool>(), value in value()) {
        let text = if other { OTHER_END } else { SMALLEST };
        let changed: String = text
            .lines()
            .enumerate()
            .map(|(number, old)| match old.split_once(" = ") {
                Some((key, _)) if number == line => format!("{key} = {value}\n"),
                _ => format!("{old}\n"),
            })
            .collect();
        is_total(&changed);
    }

    #[test]
    fn any_line_may_be_missing_or_doubled(line in 0_usize..26, copies in 0_usize..3) {
        let changed: String = SMALLEST
            .lines()
            .enumerate()
            .flat_map(|(number, old)| {
                let times = if number == line { copies } else { 1 };
                std::iter::repeat_n(format!("{old}\n"), times)
            })
            .collect();
        is_total(&changed);
    }

    #[test]
    fn any_cut_of_a_file_is_accepted_or_refused(cut in 0_usize..700) {
        let cut = cut.min(SMALLEST.len());
        is_total(&SMALLEST[..cut]);
    }
}

#[test]
fn deep_nesting_is_refused_not_followed() {
    is_total(&format!("a = {}", "[".repeat(100_000)));
    is_total(&format!("a{} = 1", ".a".repeat(10_000)));
    is_total(&format!(
        "a = {}{}",
        "{a = ".repeat(50_000),
        "}".repeat(50_000)
    ));
}
