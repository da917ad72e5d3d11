//! A scenario's files and the directory its daemons write to.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

/// Stands for the scenario's own directory in its configuration files.
const PLACEHOLDER: &str = "@DIR@";

/// The directory of one run of a scenario; removed with it, unless it failed.
#[derive(Debug)]
pub struct Workspace {
    scenario: PathBuf,
    directory: TempDir,
}

impl Workspace {
    /// A directory for the scenario whose folder has this name.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn new(scenario: &str) -> Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("scenarios")
            .join(scenario);
        let directory = tempfile::Builder::new()
            .prefix(&format!("vgw-{scenario}-"))
            .tempdir()
            .context("making the scenario's directory")?;
        Ok(Self {
            scenario: folder,
            directory,
        })
    }

    /// Where the daemons of this run write.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
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

impl Drop for Workspace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.directory.disable_cleanup(true);
            eprintln!("logs are kept in {}", self.directory().display());
        }
    }
}
