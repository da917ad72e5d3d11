//! The TUN device: inner packets in and out of the kernel.
//!
//! With `IFF_VNET_HDR` a read gives, and a write takes, up to 64 KiB of one flow
//! as one packet behind a header that says where its segments end. What the
//! kernel lacks is left out step by step, down to one packet a call.
//!
//! The device's `gso_max_size` stays as the kernel makes it. A smaller one would
//! give local senders super-packets whose segments, sealed, fit one message. But
//! hosts behind the gateway send super-packets of up to 64 KiB whatever it says, and
//! the kernel would cut those into single packets before they reach us.

use std::ffi::{c_char, c_int, c_short, c_uint};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::errno::Errno;
use nix::sys::uio::{readv, writev};
use rustix::fs::{Mode, OFlags};

use crate::io::features::Features;
use crate::io::kernel_drops::KernelDrops;
use crate::links::netlink::Netlink;
use crate::links::outside_link::link_mtu;
use crate::packet::vnet::VNET_HEADER_LEN;

/// An open TUN device without packet information. The device goes with it.
#[derive(Debug)]
pub struct Tun {
    /// The queue of the first worker, or of all where there is one only.
    first: OwnedFd,
    /// The queues of the other workers.
    others: Vec<OwnedFd>,
    /// Descriptors to write to, one for each worker, detached from the queues
    /// over which the kernel spreads flows. A write to one of those queues
    /// would draw the answers of its flow there, and while they change queues
    /// two workers could send them in the wrong order. Empty where there is
    /// only one queue.
    writers: Vec<OwnedFd>,
    name: String,
    index: u32,
    features: Features,
    /// None where the kernel does not tell.
    watch: Option<DeviceWatch>,
    /// The MTU that the device is to have; larger than any packet until it is known.
    intended_mtu: usize,
    /// The device's MTU, as last read; larger than any packet where the kernel
    /// does not tell.
    mtu: AtomicUsize,
}

/// How the kernel is asked about the device.
#[derive(Debug)]
struct DeviceWatch {
    netlink: Netlink,
    drops: KernelDrops,
}

/// The kernel's `struct ifreq` as TUNSETIFF and TUNSETQUEUE read and write it.
#[repr(C)]
struct InterfaceRequest {
    name: [c_char; libc::IFNAMSIZ],
    flags: c_short,
    /// The rest of the kernel's union, 24 octets in all.
    rest: [u8; 22],
}

nix::ioctl_write_ptr_bad!(
    /// Attaches the descriptor to a device and writes its name back.
    tun_set_iff,
    libc::TUNSETIFF,
    InterfaceRequest
);
nix::ioctl_write_ptr_bad!(
    /// Attaches the descriptor's queue to the device's, or detaches it.
    tun_set_queue,
    libc::TUNSETQUEUE,
    InterfaceRequest
);
nix::ioctl_read_bad!(
    /// Tells which flags TUNSETIFF understands.
    tun_get_features,
    libc::TUNGETFEATURES,
    c_uint
);
nix::ioctl_write_int_bad!(
    /// Says which work the kernel may leave to us, for the whole device.
    tun_set_offload,
    libc::TUNSETOFFLOAD
);

