//! The place of `FormatMessage`, and other functions that Windows has not.

use std::ffi::c_char;

/// Writes what a code means, in UTF-8 and ended by a NUL, as far as there is room. Returns how many
/// bytes the whole text has, the NUL not counted.
///
/// # Safety
/// `buffer` is null or good for writing `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netio_format_message(code: u32, buffer: *mut c_char, len: usize) -> u32 {
    let text = std::panic::catch_unwind(|| crate::message(code)).unwrap_or_default();
    if !buffer.is_null() && len > 0 {
        // All texts are ASCII: any cut is between characters.
        let shown = text.len().min(len - 1);
        // SAFETY: there are `len` bytes to write, more than `shown`, and the text is ours.
        unsafe {
            buffer.copy_from_nonoverlapping(text.as_ptr().cast(), shown);
            buffer.add(shown).write(0);
        }
    }
    // A few dozen bytes.
    text.len() as u32
}

/// Chooses the number that stands for IPv6 in what this process is given: 10 (`AF_INET6` of Linux,
/// the default) or 23 (that of Windows). Both are always accepted. Anything else returns 87.
#[unsafe(no_mangle)]
pub extern "C" fn netio_set_af_inet6(value: u16) -> u32 {
    super::status(|| super::address::set_family_inet6(value))
}
