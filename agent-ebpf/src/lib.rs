//! Records that both sides share.
#![no_std]