impl Tun {
    /// Makes the device `name`, or attaches to it if it exists and is
    /// persistent, in the network namespace of the calling thread, with a queue
    /// for each of `workers` if it may have several. An empty name lets the
    /// kernel choose one; `%d` in it becomes a number. Of `wanted` it takes what
    /// the kernel has; [`Self::features`] says what that was.
    ///
    /// # Errors
    ///
    /// A name of 16 octets or more or with a NUL; or what the kernel says:
    /// EPERM without CAP_NET_ADMIN, EBUSY if the device is in use, ENOENT
    /// without /dev/net/tun.
    pub fn open(name: &str, workers: usize, wanted: Features) -> io::Result<Self> {
        if name.len() >= libc::IFNAMSIZ || name.contains('\0') {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("TUN name {name:?}: at most 15 octets, no NUL"),
            ));
        }
        let first = open_device()?;
        let mut features = wanted;
        features.tun_multi_queue &= workers > 1;
        let name = attach_stepwise(&first, name, &mut features)?;
        set_offload(&first, &mut features)?;
        let index = nix::net::if_::if_nametoindex(name.as_str())?;
        let watch = DeviceWatch::open(index)
            .inspect_err(|error| {
                tracing::warn!(
                    tun = name,
                    %error,
                    "the kernel does not tell of the TUN device {name}: packets that it drops \
                     before it are not counted, and TCP is not kept to its MTU if others \
                     change that: {error}"
                );
            })
            .ok();
        let mut tun = Self {
            first,
            others: Vec::new(),
            writers: Vec::new(),
            index,
            name,
            features,
            watch,
            intended_mtu: usize::MAX,
            mtu: AtomicUsize::new(usize::MAX),
        };
        tun.look_at_mtu();
        if features.tun_multi_queue {
            tun.add_queues(workers)?;
        }
        Ok(tun)
    }

    fn add_queues(&mut self, workers: usize) -> io::Result<()> {
        for _ in 1..workers {
            let reader = open_device()?;
            attach(&reader, &self.name, self.features)?;
            self.others.push(reader);
        }
        for _ in 0..workers {
            let writer = open_device()?;
            attach(&writer, &self.name, self.features)?;
            detach(&writer)?;
            self.writers.push(writer);
        }
        Ok(())
    }

    /// The device's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The device's interface index in its network namespace.
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// The features that were wanted, without those of the device that the
    /// kernel lacks.
    #[must_use]
    pub const fn features(&self) -> Features {
        self.features
    }

    /// Packets that found the kernel's queue full since the device was opened.
    /// The kernel is asked.
    pub(crate) fn dropped(&self) -> u64 {
        self.watch
            .as_ref()
            .map_or(0, |watch| watch.drops.get(&watch.netlink))
    }

    /// Says which MTU the device is to have. It counts before somebody sets it,
    /// and while the device has a larger one.
    pub const fn intend_mtu(&mut self, mtu: usize) {
        self.intended_mtu = mtu;
    }

    /// The largest packet that the kernel lets through to us, octets: the MTU
    /// as last read, or the intended one if that is less.
    pub(crate) fn mtu(&self) -> usize {
        self.mtu.load(Ordering::Relaxed).min(self.intended_mtu)
    }

    /// Reads the device's MTU again, which anyone may change.
    pub(crate) fn look_at_mtu(&self) {
        let mtu = self
            .watch
            .as_ref()
            .and_then(|watch| link_mtu(&watch.netlink, self.index).ok());
        if let Some(mtu) = mtu {
            self.mtu.store(mtu, Ordering::Relaxed);
        }
    }

    /// How many queues there are to read.
    pub(crate) fn queues(&self) -> usize {
        1 + self.others.len()
    }

    /// The descriptor to wait on for packets of this queue.
    pub(crate) fn reader(&self, queue: usize) -> BorrowedFd<'_> {
        let reader = queue
            .checked_sub(1)
            .and_then(|other| self.others.get(other))
            .unwrap_or(&self.first);
        reader.as_fd()
    }

    /// Reads one packet or super-packet and its header, which is zero if the
    /// device has none. Returns the packet's length, cut to that of `buffer`.
    /// EAGAIN says that there is none, EBADFD that the device is gone.
    pub(crate) fn read(
        &self,
        queue: usize,
        header: &mut [u8; VNET_HEADER_LEN],
        buffer: &mut [u8],
    ) -> Result<usize, Errno> {
        let reader = self.reader(queue);
        if !self.features.tun_vnet_header {
            *header = [0; VNET_HEADER_LEN];
            return nix::unistd::read(reader, buffer);
        }
        let mut parts = [IoSliceMut::new(header), IoSliceMut::new(buffer)];
        let len = readv(reader, &mut parts)?;
        Ok(len.saturating_sub(VNET_HEADER_LEN))
    }

    /// Gives one packet or super-packet to the kernel, from this worker. The
    /// first of `parts` is its header.
    pub(crate) fn write(&self, worker: usize, parts: &[IoSlice<'_>]) -> Result<(), Errno> {
        let writer = self.writers.get(worker).unwrap_or(&self.first);
        let parts = if self.features.tun_vnet_header {
            parts
        } else {
            parts.get(1..).unwrap_or_default()
        };
        writev(writer, parts).map(drop)
    }
}

impl DeviceWatch {
    fn open(index: u32) -> io::Result<Self> {
        let netlink = Netlink::open()?;
        let drops = KernelDrops::open(&netlink, index)?;
        Ok(Self { netlink, drops })
    }
}

fn open_device() -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open("/dev/net/tun", flags, Mode::empty())?)
}

/// Attaches with those of `features` that the kernel knows, and then with fewer
/// where the device already exists and was made with fewer.
fn attach_stepwise(fd: &OwnedFd, name: &str, features: &mut Features) -> io::Result<String> {
    let known = known_flags(fd)?;
    features.tun_vnet_header &= known & libc::IFF_VNET_HDR != 0;
    features.tun_multi_queue &= known & libc::IFF_MULTI_QUEUE != 0;
    loop {
        match attach(fd, name, *features) {
            Err(error)
                if error.raw_os_error() == Some(libc::EINVAL) && features.tun_multi_queue =>
            {
                features.tun_multi_queue = false;
            }
            attached => return attached,
        }
    }
}

/// Attaches the descriptor and returns the device's name.
fn attach(fd: &OwnedFd, name: &str, features: Features) -> io::Result<String> {
    let mut flags = libc::IFF_TUN | libc::IFF_NO_PI;
    if features.tun_vnet_header {
        flags |= libc::IFF_VNET_HDR;
    }
    if features.tun_multi_queue {
        flags |= libc::IFF_MULTI_QUEUE;
    }
    let mut request = interface_request(name, flags)?;
    set_interface(fd, &mut request)?;
    let name: Vec<u8> = request
        .name
        .iter()
        .map(|c| u8::from_ne_bytes(c.to_ne_bytes()))
        .take_while(|&octet| octet != 0)
        .collect();
    Ok(String::from_utf8_lossy(&name).into_owned())
}

