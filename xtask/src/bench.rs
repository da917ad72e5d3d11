//! Benches of the packet transform.

use anyhow::Result;
use clap::Args;

use crate::run::{cargo, finish};

#[derive(Args)]
pub struct Options {
    /// Only benches whose name contains this.
    filter: Option<String>,
}

pub fn run(options: &Options) -> Result<()> {
    let mut bench = cargo(&["bench", "-p", "vgw-benches"]);
    if let Some(filter) = &options.filter {
        bench.args(["--", filter]);
    }
    finish(&mut bench)
}
