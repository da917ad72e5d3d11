//! Files of a crate that import each other in a circle: neither can be understood, or
//! moved, without the other.
//!
//! Imports are read from the text, as rustfmt writes it. What a module only passes on is
//! looked for where it is defined. What a file takes from a module that it is part of does
//! not count, and tests may import what they like.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::graph::reach;

/// The path of a module in its crate.
type Module = Vec<String>;

/// A module's file as it is read.
#[derive(Default)]
struct File {
    /// What it names of its own crate: paths from the crate's root.
    named: BTreeSet<Module>,
    /// Where the names come from that it passes on.
    passed_on: BTreeMap<String, Module>,
}

/// The circles of a crate, each as its files' modules.
pub fn circles(source: &Path) -> Result<Vec<Vec<String>>> {
    let mut files = BTreeMap::new();
    if source.is_dir() {
        collect(source, &mut Vec::new(), &mut files)?;
    }
    let arrows: BTreeMap<&Module, BTreeSet<&Module>> = files
        .iter()
        .map(|(module, file)| {
            let targets = file.named.iter().filter_map(|path| target(&files, path, 0));
            (
                module,
                targets
                    .filter(|target| !module.starts_with(target))
                    .collect(),
            )
        })
        .collect();
    let direct = |module: &Module| arrows.get(module).into_iter().flatten().copied();
    let reached: BTreeMap<_, _> = arrows
        .keys()
        .map(|from| (*from, reach(direct(from), direct)))
        .collect();
    let mut found = BTreeSet::new();
    for (module, from_here) in &reached {
        let back = |other: &&&Module| {
            reached
                .get(**other)
                .is_some_and(|from| from.contains(module))
        };
        let circle: BTreeSet<String> = from_here.iter().filter(back).map(|m| name(m)).collect();
        if circle.len() > 1 {
            found.insert(circle);
        }
    }
    let lists = found.into_iter().map(|circle| circle.into_iter().collect());
    Ok(lists.collect())
}

fn name(module: &Module) -> String {
    match module.is_empty() {
        true => "lib".to_owned(),
        false => module.join("/"),
    }
}

/// The file that defines what a path names.
fn target<'a>(
    files: &'a BTreeMap<Module, File>,
    path: &[String],
    passed: usize,
) -> Option<&'a Module> {
    /// A name is passed on so often at most.
    const MOST: usize = 5;
    let (module, file) = (0..=path.len())
        .rev()
        .find_map(|len| files.get_key_value(path.get(..len)?))?;
    let further = path
        .get(module.len())
        .and_then(|name| file.passed_on.get(name));
    match further {
        Some(origin) if passed < MOST => target(files, origin, passed + 1),
        _ => Some(module),
    }
}

fn collect(folder: &Path, at: &mut Module, files: &mut BTreeMap<Module, File>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let Some(stem) = stem.filter(|stem| *stem != "tests" && *stem != "testing") else {
            continue;
        };
        let is_root = matches!(stem, "lib" | "main" | "mod");
        if !is_root {
            at.push(stem.to_owned());
        }
        if path.is_dir() {
            collect(&path, at, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path)?;
            // A crate's library and its program are both its root.
            let File { named, passed_on } = read(&text, at);
            let file = files.entry(at.clone()).or_default();
            file.named.extend(named);
            file.passed_on.extend(passed_on);
        }
        if !is_root {
            at.pop();
        }
    }
    Ok(())
}

fn read(text: &str, module: &Module) -> File {
    let mut file = File::default();
    let code: Vec<&str> = without_tests(text)
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect();
    let code = code.join("\n");
    let children: BTreeSet<&str> = code.lines().filter_map(declared_module).collect();
    for statement in code.split(';') {
        let Some(at) = statement.find("use ").filter(|at| is_use(statement, *at)) else {
            continue;
        };
        let public = statement
            .get(..at)
            .is_some_and(|before| before.contains("pub"));
        let tree = statement.get(at + 4..).unwrap_or_default();
        for (path, alias) in expand(tree) {
            let Some(path) = absolute(&path, module, &children) else {
                continue;
            };
            if public {
                file.passed_on.insert(alias, path);
            } else {
                file.named.insert(path);
            }
        }
    }
    // Paths that are written out where they are used.
    for prefix in ["crate::", "super::"] {
        for (at, _) in code.match_indices(prefix) {
            let rest = code.get(at..).unwrap_or_default();
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
            let (path, after) = rest.split_at(end.unwrap_or(rest.len()));
            if after.starts_with('{') {
                continue;
            }
            let path: Vec<_> = path.split("::").map(str::to_owned).collect();
            file.named.extend(absolute(&path, module, &children));
        }
    }
    file
}

