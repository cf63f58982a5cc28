//! `union bpf_attr`, filled in field by field, and the system call that takes it.

use std::ffi::c_long;
use std::marker::PhantomData;
use std::os::fd::{FromRawFd as _, OwnedFd};

/// Bytes passed for each command. A kernel to which the union is smaller checks that the rest is zero.
const SIZE: usize = 128;

/// The union. Holds the buffers that its pointers name for as long as it lives.
pub(super) struct Attributes<'a> {
    bytes: [u8; SIZE],
    buffers: PhantomData<&'a mut [u8]>,
}

impl<'a> Attributes<'a> {
    pub(super) fn new() -> Self {
        Self {
            bytes: [0; SIZE],
            buffers: PhantomData,
        }
    }

    pub(super) fn u32(mut self, at: usize, value: u32) -> Self {
        self.bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    fn u64(mut self, at: usize, value: u64) -> Self {
        self.bytes[at..at + 8].copy_from_slice(&value.to_ne_bytes());
        self
    }

    /// A buffer that the kernel reads.
    pub(super) fn input(self, at: usize, buffer: &'a [u8]) -> Self {
        self.u64(at, buffer.as_ptr() as u64)
    }

    /// A buffer that the kernel writes to.
    pub(super) fn output(self, at: usize, buffer: &'a mut [u8]) -> Self {
        self.u64(at, buffer.as_mut_ptr() as u64)
    }

    /// Up to 15 bytes of text in place, the rest being cut.
    pub(super) fn text(mut self, at: usize, text: &str) -> Self {
        let length = text.len().min(15);
        self.bytes[at..at + length].copy_from_slice(&text.as_bytes()[..length]);
        self
    }

    pub(super) fn read_u32(&self, at: usize) -> u32 {
        u32::from_ne_bytes([
            self.bytes[at],
            self.bytes[at + 1],
            self.bytes[at + 2],
            self.bytes[at + 3],
        ])
    }

    /// Runs `command`. The error is the errno.
    ///
    /// # Safety
    /// The lengths in the attributes must be those of the buffers in them, as `command` counts them.
    pub(super) unsafe fn run(&mut self, command: u32) -> Result<c_long, i32> {
        // SAFETY: the union is SIZE bytes, and the caller vouches for what it points to.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, self.bytes.as_mut_ptr(), SIZE) };
        if result < 0 {
            Err(super::errno())
        } else {
            Ok(result)
        }
    }

    /// Runs a `command` that answers with a new descriptor.
    ///
    /// # Safety
    /// As [`Attributes::run`], and `command` must be one that makes a descriptor.
    pub(super) unsafe fn open(&mut self, command: u32) -> Result<OwnedFd, i32> {
        // SAFETY: as promised by the caller.
        let descriptor = unsafe { self.run(command) }?;
        // SAFETY: the kernel has just made it, close-on-exec, and nobody else knows it.
        Ok(unsafe { OwnedFd::from_raw_fd(descriptor as i32) })
    }
}
