//! A directory for a lab's files, which nobody else may read.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Where the directories are.
pub(crate) const DIRECTORY: &str = "/run/vgw-lab";

/// A directory of mode 0700 that is removed with all it holds when this is dropped.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn create(name: &str) -> Result<Self> {
        let path = Path::new(DIRECTORY).join(name);
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(DIRECTORY)
            .and_then(|()| DirBuilder::new().mode(0o700).create(&path))
            .with_context(|| format!("making the directory {}", path.display()))?;
        Ok(Self(path))
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("cannot remove {}: {error}", self.0.display());
        }
        // Other labs may have theirs in it.
        let _ = std::fs::remove_dir(DIRECTORY);
    }
}
