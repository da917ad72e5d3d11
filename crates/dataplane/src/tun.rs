//! The TUN device: inner packets in and out of the kernel, one a call.

use std::ffi::{c_char, c_int, c_short};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use rustix::fs::{Mode, OFlags};

/// An open TUN device without packet information. The device goes with it.
#[derive(Debug)]
pub struct Tun {
    fd: OwnedFd,
    name: String,
    index: u32,
}

/// The kernel's `struct ifreq` as TUNSETIFF reads and writes it.
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

impl Tun {
    /// Makes the device `name`, or attaches to it if it exists and is
    /// persistent, in the network namespace of the calling thread. An empty
    /// name lets the kernel choose one; `%d` in it becomes a number.
    ///
    /// # Errors
    ///
    /// A name of 16 octets or more or with a NUL; or what the kernel says:
    /// EPERM without CAP_NET_ADMIN, EBUSY if the device is in use, ENOENT
    /// without /dev/net/tun.
    pub fn open(name: &str) -> io::Result<Self> {
        if name.len() >= libc::IFNAMSIZ || name.contains('\0') {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("TUN name {name:?}: at most 15 octets, no NUL"),
            ));
        }
        let fd = rustix::fs::open(
            "/dev/net/tun",
            OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let flags = c_short::try_from(libc::IFF_TUN | libc::IFF_NO_PI)
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut request = InterfaceRequest {
            name: [0; libc::IFNAMSIZ],
            flags,
            rest: [0; 22],
        };
        for (to, from) in request.name.iter_mut().zip(name.bytes()) {
            *to = c_char::from_ne_bytes([from]);
        }
        attach(&fd, &mut request)?;
        let name: Vec<u8> = request
            .name
            .iter()
            .map(|c| u8::from_ne_bytes(c.to_ne_bytes()))
            .take_while(|&octet| octet != 0)
            .collect();
        let name = String::from_utf8_lossy(&name).into_owned();
        let index = nix::net::if_::if_nametoindex(name.as_str())?;
        Ok(Self { fd, name, index })
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

    /// Reads one packet into `buffer` and returns its length, cut to that of
    /// `buffer`. EAGAIN says that there is none, EBADFD that the device is gone.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        nix::unistd::read(&self.fd, buffer)
    }

    /// Gives one packet to the kernel.
    pub(crate) fn write(&self, packet: &[u8]) -> Result<(), Errno> {
        nix::unistd::write(&self.fd, packet).map(drop)
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[allow(unsafe_code, reason = "no safe wrapper of TUNSETIFF exists")]
fn attach(fd: &OwnedFd, request: &mut InterfaceRequest) -> io::Result<c_int> {
    let request: *mut InterfaceRequest = request;
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq` at the pointer;
    // `InterfaceRequest` has its size and layout, and the exclusive borrow
    // that the pointer was made from outlives the call.
    Ok(unsafe { tun_set_iff(fd.as_raw_fd(), request) }?)
}

#[cfg(test)]
mod tests {
    use super::{InterfaceRequest, Tun};

    #[test]
    fn the_interface_request_has_the_kernels_size() {
        assert_eq!(size_of::<InterfaceRequest>(), size_of::<libc::ifreq>());
    }

    #[test]
    fn a_name_that_does_not_fit_is_refused() {
        assert!(Tun::open("sixteen-octets-0").is_err());
        assert!(Tun::open("a\0b").is_err());
    }
}
