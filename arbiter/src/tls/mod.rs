//! Who is who: certificates, their roles, and connections that show them. TLS 1.3 only, both ends
//! with a certificate; a role is a URI in it, and no host name counts.
//!
//! # Layout
//! - `identity`: the URI, and a certificate as far as it matters here
//! - `files`: the three files of a process, read and checked; `verify`: whose word is taken
//! - `reload`: files that changed; `dial`: connections to arbiters; `caller`: who asks
//! - `issue`: an authority of one's own
//!
//! It knows the cryptography provider, files and time. It never knows what a role may do.

mod caller;
mod dial;
mod files;
mod identity;
mod issue;
mod reload;
#[cfg(test)]
mod tests;
mod verify;

pub use caller::{Caller, Via, caller, with_caller};
pub use dial::Dialer;
pub use files::{Files, TlsError, show};
pub use identity::{Certificate, Identity, NoIdentity, Role};
pub use issue::{Authority, CA_FILE, CA_KEY_FILE, Issued};
pub use reload::{Expiry, RELOAD_EVERY, Tls};

/// Choose the provider of cryptography, once; later calls change nothing.
pub fn install() {
    // An error says that a provider is installed already, which is what is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
