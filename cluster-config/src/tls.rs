//! The keys of certificates. Knows paths and times; reads no certificate.

use crate::section::section;
use std::time::Duration;

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

section! {
    /// Certificates: every arbiter, agent and operator shows one, and its role stands in it.
    /// TLS is on unless every arbiter listens on loopback, or `insecure_plaintext` is set; with
    /// this table it is on there too. `{name}` stands for the name of the arbiter or agent. Files
    /// are read again when they change. `arbiter pki` makes them all.
    Tls {
        /// Certificates of the authorities that may sign; two while one replaces the other.
        ca: String [default "/etc/region-arbiter/tls/ca.pem"],
        /// Its own certificate, with those between it and the authority.
        certificate: String [default "/etc/region-arbiter/tls/{name}.pem"],
        /// The private key of it. Nobody but its user and group may read it.
        key: String [default "/etc/region-arbiter/tls/{name}.key"],
        /// How long an arbiter or agent whose certificate expired is heard all the same, so that
        /// expiry alone fences nobody. A person's certificate ends when it says.
        expiry_grace: Duration [default WEEK],
    }
}

impl Tls {
    /// The three files of the arbiter or agent `name`: authorities, certificate, key.
    pub fn files(&self, name: &str) -> [String; 3] {
        [&self.ca, &self.certificate, &self.key].map(|path| path.replace("{name}", name))
    }
}
