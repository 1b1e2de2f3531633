//! The state page that somebody hands to a reader: taken only if nothing in it can hurt, and read
//! as what it says.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::{Errno, pwrite};
use teredo_control::Word;
use teredo_sys::page::MappedPage;

use crate::input::{Input, pick};

/// Makes a file of a length and with the seals that the first two bytes say, and the rest in it.
pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let len =
        pick(&[PAGE_LEN, PAGE_LEN, PAGE_LEN, 0, 40, PAGE_LEN - 1, PAGE_LEN + 1], input.byte());
    let seals = SealFlags::from_bits_truncate(u32::from(input.byte() ^ 0xff) & 0x1f);
    let content = input.rest();
    let Ok(file) = file(len, seals, content) else { return };
    let Ok(page) = MappedPage::map(file.as_fd()) else { return };
    assert_eq!(len, PAGE_LEN, "a page of another length");
    assert!(seals.contains(SealFlags::SHRINK), "a page that can be cut off");
    let part = |at: usize, len: usize| {
        let bytes = (at..at + len).map(|at| content.get(at).copied().unwrap_or_default());
        bytes.rev().fold(0_u64, |number, byte| number << 8 | u64::from(byte))
    };
    let owner = part(OWNER_AT, 4);
    let is_owned = owner & OWNER_DIED == 0 && owner & TID_MASK != 0;
    assert_eq!(page.word(), is_owned.then(|| part(WORD_AT, 8)));
    let _ = page.network_namespace();
    let Some(bits) = page.word() else { return };
    let word = Word::from_bits(bits);
    assert_eq!(word.port().map_or(0, |port| u64::from(port.get())), bits & 0xffff);
    assert_eq!(u64::from(word.generation()), bits >> 32);
    assert!(!word.state().name().is_empty());
}

fn file(len: usize, seals: SealFlags, content: &[u8]) -> Result<OwnedFd, Errno> {
    let file = memfd_create("page", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    pwrite(&file, &content[..content.len().min(len)], 0)?;
    ftruncate(&file, len as u64)?;
    fcntl_add_seals(&file, seals)?;
    Ok(file)
}

const PAGE_LEN: usize = 4096;
/// The contract between processes (`teredo_sys::page`), and what the kernel says of an owner.
const OWNER_AT: usize = 12;
const WORD_AT: usize = 32;
const OWNER_DIED: u64 = 0x4000_0000;
const TID_MASK: u64 = 0x3fff_ffff;
