//! What can go wrong, with the numbers that Windows uses for it.

use std::{fmt, io};

/// Why a function failed.
///
/// [`code`](Self::code) is the number that the C functions return; the text is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Error {
    /// No such interface (`ERROR_FILE_NOT_FOUND`, 2).
    NoInterface,
    /// Only root or the group `teredo` may do this (`ERROR_ACCESS_DENIED`, 5).
    AccessDenied,
    /// Not enough memory, or the buffer is too small (`ERROR_NOT_ENOUGH_MEMORY`, 8).
    NotEnoughMemory,
    /// Teredo is not running on this host (`ERROR_NOT_READY`, 21).
    NotReady,
    /// The host lacks IPv6, or IPv4, for the request (`ERROR_NOT_SUPPORTED`, 50).
    NotSupported,
    /// An argument is missing or outside its range, or a handle is not, or no longer, one
    /// (`ERROR_INVALID_PARAMETER`, 87).
    InvalidParameter,
    /// The interface name is malformed (`ERROR_INVALID_NAME`, 123).
    InvalidName,
    /// A registration cannot be cancelled from its own callback (`ERROR_POSSIBLE_DEADLOCK`, 1131).
    PossibleDeadlock,
    /// No matching entry (`ERROR_NOT_FOUND`, 1168).
    NotFound,
    /// Out of system resources (`ERROR_NO_SYSTEM_RESOURCES`, 1450).
    NoResources,
    /// Anything else the system can say (`ERROR_GEN_FAILURE`, 31).
    System,
}

impl Error {
    /// The Win32 number.
    pub const fn code(self) -> u32 {
        match self {
            Self::NoInterface => 2,
            Self::AccessDenied => 5,
            Self::NotEnoughMemory => 8,
            Self::NotReady => 21,
            Self::System => 31,
            Self::NotSupported => 50,
            Self::InvalidParameter => 87,
            Self::InvalidName => 123,
            Self::PossibleDeadlock => 1131,
            Self::NotFound => 1168,
            Self::NoResources => 1450,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&message(self.code()))
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    /// Sorts a failure of the system; what it was about, the caller knows better.
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ENOMEM) => Self::NotEnoughMemory,
            Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::EAGAIN | libc::ENOSPC) => {
                Self::NoResources
            }
            Some(libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT) => Self::NotSupported,
            Some(libc::EPERM | libc::EACCES) => Self::AccessDenied,
            Some(libc::ENODEV) => Self::NoInterface,
            _ if error.kind() == io::ErrorKind::NotFound => Self::NoInterface,
            _ if error.kind() == io::ErrorKind::OutOfMemory => Self::NotEnoughMemory,
            _ => Self::System,
        }
    }
}

/// What a number means: one sentence for each that the functions return, `Error N.` for any other.
pub fn message(code: u32) -> String {
    let text = match code {
        0 => "Completed without error.",
        2 => "No such interface.",
        5 => "Only root or the group teredo may do this.",
        6 => "The handle is not valid.",
        8 => "Not enough memory, or the buffer is too small.",
        21 => "Teredo is not running on this host.",
        50 => "This host has no IPv6 (or IPv4) support for the request.",
        87 => "An argument is missing or outside its range.",
        123 => "The interface name is malformed.",
        997 => "Accepted; the result will be delivered to the callback.",
        1131 => "A registration cannot be cancelled from its own callback.",
        1168 => "No matching entry.",
        1450 => "Out of system resources.",
        other => return format!("Error {other}."),
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    //= API-68: every code has a text of its own, an unknown one says its number
    #[test]
    fn every_code_has_a_text() {
        let codes = [0, 2, 5, 6, 8, 21, 50, 87, 123, 997, 1131, 1168, 1450];
        let mut texts: Vec<String> = codes.iter().map(|code| message(*code)).collect();
        assert!(texts.iter().all(|text| text.ends_with('.') && !text.starts_with("Error")));
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), codes.len());
        assert_eq!(message(31), "Error 31.");
        assert_eq!(message(u32::MAX), "Error 4294967295.");
        assert_eq!(Error::NotReady.to_string(), message(21));
    }

    #[test]
    fn failures_of_the_system_are_sorted() {
        let sorted = |errno| Error::from(io::Error::from_raw_os_error(errno));
        assert_eq!(sorted(libc::ENOMEM), Error::NotEnoughMemory);
        assert_eq!(sorted(libc::EMFILE), Error::NoResources);
        assert_eq!(sorted(libc::EAFNOSUPPORT), Error::NotSupported);
        assert_eq!(sorted(libc::EIO), Error::System);
    }
}
