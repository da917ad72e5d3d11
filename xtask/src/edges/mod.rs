//! Dependencies that a crate's place in the architecture forbids, at any distance, and
//! files that import each other in a circle.

use anyhow::{Result, bail};

mod circles;
mod graph;

use circles::circles;
use graph::Graph;

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

/// Crates and what they must not depend on at any distance.
const FAR: &[Rule] = &[
    // What runs as root links no laboratory. And a generator that is seeded once makes
    // keys that can be made again: only tests have one, the daemon draws from the kernel.
    Rule {
        package: "vgwd",
        forbidden: &[
            "vgw-lab",
            "vgw-harness",
            "vgw-interop",
            "vgw-sim",
            "rand",
            "rand_chacha",
        ],
    },
    Rule {
        package: "vgw-benches",
        forbidden: &["vgw-interop"],
    },
];

/// `ring` asks the kernel for its own random numbers and looks at the CPU. We call
/// nothing of it that does, so what it depends on is let be.
const RING: &[&str] = &["ring"];

/// A crate, and what it must not depend on.
struct Rule {
    package: &'static str,
    forbidden: &'static [&'static str],
}

/// Crates and what they must not depend on themselves.
const NEAR: &[Rule] = &[
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
];

/// Crates without I/O, clock or random source.
const PURE: &[&str] = &["vgw-crypto", "vgw-sa", "vgw-esp", "vgw-ike", "vgw-gateway"];

pub fn check() -> Result<()> {
    let graph = Graph::resolved()?;
    let mut broken = Vec::new();
    for rule in NEAR {
        let direct = graph.direct(rule.package)?;
        for name in rule.forbidden.iter().filter(|name| direct.contains(**name)) {
            broken.push(format!("{} must not depend on {name}", rule.package));
        }
    }
    for rule in FAR {
        let reached = graph.reached_from(rule.package, &[])?;
        for name in rule
            .forbidden
            .iter()
            .filter(|name| reached.contains(**name))
        {
            broken.push(format!("{} must not depend on {name}", rule.package));
        }
    }
    for package in PURE {
        let reached = graph.reached_from(package, RING)?;
        for name in IMPURE.iter().filter(|name| reached.contains(**name)) {
            broken.push(format!(
                "{package} does no I/O: it must not depend on {name}"
            ));
        }
    }
    for (package, source) in graph.sources() {
        for circle in circles(source)? {
            let files = circle.join(", ");
            broken.push(format!("{package}: files import each other: {files}"));
        }
    }
    if !broken.is_empty() {
        bail!("forbidden edges:\n  {}", broken.join("\n  "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_workspace_keeps_its_edges() {
        super::check().unwrap();
    }
}
