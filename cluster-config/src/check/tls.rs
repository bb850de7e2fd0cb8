//! Checks of what certificates name. Knows names; reads no certificate.

use crate::fault::Book;
use crate::schema::Cluster;

/// Characters that a cluster's name may have where it is part of certificates.
fn plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')
}

pub(super) fn check(cluster: &Cluster, book: &mut Book<'_>) {
    let Some(tls) = &cluster.tls else { return };
    if cluster.insecure_plaintext {
        let what = "is set, and there is a table [tls]";
        book.fault("cluster.insecure_plaintext", what, "remove one of them");
    }
    if !cluster.id.chars().all(plain) {
        let what = format!("{:?} stands in every certificate", cluster.id);
        book.fault("cluster.id", what, "use a-z, A-Z, 0-9, . - and _ only");
    }
    if tls.certificate == tls.key || tls.certificate == tls.ca || tls.key == tls.ca {
        book.fault("tls", "two of its files are one", "give ca, certificate and key their own");
    }
    let shared = cluster.arbiters.keys().filter(|name| cluster.agents.contains_key(*name));
    for name in shared {
        let what = format!("an arbiter is called {name} too, and each has a certificate");
        book.fault(&format!("agents.{name}"), what, "give one of them another name");
    }
}
