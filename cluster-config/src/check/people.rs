//! Checks of where events go. Knows URLs; never what is posted.

use super::http_url;
use crate::fault::Book;
use crate::schema::Cluster;

pub(super) fn check(cluster: &Cluster, book: &mut Book<'_>) {
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
