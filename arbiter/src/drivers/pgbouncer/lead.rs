//! How clients are led to a primary, and go on: the file is rewritten and read anew, connections to
//! the old server are closed, and what we paused is resumed. In this order.

use super::console::{Rows, Session};
use super::file::{entries, leading};
use super::settings::Place;
use super::{DriverError, PgBouncer};
use crate::drivers::files;
use arbiter_core::Terms;
use std::sync::PoisonError;

impl PgBouncer {
    /// Lead clients to whom `terms` name, or where they were led before, and let them through.
    pub(super) async fn lead(&self, terms: &Terms) -> Result<(), DriverError> {
        let session = self.session().await?;
        if let Some(place) = self.wanted(terms)? {
            self.remember(None);
            self.lead_to(&session, &place).await?;
            self.remember(Some(place));
        }
        self.resume(&session).await
    }

    /// What a look compares with; nothing while they are on their way elsewhere.
    fn remember(&self, place: Option<Place>) {
        *self.ordered.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }

    /// Where clients are to be led; none: nobody says that it changes.
    fn wanted(&self, terms: &Terms) -> Result<Option<Place>, DriverError> {
        let Some(region) = &terms.names else { return Ok(None) };
        if let Some(place) = self.set.servers.get(region) {
            return Ok(Some(place.clone()));
        }
        let place = Place::read(&terms.upstream);
        place.map(Some).ok_or_else(|| {
            DriverError::Refused(format!(
                "whom to lead clients to in {region} is not known: set pools to the resource that \
                 they use, or server.{region} to where it is reached"
            ))
        })
    }

    async fn lead_to(&self, session: &Session, place: &Place) -> Result<(), DriverError> {
        let text = self.text()?;
        let wanted = leading(&text, place, |name| self.is_led(name));
        let wanted = wanted.map_err(|why| self.not_understood(&why))?;
        let led: Vec<String> = entries(&wanted)
            .map_err(|why| self.not_understood(&why))?
            .into_iter()
            .map(|entry| entry.name)
            .filter(|name| self.is_led(name))
            .collect();
        if wanted == text && elsewhere(&session.databases().await?, &led, place).is_empty() {
            return Ok(());
        }
        if wanted != text {
            let file = &self.set.databases_file;
            files::replace(file, &wanted, file).map_err(|error| {
                DriverError::Retry(format!("{} cannot be rewritten: {error}", file.display()))
            })?;
        }
        session.reload().await?;
        let rows = session.databases().await?;
        let other = elsewhere(&rows, &led, place);
        if !other.is_empty() {
            return Err(DriverError::Refused(format!(
                "PgBouncer does not read {}: after a RELOAD it still leads {} elsewhere; see its \
                 log, and that its file has an %include of this one",
                self.set.databases_file.display(),
                other.join(", ")
            )));
        }
        for name in &led {
            session.reconnect(name).await?;
        }
        tracing::info!(%place, databases = led.join(", "), "clients are led to");
        Ok(())
    }

    /// What somebody else paused stays so.
    async fn resume(&self, session: &Session) -> Result<(), DriverError> {
        let marked = self.marker.names()?;
        if marked.is_empty() {
            return Ok(());
        }
        let rows = session.databases().await?;
        for name in marked.iter().filter(|name| rows.get(*name).is_some_and(|row| row.paused)) {
            session.resume(name).await?;
        }
        self.marker.set(&Default::default())
    }
}

/// Those of `led` that PgBouncer leads elsewhere, or does not know.
pub(super) fn elsewhere<'a>(rows: &Rows, led: &'a [String], place: &Place) -> Vec<&'a str> {
    let port = place.port.to_string();
    let there =
        |name: &str| rows.get(name).is_some_and(|row| row.host == place.host && row.port == port);
    led.iter().map(String::as_str).filter(|name| !there(name)).collect()
}
