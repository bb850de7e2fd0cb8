//! The faces of an arbiter: gRPC and HTTP. They translate, relay and call; they never decide.

pub mod http;
