//! A scenario's files and the directory its daemons write to.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Stands for the scenario's own directory in its configuration files.
const PLACEHOLDER: &str = "@DIR@";

/// The directory of one run of a scenario. It outlives the run, so that the logs of
/// one that failed can be read, until [`forget`] or the next run.
#[derive(Debug)]
pub struct Workspace {
    scenario: PathBuf,
    directory: PathBuf,
}

/// Where the run of this scenario writes.
#[must_use]
pub fn directory(scenario: &str) -> PathBuf {
    std::env::temp_dir().join("vgw-scenarios").join(scenario)
}

/// Removes what the last run of this scenario wrote.
///
/// # Errors
/// When there is something that cannot be removed.
pub fn forget(scenario: &str) -> Result<()> {
    let path = directory(scenario);
    match std::fs::remove_dir_all(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.with_context(|| format!("removing {}", path.display())),
    }
}

impl Workspace {
    /// An empty directory for the scenario whose folder has this name, or for a part of it that
    /// runs beside others (`SCENARIO/PART`).
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn new(scenario: &str) -> Result<Self> {
        let (name, _part) = scenario.split_once('/').unwrap_or((scenario, ""));
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/interop/scenarios")
            .join(name);
        forget(scenario)?;
        let directory = directory(scenario);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .with_context(|| format!("making {}", directory.display()))?;
        Ok(Self {
            scenario: folder,
            directory,
        })
    }

    /// Where the daemons of this run write.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Copies one of the scenario's files to the directory, naming the directory in
    /// it, and gives its path there.
    ///
    /// # Errors
    /// When the scenario has no such file.
    pub fn file(&self, name: &str) -> Result<PathBuf> {
        self.file_as(name, name)
    }

    /// As [`Self::file`], under another name there, such as that of a file which
    /// this one is to replace.
    ///
    /// # Errors
    /// As [`Self::file`].
    pub fn file_as(&self, name: &str, copy: &str) -> Result<PathBuf> {
        let from = self.scenario.join(name);
        let text = std::fs::read_to_string(&from)
            .with_context(|| format!("reading {}", from.display()))?;
        self.write(copy, &text)
    }

    /// Writes a file to the directory, naming the directory in it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let to = self.directory().join(name);
        let directory = self.directory().to_string_lossy();
        // The daemon refuses pre-shared keys in a file that everyone may read.
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&to)
            .and_then(|mut file| file.write_all(text.replace(PLACEHOLDER, &directory).as_bytes()))
            .with_context(|| format!("writing {}", to.display()))?;
        Ok(to)
    }
}
