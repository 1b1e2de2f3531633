//! A cursor over the caller's buffer.

use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};

/// Appends fields to a borrowed buffer, in network byte order.
#[derive(Debug)]
pub struct Writer<'a> {
    buffer: &'a mut [u8],
    len: usize,
}

impl<'a> Writer<'a> {
    /// Starts at the front of `buffer`.
    pub fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, len: 0 }
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True before the first byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What was written so far.
    pub fn written(&self) -> &[u8] {
        &self.buffer[..self.len]
    }

    /// The same, for what can only be filled in at the end.
    pub fn written_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[..self.len]
    }

    /// The next `count` bytes, to be filled in by the caller.
    ///
    /// # Errors
    /// [`NoSpace`] when fewer are left; nothing is written then.
    pub fn reserve(&mut self, count: usize) -> Result<&mut [u8], NoSpace> {
        let end = self.len.checked_add(count).ok_or(NoSpace)?;
        let room = self.buffer.get_mut(self.len..end).ok_or(NoSpace)?;
        self.len = end;
        Ok(room)
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// [`NoSpace`] when they do not fit; nothing is written then.
    pub fn put(&mut self, bytes: &[u8]) -> Result<(), NoSpace> {
        self.reserve(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    /// Appends one byte.
    ///
    /// # Errors
    /// [`NoSpace`] as for [`Self::put`].
    pub fn put_u8(&mut self, value: u8) -> Result<(), NoSpace> {
        self.put(&[value])
    }

    /// Appends a 16-bit number.
    ///
    /// # Errors
    /// [`NoSpace`] as for [`Self::put`].
    pub fn put_u16(&mut self, value: u16) -> Result<(), NoSpace> {
        self.put(&value.to_be_bytes())
    }

    /// Appends a 32-bit number.
    ///
    /// # Errors
    /// [`NoSpace`] as for [`Self::put`].
    pub fn put_u32(&mut self, value: u32) -> Result<(), NoSpace> {
        self.put(&value.to_be_bytes())
    }

    /// Appends an IPv4 address.
    ///
    /// # Errors
    /// [`NoSpace`] as for [`Self::put`].
    pub fn put_ipv4(&mut self, address: Ipv4Addr) -> Result<(), NoSpace> {
        self.put(&address.octets())
    }

    /// Appends an IPv6 address.
    ///
    /// # Errors
    /// [`NoSpace`] as for [`Self::put`].
    pub fn put_ipv6(&mut self, address: Ipv6Addr) -> Result<(), NoSpace> {
        self.put(&address.octets())
    }

    /// Overwrites the 16-bit number at `offset`, which was written before.
    pub(crate) fn patch_u16(&mut self, offset: usize, value: u16) {
        if let Some(field) = self.buffer[..self.len].get_mut(offset..offset + 2) {
            field.copy_from_slice(&value.to_be_bytes());
        }
    }
}

/// The buffer is too small for what was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSpace;

impl fmt::Display for NoSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the buffer is too small")
    }
}

impl core::error::Error for NoSpace {}
