//! Dependencies that a crate's place in the architecture forbids.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::run::cargo;

/// What the pure crates must not reach, at any distance: I/O, clocks, and a
/// random source of their own.
const IMPURE: &[&str] = &[
    "tokio",
    "socket2",
    "nix",
    "rustix",
    "rtnetlink",
    "mio",
    "rand",
    "rand_chacha",
    "getrandom",
    "vgw-dataplane",
    "vgw-lab",
    "vgw-admin",
    "vgwd",
];

/// A crate, and what it must not depend on directly.
struct Rule {
    package: &'static str,
    forbidden: &'static [&'static str],
}

const RULES: &[Rule] = &[
    Rule {
        package: "vgw-crypto",
        forbidden: &["vgw-ike", "vgw-esp", "vgw-gateway"],
    },
    Rule {
        package: "vgw-sa",
        forbidden: &["vgw-ike", "vgw-esp", "vgw-gateway", "ring"],
    },
    Rule {
        package: "vgw-esp",
        forbidden: &["vgw-ike", "vgw-gateway", "ring"],
    },
    Rule {
        package: "vgw-ike",
        forbidden: &["vgw-esp", "vgw-gateway", "ring"],
    },
    Rule {
        package: "vgw-gateway",
        forbidden: &["vgw-esp", "ring"],
    },
    Rule {
        package: "vgw-dataplane",
        forbidden: &[
            "vgw-ike",
            "vgw-gateway",
            "tokio",
            "ring",
            "rand",
            "rand_chacha",
        ],
    },
    // It runs the data plane's tables and SAs, and none of its devices.
    Rule {
        package: "vgw-sim",
        forbidden: &[
            "tokio",
            "nix",
            "rustix",
            "socket2",
            "libc",
            "getrandom",
            "vgw-lab",
            "vgwd",
        ],
    },
    // What runs as root links no laboratory. And a generator that is seeded once makes
    // keys that can be made again: only tests have one, the daemon draws from the kernel.
    Rule {
        package: "vgwd",
        forbidden: &["vgw-lab", "vgw-harness", "vgw-sim", "rand", "rand_chacha"],
    },
];

/// Crates without I/O, clock or random source.
const PURE: &[&str] = &["vgw-crypto", "vgw-sa", "vgw-esp", "vgw-ike", "vgw-gateway"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    source: Option<String>,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

pub fn check() -> Result<()> {
    let output = cargo(&["metadata", "--format-version=1", "--no-deps"]).output()?;
    let metadata: Metadata =
        serde_json::from_slice(&output.stdout).context("cargo metadata gave no JSON")?;
    let edges = normal_dependencies(&metadata);
    let mut broken = Vec::new();
    for rule in RULES {
        let own = edges
            .get(rule.package)
            .with_context(|| format!("no crate {} to check", rule.package))?;
        for name in rule.forbidden.iter().filter(|name| own.contains(**name)) {
            broken.push(format!("{} must not depend on {name}", rule.package));
        }
    }
    for package in PURE {
        let own = edges
            .get(package)
            .with_context(|| format!("no crate {package} to check"))?;
        for name in IMPURE.iter().filter(|name| own.contains(**name)) {
            broken.push(format!(
                "{package} does no I/O: it must not depend on {name}"
            ));
        }
    }
    if !broken.is_empty() {
        bail!("forbidden edges:\n  {}", broken.join("\n  "));
    }
    Ok(())
}

/// Direct dependencies, without those of tests and build scripts, of the
/// workspace's own crates.
fn normal_dependencies(metadata: &Metadata) -> BTreeMap<&str, BTreeSet<&str>> {
    let own = metadata
        .packages
        .iter()
        .filter(|package| package.source.is_none());
    own.map(|package| {
        let normal = package.dependencies.iter().filter(|d| d.kind.is_none());
        (
            package.name.as_str(),
            normal.map(|d| d.name.as_str()).collect(),
        )
    })
    .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_workspace_keeps_its_edges() {
        super::check().unwrap();
    }
}
