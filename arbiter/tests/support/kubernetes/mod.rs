#![allow(dead_code, reason = "each test binary uses a part")]
//! A Kubernetes cluster of our own: an API server over HTTP that keeps objects, and the controllers
//! that act on them. Knows Kubernetes as a client sees it; never a driver.

pub mod cluster;
pub mod controller;
pub mod http;
pub mod selector;
pub mod store;
