//! Giving up, once a process is set up, what it does not need any more: a fault in it is then of
//! little use to whoever finds it.
//!
//! Four layers, each of which holds without the others: capabilities, no new privileges, files (by
//! landlock), system calls (by seccomp). All of them belong to a thread and are inherited by those
//! it starts, so that [`enter`] comes before there is a second one. What the kernel lacks is left
//! out and told.

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use rustix::thread::set_no_new_privs;

use crate::caps::{self, Capability};
use crate::error::Context;
use crate::sandbox::threads::Held;

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod calls;
mod files;
mod threads;

/// What a process still needs once it is set up.
///
/// Everything may go on with what is open already, reads `/proc`, and uses IP, netlink and Unix
/// sockets; it needs nothing here for that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The capabilities to keep.
    pub capabilities: Vec<Capability>,
    /// To resolve the names of hosts, for which the C library reads `/etc`, which has secrets of
    /// user 0 in it too, and loads modules.
    pub names: bool,
    /// To create TUN devices.
    pub devices: bool,
    /// Files, and directories with all that is in them, to read. What does not exist when the
    /// sandbox is entered, or is replaced after that, is out of reach: name its directory.
    pub readable: Vec<PathBuf>,
    /// Directories in which to change files and sockets as well.
    pub writable: Vec<PathBuf>,
}

/// The sandbox that this process is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// The capabilities that are left.
    pub capabilities: Vec<Capability>,
    /// No program that it might run gives the process more rights.
    pub no_new_privileges: bool,
    /// Which files it may use is restricted.
    pub landlock: bool,
    /// Which system calls it may make is restricted.
    pub seccomp: bool,
    /// One line about each layer that is missing or weaker here, and why.
    pub missing: Vec<String>,
}

/// Puts the process into a sandbox that leaves it what it needs, looks whether it holds, and says
/// what it is like. Who enters again stays in the first one and gets the same answer.
///
/// # Errors
/// `InvalidInput` if the process has more than one thread; else if what the kernel has accepted
/// does not hold, after which the process should end.
pub fn enter(needs: &Needs) -> io::Result<Sandbox> {
    let mut entered = ENTERED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(sandbox) = &*entered {
        return Ok(sandbox.clone());
    }
    let count = threads::all()?.len();
    if count != 1 {
        let text = format!("a sandbox is entered by one thread, and there are {count}");
        return Err(io::Error::new(ErrorKind::InvalidInput, text));
    }
    let mut missing = Vec::new();
    caps::keep_only(&needs.capabilities).context(|| "giving up capabilities".to_owned())?;
    set_no_new_privs(true).context(|| "giving up new privileges".to_owned())?;
    // Files first: landlock's own system calls are none that anybody needs after that.
    let landlock = note(&mut missing, "landlock", files::restrict(needs))?;
    let seccomp = note(&mut missing, "seccomp", restrict_calls(needs))?;
    let held = threads::all()?;
    let [held] = held.as_slice() else { return Err(ErrorKind::InvalidData.into()) };
    verify(needs, held, seccomp)?;
    let capabilities = needs.capabilities.iter().copied().filter(|kept| held.has(*kept)).collect();
    let sandbox = Sandbox { capabilities, no_new_privileges: true, landlock, seccomp, missing };
    *entered = Some(sandbox.clone());
    Ok(sandbox)
}

/// The one that has been entered.
static ENTERED: Mutex<Option<Sandbox>> = Mutex::new(None);

/// Whether a layer is there at all, and a note if it is not whole.
fn note(
    missing: &mut Vec<String>,
    layer: &'static str,
    result: Result<(), Refused>,
) -> io::Result<bool> {
    let (is_there, why) = match result {
        Ok(()) => return Ok(true),
        Err(Refused::Partly(why)) => (true, why),
        Err(Refused::Unknown(why)) => (false, why),
        Err(Refused::Fault(why)) => return Err(io::Error::other(format!("{layer}: {why}"))),
    };
    missing.push(format!("{layer}: {why}"));
    Ok(is_there)
}

/// Why a layer is not there as a whole.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    /// The kernel does not know all of it.
    Partly(String),
    /// The kernel does not know it.
    Unknown(String),
    /// It should be there, and is not.
    Fault(String),
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use calls::restrict as restrict_calls;

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn restrict_calls(_: &Needs) -> Result<(), Refused> {
    Err(Refused::Unknown("no list of system calls for this processor".to_owned()))
}

fn verify(needs: &Needs, held: &Held, seccomp: bool) -> io::Result<()> {
    let kept = needs.capabilities.iter().fold(0, |set, kept| set | kept.flag().bits());
    if held.capabilities & !kept == 0 && held.no_new_privileges && held.seccomp >= seccomp {
        return Ok(());
    }
    Err(io::Error::other(format!("the kernel does not keep its word: {held:?}")))
}