fn interface_request(name: &str, flags: c_int) -> io::Result<InterfaceRequest> {
    let flags = c_short::from_ne_bytes(
        u16::try_from(flags)
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?
            .to_ne_bytes(),
    );
    let mut request = InterfaceRequest {
        name: [0; libc::IFNAMSIZ],
        flags,
        rest: [0; 22],
    };
    for (to, from) in request.name.iter_mut().zip(name.bytes()) {
        *to = c_char::from_ne_bytes([from]);
    }
    Ok(request)
}

/// Lets the kernel leave to us those of `features` that it can. The setting is the
/// whole device's and outlives a descriptor, so it is made even if it is empty.
fn set_offload(fd: &OwnedFd, features: &mut Features) -> io::Result<()> {
    const TCP: c_uint = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
    const UDP: c_uint = libc::TUN_F_USO4 | libc::TUN_F_USO6;
    features.tun_tso &= features.tun_vnet_header;
    features.tun_uso &= features.tun_tso;
    loop {
        let mask = match (features.tun_tso, features.tun_uso) {
            (true, true) => TCP | UDP,
            (true, false) => TCP,
            _ => 0,
        };
        match ask_offload(fd, mask) {
            Ok(()) => return Ok(()),
            Err(Errno::EINVAL) if features.tun_uso => features.tun_uso = false,
            Err(Errno::EINVAL) if features.tun_tso => features.tun_tso = false,
            Err(errno) => return Err(errno.into()),
        }
    }
}

#[allow(unsafe_code, reason = "no safe wrapper of TUNGETFEATURES exists")]
fn known_flags(fd: &OwnedFd) -> io::Result<c_int> {
    let mut flags: c_uint = 0;
    // SAFETY: TUNGETFEATURES writes one unsigned int at the pointer, which is
    // that of a local that outlives the call.
    unsafe { tun_get_features(fd.as_raw_fd(), &raw mut flags) }?;
    c_int::try_from(flags).map_err(io::Error::other)
}

#[allow(unsafe_code, reason = "no safe wrapper of TUNSETIFF exists")]
fn set_interface(fd: &OwnedFd, request: &mut InterfaceRequest) -> io::Result<()> {
    let request: *mut InterfaceRequest = request;
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq` at the pointer;
    // `InterfaceRequest` has its size and layout, and the exclusive borrow
    // that the pointer was made from outlives the call.
    unsafe { tun_set_iff(fd.as_raw_fd(), request) }?;
    Ok(())
}

/// Takes the descriptor's queue out of those that the kernel spreads flows over.
#[allow(unsafe_code, reason = "no safe wrapper of TUNSETQUEUE exists")]
fn detach(fd: &OwnedFd) -> io::Result<()> {
    let request = interface_request("", libc::IFF_DETACH_QUEUE)?;
    // SAFETY: TUNSETQUEUE reads one `struct ifreq` at the pointer, which is that
    // of a local of its size and layout that outlives the call.
    unsafe { tun_set_queue(fd.as_raw_fd(), &raw const request) }?;
    Ok(())
}

#[allow(unsafe_code, reason = "no safe wrapper of TUNSETOFFLOAD exists")]
fn ask_offload(fd: &OwnedFd, mask: c_uint) -> Result<(), Errno> {
    let mask = c_int::try_from(mask).map_err(|_| Errno::EINVAL)?;
    // SAFETY: TUNSETOFFLOAD takes its argument by value.
    unsafe { tun_set_offload(fd.as_raw_fd(), mask) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use vgw_lab::Lab;

    use super::{Features, InterfaceRequest, Tun};

    #[test]
    fn the_interface_request_has_the_kernels_size() {
        assert_eq!(size_of::<InterfaceRequest>(), size_of::<libc::ifreq>());
    }

    #[test]
    fn a_name_that_does_not_fit_is_refused() {
        assert!(Tun::open("sixteen-octets-0", 1, Features::ALL).is_err());
        assert!(Tun::open("a\0b", 1, Features::ALL).is_err());
    }

    #[test]
    #[ignore = "needs root"]
    fn the_least_of_the_mtu_that_the_device_has_and_the_one_it_is_to_have_counts() {
        let lab = Lab::new("tunmtu").unwrap();
        let inside = lab.namespace("inside").unwrap();
        let open = || Tun::open("tun%d", 1, Features::ALL).unwrap();
        let mut tun = inside.run(open).unwrap();
        assert_eq!(tun.mtu(), 1500);
        tun.intend_mtu(1400);
        assert_eq!(tun.mtu(), 1400);
        for (found, counts) in [(1300, 1300), (9000, 1400), (1400, 1400)] {
            let mut ip = inside.command("ip");
            let set = ip.args(["link", "set", tun.name(), "mtu", &i32::to_string(&found)]);
            assert!(set.status().unwrap().success());
            tun.look_at_mtu();
            assert_eq!(tun.mtu(), counts);
        }
    }
}
