//! The shipped examples load, and `vgw.toml`'s comments say what the code does.

use std::path::Path;

use vgw_crypto::Secret;

use super::lines;
use crate::config::keys::{Key, KeySource};
use crate::config::{Loaded, interpret, load_str};

const VGW: &str = include_str!("../../../../../config/vgw.toml");
const CUSTOMER_GATEWAY: &str = include_str!("../../../../../config/customer-gateway.toml");

/// A key for every name, so that the examples' paths need not exist.
struct AnyKey;

impl KeySource for AnyKey {
    fn file(&mut self, path: &Path, _generate: bool) -> Result<Key, String> {
        let name = path.file_name().unwrap().to_str().unwrap();
        self.credential(&name.replace('-', "_"))
    }

    fn credential(&mut self, name: &str) -> Result<Key, String> {
        Ok(Key {
            octets: Secret::from(name.as_bytes()),
            remark: None,
        })
    }
}

fn loaded(text: &str) -> Loaded {
    interpret(text, "example", &mut AnyKey, None)
        .and_then(|interpreted| interpreted.loaded("example"))
        .unwrap_or_else(|problems| panic!("refused: {}", lines(&problems)))
}

/// A line `#key = value` and the comment lines that belong to it.
struct Documented<'a> {
    number: usize,
    key: &'a str,
    about: Vec<&'a str>,
}

impl Documented<'_> {
    fn is_off(&self) -> bool {
        self.about
            .iter()
            .any(|line| line.starts_with("# default: off"))
    }

    fn allowed(&self) -> Option<&str> {
        let line = self
            .about
            .iter()
            .find_map(|line| line.strip_prefix("# allowed: "))?;
        Some(line.split(',').next().unwrap())
    }
}

fn documented(text: &str) -> Vec<Documented<'_>> {
    let mut found = Vec::new();
    let mut about = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let option = line
            .strip_prefix('#')
            .filter(|rest| !rest.starts_with([' ', '#', '\n']));
        match option.and_then(|rest| rest.split_once(" = ")) {
            Some((key, _)) => found.push(Documented {
                number,
                key,
                about: std::mem::take(&mut about),
            }),
            None if line.starts_with("# ") => about.push(line),
            None => about.clear(),
        }
    }
    found
}

/// `1 to 9`, or several of them.
fn is_range(text: &str) -> bool {
    let number = |word: &str| word.parse::<u64>().is_ok();
    text.split(" or ").all(|range| {
        range
            .split_once(" to ")
            .is_some_and(|(a, b)| number(a) && number(b))
    })
}

/// `text` with these lines' `#` taken away.
fn uncommented(text: &str, numbers: &[usize]) -> String {
    let lines = text.lines().enumerate().map(|(number, line)| {
        let line = if numbers.contains(&number) {
            line.strip_prefix('#').unwrap()
        } else {
            line
        };
        format!("{line}\n")
    });
    lines.collect()
}

#[test]
fn every_shipped_example_loads_without_warnings() {
    assert_eq!(lines(&loaded(VGW).warnings), "");
    assert_eq!(lines(&loaded(CUSTOMER_GATEWAY).warnings), "");
}

#[test]
fn of_one_wrong_value_come_no_complaints_about_others() {
    let mut refused = 0;
    let mut complaints = Vec::new();
    for text in [VGW, CUSTOMER_GATEWAY] {
        let options = documented(text);
        let set = options.iter().filter(|option| !option.is_off());
        let numbers: Vec<usize> = set.map(|option| option.number).collect();
        let text = uncommented(text, &numbers);
        loaded(&text);
        for (number, line) in text.lines().enumerate() {
            let option = line.split_once(" = ").filter(|_| !line.starts_with('#'));
            let Some((key, value)) = option else { continue };
            let mut wrong = vec!["\"?\"".to_owned(), "-1".to_owned(), "[[]]".to_owned()];
            if let Some(items) = value.strip_prefix('[').and_then(|v| v.strip_suffix(']')) {
                wrong.push(format!("[\"?\", {items}]"));
                wrong.push(format!("[{items}, \"?\"]"));
            }
            for wrong in wrong {
                let changed: Vec<String> = (text.lines().enumerate())
                    .map(|(other, line)| match other == number {
                        true => format!("{key} = {wrong}\n"),
                        false => format!("{line}\n"),
                    })
                    .collect();
                // Some are names like any other.
                let Err(problems) = interpret(&changed.concat(), "example", &mut AnyKey, None)
                else {
                    continue;
                };
                refused += 1;
                let of_others = problems.iter().filter(|p| p.line != Some(number + 1));
                complaints.extend(of_others.map(|other| format!("{key} = {wrong}: {other}")));
            }
        }
    }
    assert!(refused > 200, "{refused}");
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[test]
fn no_file_in_the_folder_of_examples_is_left_untested() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".toml"))
        .collect();
    names.sort();
    assert_eq!(names, ["customer-gateway.toml", "vgw.toml"]);
}