/// Up to the module with a file's tests.
fn without_tests(text: &str) -> impl Iterator<Item = &str> {
    let mut lines = text.lines().peekable();
    std::iter::from_fn(move || {
        let line = lines.next()?;
        let tests =
            line == "#[cfg(test)]" && lines.peek().is_some_and(|next| next.contains("mod "));
        (!tests).then_some(line)
    })
}

fn declared_module(line: &str) -> Option<&str> {
    let line = line
        .trim_start_matches("pub(crate) ")
        .trim_start_matches("pub ");
    line.strip_prefix("mod ")?.strip_suffix(';')
}

/// Whether a statement is an import: nothing but a visibility and attributes before it.
fn is_use(statement: &str, at: usize) -> bool {
    let before = statement.get(..at).unwrap_or_default();
    let line = before.rsplit('\n').next().unwrap_or_default().trim();
    line.is_empty() || line.starts_with("pub")
}

/// The paths of an import, each with the name that it gives.
fn expand(tree: &str) -> Vec<(Vec<String>, String)> {
    let tree = tree.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut found = Vec::new();
    expand_into(&tree, &[], &mut found);
    found
}

fn expand_into(tree: &str, prefix: &[String], found: &mut Vec<(Vec<String>, String)>) {
    let tree = tree.trim();
    if let Some((before, inside)) = tree.split_once('{') {
        let segments = before.trim().trim_end_matches("::").split("::");
        let mut prefix = prefix.to_vec();
        prefix.extend(
            segments
                .filter(|segment| !segment.is_empty())
                .map(str::to_owned),
        );
        let inside = inside.strip_suffix('}').unwrap_or(inside);
        let mut depth = 0_i32;
        let items = inside.split(|c: char| {
            depth += match c {
                '{' => 1,
                '}' => -1,
                _ => 0,
            };
            c == ',' && depth == 0
        });
        for item in items.filter(|item| !item.trim().is_empty()) {
            expand_into(item, &prefix, found);
        }
        return;
    }
    let (path, alias) = tree.split_once(" as ").unwrap_or((tree, ""));
    let mut whole = prefix.to_vec();
    whole.extend(
        path.split("::")
            .filter(|segment| *segment != "self")
            .map(str::to_owned),
    );
    let last = whole.last().cloned().unwrap_or_default();
    let alias = if alias.is_empty() {
        last
    } else {
        alias.to_owned()
    };
    found.push((whole, alias));
}

/// A path from the crate's root. None if it leads elsewhere.
fn absolute(path: &[String], module: &Module, children: &BTreeSet<&str>) -> Option<Module> {
    let (first, rest) = path.split_first()?;
    match first.as_str() {
        "crate" => Some(rest.to_vec()),
        "super" => {
            let (_, above) = module.split_last()?;
            let mut here = above.to_vec();
            let mut rest = rest;
            while let Some((_, further)) = rest.split_first().filter(|(first, _)| *first == "super")
            {
                here.pop()?;
                rest = further;
            }
            here.extend(rest.iter().cloned());
            Some(here)
        }
        child if children.contains(child) => Some([module.as_slice(), path].concat()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::circles;

    /// The circles of a crate with these files.
    fn of(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        circles(folder.path()).unwrap()
    }

    #[test]
    fn two_files_that_import_each_other_are_a_circle() {
        let files = [
            ("lib.rs", "mod a;\nmod b;\n"),
            ("a.rs", "use crate::b::B;\npub struct A(B);\n"),
            ("b.rs", "use super::a::A;\npub struct B(Box<A>);\n"),
        ];
        assert_eq!(of(&files), [["a", "b"]]);
    }

    #[test]
    fn a_name_that_is_passed_on_counts_where_it_is_defined() {
        let room = "mod one;\nmod two;\npub use one::One;\npub use two::Two;\n";
        let alone = [
            ("lib.rs", "mod room;\n"),
            ("room/mod.rs", room),
            ("room/one.rs", "pub struct One;\n"),
            ("room/two.rs", "use super::One;\npub struct Two(One);\n"),
        ];
        assert!(of(&alone).is_empty(), "{:?}", of(&alone));
        let mut circle = alone;
        circle[2].1 = "pub fn one() -> crate::room::Two {\n    loop {}\n}\npub struct One;\n";
        assert_eq!(of(&circle), [["room/one", "room/two"]]);
    }

    #[test]
    fn tests_and_comments_import_what_they_like() {
        let files = [
            ("lib.rs", "mod a;\nmod b;\n"),
            (
                "a.rs",
                "use crate::b::{self, B as Other};\npub struct A(Other);\n",
            ),
            (
                "b.rs",
                "//! [`crate::a`]\npub struct B;\n\n#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}\n",
            ),
        ];
        assert!(of(&files).is_empty());
    }
}
