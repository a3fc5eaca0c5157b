//! The laws and traps of the wire, in one binary.

mod answers;
mod batches;
mod errors;
mod json;
mod request;
mod splice;
mod sse;
mod stream;
mod usual;
mod written;
