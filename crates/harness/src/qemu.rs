//! A small virtual machine that runs Debian's cloud kernel, for what the kernel at
//! hand cannot show; spoken to through its serial console.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use vgw_lab::{Lab, Namespace};

use crate::stage::Stage;
use crate::tools::run;

/// Emulated without KVM, the guest boots in seconds; this is for a busy machine.
const BOOT_PATIENCE: Duration = Duration::from_secs(120);

/// How long one command in the guest may take.
const COMMAND_PATIENCE: Duration = Duration::from_secs(60);

/// Kernel and initramfs of the guest.
#[derive(Debug)]
pub struct Image {
    kernel: PathBuf,
    initramfs: PathBuf,
}

impl Image {
    /// Builds the image by `build.sh` of `recipe` into `directory`.
    ///
    /// # Errors
    /// When a package is missing or cannot be downloaded.
    pub fn build(recipe: &Path, directory: &Path) -> Result<Self> {
        let status = Command::new("sh")
            .arg(recipe.join("build.sh"))
            .arg(directory)
            .status()
            .context("starting the guest's build.sh")?;
        ensure!(status.success(), "building the guest: {status}");
        Ok(Self {
            kernel: directory.join("vmlinuz"),
            initramfs: directory.join("initramfs.gz"),
        })
    }
}

/// A running guest; it is switched off when this is dropped.
#[derive(Debug)]
pub struct Guest {
    machine: Child,
    console_in: ChildStdin,
    console_out: Receiver<Vec<u8>>,
    /// What the console said and nobody has read yet.
    unread: Vec<u8>,
}

impl Guest {
    /// Boots the guest with its network cards, `eth0` and so on, as the tap devices `taps`
    /// of `namespace`, and waits until it is ready. `parameters` go to the guest's `init`
    /// by the kernel's command line.
    ///
    /// # Errors
    /// When it does not come up; the error has what the console said.
    pub fn boot(
        image: &Image,
        namespace: &Namespace,
        taps: &[&str],
        parameters: &str,
    ) -> Result<Self> {
        let cards = taps.iter().flat_map(|tap| {
            let card = format!("tap,ifname={tap},script=no,downscript=no,model=virtio-net-pci");
            ["-nic".to_owned(), card]
        });
        let mut machine = namespace
            .command("qemu-system-x86_64")
            .args(["-machine", "q35,accel=tcg", "-cpu", "max", "-m", "256"])
            .args([
                "-nodefaults",
                "-no-reboot",
                "-display",
                "none",
                "-serial",
                "stdio",
            ])
            .arg("-kernel")
            .arg(&image.kernel)
            .arg("-initrd")
            .arg(&image.initramfs)
            .arg("-append")
            .arg(format!("console=ttyS0 quiet panic=-1 {parameters}"))
            .args(cards)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting qemu-system-x86_64")?;
        let console_in = machine.stdin.take().context("qemu has no standard input")?;
        let mut console = machine
            .stdout
            .take()
            .context("qemu has no standard output")?;
        let (sender, console_out) = channel();
        // Ends with the machine, whose death closes the pipe.
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = console.read(&mut buffer) {
                let said = buffer.get(..read).unwrap_or_default().to_vec();
                if sender.send(said).is_err() {
                    return;
                }
            }
        });
        let mut guest = Self {
            machine,
            console_in,
            console_out,
            unread: Vec::new(),
        };
        guest.read_until("guest is ready", BOOT_PATIENCE)?;
        Ok(guest)
    }

    /// Runs a command in the guest's shell and gives what it printed.
    ///
    /// # Errors
    /// When it fails or does not end in time.
    pub fn run(&mut self, command: &str) -> Result<String> {
        self.run_within(command, COMMAND_PATIENCE)
    }

    /// Runs a command that may take so long in the guest's shell and gives what
    /// it printed.
    ///
    /// # Errors
    /// When it fails or does not end in time.
    pub fn run_within(&mut self, command: &str, patience: Duration) -> Result<String> {
        // The mark is spelt so that the console's echo of this line does not hold it.
        writeln!(self.console_in, "{command}; echo \"end\"-of-command $?")?;
        let output = self.read_until("end-of-command ", patience)?;
        let code = self.read_until("\n", COMMAND_PATIENCE)?;
        let output = output.replace('\r', "");
        ensure!(
            code.trim() == "0",
            "in the guest: {command}: code {}\n{output}",
            code.trim()
        );
        Ok(output)
    }

    /// Writes a file in the guest.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&mut self, path: &str, text: &str) -> Result<()> {
        self.run(&format!(
            "cat > {path} <<'end of file'\n{text}\nend of file\ntrue"
        ))?;
        Ok(())
    }

    /// Reads the console up to and without `mark`.
    fn read_until(&mut self, mark: &str, patience: Duration) -> Result<String> {
        let deadline = Instant::now() + patience;
        loop {
            let said = String::from_utf8_lossy(&self.unread).into_owned();
            if let Some((before, after)) = said.split_once(mark) {
                self.unread = after.as_bytes().to_vec();
                return Ok(before.to_owned());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.console_out.recv_timeout(left) {
                Ok(more) => self.unread.extend(more),
                Err(RecvTimeoutError::Timeout) => bail!("no {mark:?} on the console:\n{said}"),
                Err(RecvTimeoutError::Disconnected) => bail!("the guest ended:\n{said}"),
            }
        }
    }
}

/// A site on the stage's internet whose gateway is a guest, with a host behind it that has
/// the address of the host on the premises.
#[derive(Debug)]
pub struct GuestSite {
    /// The gateway, 198.18.1.1.
    pub guest: Guest,
    /// The host.
    pub host: Namespace,
}

impl GuestSite {
    /// Builds the guest of `recipe`, and boots it.
    ///
    /// # Errors
    /// As [`Image::build`] and [`Guest::boot`], or when the networks cannot be made.
    pub fn boot(stage: &Stage, recipe: &Path) -> Result<Self> {
        let image = Image::build(recipe, &stage.workspace.directory().join("guest"))?;
        let internet = &stage.topology.internet;
        let parameters = "address=198.18.1.1/24 gateway=198.18.1.254 inside=192.168.10.254/24";
        let guest = Guest::boot(&image, internet, &["guest", "guestlan"], parameters)?;
        internet.add_address("guest", "198.18.1.254/24".parse()?)?;
        internet.link_up("guest")?;
        let host = Lab::new("guest")?.namespace("guesthost")?;
        run(
            internet,
            "ip",
            &["link", "set", "guestlan", "netns", host.name()],
        )?;
        host.add_address("guestlan", "192.168.10.1/24".parse()?)?;
        host.link_up("guestlan")?;
        host.add_route("0.0.0.0/0".parse()?, "192.168.10.254".parse()?)?;
        Ok(Self { guest, host })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // A machine without disks loses nothing when it is switched off.
        let switched_off = self.machine.kill().and_then(|()| self.machine.wait());
        if let Err(error) = switched_off {
            eprintln!("the guest was not switched off: {error}");
        }
    }
}