#[test]
fn the_examples_are_two_ends_of_one_connection() {
    let (cloud, customer) = (loaded(VGW).gateway, loaded(CUSTOMER_GATEWAY).gateway);
    let (here, there) = (&cloud.connections[0], &customer.connections[0]);
    assert_eq!(here.customer_gateway, there.customer_gateway);
    assert_eq!(here.static_routes, there.static_routes);
    assert_eq!(here.vpc_cidrs, there.vpc_cidrs);
    for (ours, theirs) in here.tunnels.iter().zip(&there.tunnels) {
        assert_eq!(ours.outside_address, theirs.outside_address);
        assert_eq!(ours.inside_cidr, theirs.inside_cidr);
        assert_eq!(ours.psk, theirs.psk);
    }
}

#[test]
fn each_documented_default_is_the_codes() {
    let plain = loaded(VGW);
    let options = documented(VGW);
    assert!(options.len() > 30, "only {} options found", options.len());
    for option in options.iter().filter(|option| !option.is_off()) {
        let set = loaded(&uncommented(VGW, &[option.number]));
        assert_eq!(set, plain, "the documented default of {}", option.key);
    }
}

#[test]
fn every_documented_option_can_be_set_all_at_once() {
    let numbers: Vec<usize> = documented(VGW).iter().map(|option| option.number).collect();
    let set = loaded(&uncommented(VGW, &numbers));
    for option in documented(VGW).iter().filter(|option| option.is_off()) {
        let alone = loaded(&uncommented(VGW, &[option.number]));
        let nothing_set = loaded(VGW);
        assert_ne!(alone, nothing_set, "{} is documented as off", option.key);
    }
    assert_ne!(set, loaded(VGW));
}

#[test]
fn each_documented_range_is_the_codes() {
    let mut ranges = 0;
    for option in documented(VGW) {
        let text = uncommented(VGW, &[option.number]);
        // -1 is no ASN at all; 1 is one that the rule of gateways refuses.
        let impossible = if option.key == "asn" { "1" } else { "-1" };
        let text: Vec<String> = text
            .lines()
            .enumerate()
            .map(|(number, line)| match number == option.number {
                true => format!("{} = {impossible}", option.key),
                false => line.to_owned(),
            })
            .collect();
        let problems = interpret(&text.join("\n"), "example", &mut AnyKey, None);
        let problems = lines(&problems.unwrap_err());
        let range = problems
            .split_once(&format!(".{}: found {impossible}, expected ", option.key))
            .map(|(_, range)| range.lines().next().unwrap());
        if range.is_some_and(is_range) {
            assert_eq!(
                option.allowed(),
                range,
                "the documented range of {}",
                option.key
            );
            ranges += 1;
        } else {
            assert_eq!(option.allowed(), None, "{}", option.key);
        }
    }
    assert_eq!(ranges, 18, "options with a range of numbers");
}

#[test]
fn every_key_that_the_code_knows_is_documented() {
    let nonsense = "qqqqqqqqqqqqqqqqqqqqqqq = 1";
    let tables = [
        "gateway",
        "vpc",
        "tun",
        "data_plane",
        "log",
        "metrics",
        "control",
        "key_log",
        "state",
        "limits",
    ];
    let mut text = format!("{nonsense}\n");
    for table in tables {
        text.push_str(&format!("[{table}]\n{nonsense}\n"));
    }
    text.push_str(&format!("[[customer_gateway]]\n{nonsense}\n"));
    text.push_str(&format!("[[vpn_connection]]\n{nonsense}\n"));
    text.push_str(&format!("[[vpn_connection.tunnel]]\n{nonsense}\n"));
    let problems = load_str(&text, "vgw.toml").unwrap_err();
    let known: Vec<&str> = problems
        .iter()
        .filter_map(|problem| problem.message.split_once("known are "))
        .flat_map(|(_, keys)| keys.split(", "))
        .collect();
    assert!(known.len() > 50, "{known:?}");
    for key in known {
        let documented = VGW.lines().any(|line| {
            let line = line.trim_start_matches(['#', ' ', '[']);
            line.starts_with(&format!("{key} = ")) || line.starts_with(&format!("{key}]"))
        });
        let in_text = VGW.contains(&format!("{key} = \""));
        let elsewhere = CUSTOMER_GATEWAY.contains(&format!("[{key}]"));
        let nested = VGW.contains(&format!("[[vpn_connection.{key}]]"));
        assert!(
            documented || in_text || elsewhere || nested,
            "{key} is not documented"
        );
    }
}
