//! Checks of where events and the audit log go. Knows URLs; never what is posted.

use super::{host_port, http_url};
use crate::fault::Book;
use crate::schema::Cluster;

pub(super) fn check(cluster: &Cluster, book: &mut Book<'_>) {
    audit(cluster, book);
    let Some(keys) = &cluster.alertmanager else { return };
    for url in keys.urls() {
        if let Err((what, remedy)) = http_url(url) {
            book.fault("alertmanager.url", what, remedy);
        }
    }
    if keys.urls().next().is_none() && !keys.url.is_empty() {
        book.fault("alertmanager.url", "names no URL", "write such as \"http://10.0.3.9:9093\"");
    }
    if keys.bearer_file.is_some() && keys.basic_auth_file.is_some() {
        let what = "is beside bearer_file, and one request has one Authorization";
        book.fault("alertmanager.basic_auth_file", what, "leave one of the two out");
    }
}

fn audit(cluster: &Cluster, book: &mut Book<'_>) {
    let Some(keys) = &cluster.audit else { return };
    if keys.file.as_ref().is_some_and(|file| file.trim().is_empty()) {
        book.fault("audit.file", "names no file", "write such as \"audit.jsonl\"");
    }
    let Some(syslog) = &keys.syslog else { return };
    let good = match syslog.split_once(':') {
        Some(("udp", place)) => place.strip_prefix("//").and_then(host_port).is_some(),
        Some(("unix", path)) => path.starts_with('/'),
        _ => false,
    };
    if !good {
        let what = format!("{syslog:?} is neither udp://host:port nor unix:/PATH");
        book.fault("audit.syslog", what, "write such as \"unix:/dev/log\"");
    }
}
