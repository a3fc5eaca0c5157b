//! The client against peers that behave in every way a network can: in-process streams under paused time, and real sockets
//! where the kernel's part matters.

mod answers;
mod happy;
mod peer;
mod proof;
mod secrets;
mod timeouts;
