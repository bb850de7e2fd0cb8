//! TLS of the whole process. Knows the cryptography provider; certificates come later.

/// Choose the provider of cryptography, once; later calls change nothing.
pub fn install() {
    // An error says that a provider is installed already, which is what is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
