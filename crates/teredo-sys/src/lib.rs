//! The kernel's side of Teredo on Linux: UDP batches, TUN devices, readiness, signals, netlink,
//! namespaces, raw IPv6, shared pages, the sandbox.
//!
//! What it does: turns one kernel facility per module into a small safe type that owns its
//! descriptor. Every descriptor made here is close-on-exec; everything that belongs into an event
//! loop is non-blocking and implements [`AsFd`](std::os::fd::AsFd).
//!
//! What it may not do: know the Teredo protocol, keep a policy, log, or retry on its own account
//! beyond what a comment argues. It is the only crate of the product with `unsafe` besides the C
//! boundary of `netioapi` (invariant I4); each block says why it is sound.
//!
//! Errors are [`std::io::Error`]: on packet paths exactly the kernel's, on set-up paths with one
//! line that names the device, address or capability and keeps the [`kind`](std::io::Error::kind).

pub mod caps;
pub mod clock;
pub mod epoll;
mod error;
pub mod fork;
pub mod mount;
pub mod netlink;
pub mod ns;
pub mod page;
pub mod process;
pub mod raw;
pub mod sandbox;
pub mod signal;
pub mod sysctl;
pub mod tun;
pub mod udp;
pub mod unix;
