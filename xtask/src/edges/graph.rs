//! Which crate depends on which, as cargo resolved it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::run::cargo;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
    workspace_members: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    manifest_path: PathBuf,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

/// None: neither of tests nor of a build script.
#[derive(Deserialize)]
struct DependencyKind {
    kind: Option<String>,
}

/// All crates, without the dependencies of tests and build scripts.
pub struct Graph {
    /// By name: two versions of a crate are one here.
    direct: BTreeMap<String, BTreeSet<String>>,
    /// Where the workspace's own crates have their source.
    sources: BTreeMap<String, PathBuf>,
}

impl Graph {
    /// As the lock file has it, for Linux.
    pub fn resolved() -> Result<Self> {
        let output = cargo(&["metadata", "--format-version=1", "--locked"]).output()?;
        let metadata: Metadata =
            serde_json::from_slice(&output.stdout).context("cargo metadata gave no JSON")?;
        let names: BTreeMap<_, _> = metadata.packages.iter().map(|p| (&p.id, &p.name)).collect();
        let name = |id| names.get(id).map(|name| (*name).clone());
        let mut direct = BTreeMap::<_, BTreeSet<_>>::new();
        for node in &metadata.resolve.nodes {
            let normal = |dependency: &&Dependency| {
                let mut kinds = dependency.dep_kinds.iter();
                kinds.any(|dependency| dependency.kind.is_none())
            };
            let dependencies = node.deps.iter().filter(normal);
            let of_node = direct
                .entry(name(&node.id).unwrap_or_default())
                .or_default();
            of_node.extend(dependencies.filter_map(|dependency| name(&dependency.pkg)));
        }
        let own = |package: &&Package| metadata.workspace_members.contains(&package.id);
        let sources = metadata.packages.iter().filter(own).filter_map(|package| {
            let folder = package.manifest_path.parent()?;
            Some((package.name.clone(), folder.join("src")))
        });
        Ok(Self {
            sources: sources.collect(),
            direct,
        })
    }

    /// What a crate depends on itself.
    pub fn direct(&self, package: &str) -> Result<&BTreeSet<String>> {
        let direct = self.direct.get(package);
        direct.with_context(|| format!("no crate {package} to check"))
    }

    /// What a crate depends on at any distance, but for what `let_be` depend on.
    pub fn reached_from(&self, package: &str, let_be: &[&str]) -> Result<BTreeSet<&str>> {
        let first = self.direct(package)?.iter().map(String::as_str);
        Ok(reach(first, |name| {
            let followed = self.direct.get(name).filter(|_| !let_be.contains(&name));
            followed.into_iter().flatten().map(String::as_str)
        }))
    }

    /// The workspace's own crates, and the folders of their source.
    pub fn sources(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.sources
            .iter()
            .map(|(name, path)| (name.as_str(), path.as_path()))
    }
}

/// All that is reached by arrows from `first`; `direct` says where one leads to itself.
pub fn reach<T: Ord + Copy, N: IntoIterator<Item = T>>(
    first: impl IntoIterator<Item = T>,
    direct: impl Fn(T) -> N,
) -> BTreeSet<T> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<T> = first.into_iter().collect();
    while let Some(one) = next.pop() {
        if reached.insert(one) {
            next.extend(direct(one));
        }
    }
    reached
}
