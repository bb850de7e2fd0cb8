//! The fence in a container's ACL: stored access policies without the right to write, and what they
//! had before in the container's metadata.
//!
//! Knows the XML of Get and Set Container ACL and one line of metadata. Never knows a server. What
//! it stops are clients with a SAS bound to a named policy; see decision 0017 for what it does not.
//! learn.microsoft.com/rest/api/storageservices/define-stored-access-policy.

use arbiter_core::Token;
use std::collections::BTreeMap;

/// Name of the metadata that holds the token and the rights taken away.
pub const FENCE: &str = "arbiter_fence";
/// Rights that change nothing: read, list, find by tags, execute. All others are taken away.
const HARMLESS: &str = "rlfe";

/// One stored access policy, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identifier {
    /// Everything between its tags.
    raw: String,
    id: String,
    /// None where its tokens carry their rights themselves.
    permission: Option<String>,
}

/// Token of the fence, and what each narrowed policy had.
type Record = (Token, BTreeMap<String, String>);

/// The ACL and the fence's record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl {
    identifiers: Vec<Identifier>,
    record: Option<Record>,
}

impl Acl {
    /// Read the XML of Get Container ACL, and the metadata [`FENCE`].
    ///
    /// # Errors
    /// What is wrong; nothing is quoted.
    pub fn parse(xml: &str, fence: &str) -> Result<Self, String> {
        let mut identifiers = Vec::new();
        for part in xml.split("<SignedIdentifier>").skip(1) {
            let raw = part.split("</SignedIdentifier>").next().unwrap_or_default();
            let id = element(raw, "Id").ok_or("an access policy has no id")?.trim().to_owned();
            let permission = element(raw, "Permission").filter(|text| !text.is_empty());
            identifiers.push(Identifier { raw: raw.to_owned(), id, permission });
        }
        if identifiers.is_empty() && !xml.contains("<SignedIdentifiers") {
            return Err("the ACL is not understood".to_owned());
        }
        Ok(Self { identifiers, record: record(fence)? })
    }

    /// The token of the fence's record.
    pub fn token(&self) -> Option<Token> {
        self.record.as_ref().map(|(token, _)| *token)
    }

    /// The policies of this name: a server has one, and what counts is what is there.
    fn all_named(&self, name: &str) -> impl Iterator<Item = &Identifier> {
        self.identifiers.iter().filter(move |found| found.id == name)
    }

    fn named(&self, name: &str) -> Option<&Identifier> {
        self.all_named(name).next()
    }

    /// Whether none of the named policies can write.
    pub fn is_narrow(&self, names: &[String]) -> bool {
        let narrow = |name: &String| {
            let narrow = |held: &String| narrowed(held) == *held;
            let mut all = self.all_named(name).map(|found| found.permission.as_ref());
            self.named(name).is_some() && all.all(|held| held.is_some_and(narrow))
        };
        names.iter().all(narrow)
    }

    /// Why the named policies cannot be narrowed; none where they can.
    pub fn obstacle(&self, names: &[String]) -> Option<String> {
        let held = |name: &String| {
            let mut all = self.all_named(name).map(|found| &found.permission);
            let first = all.next();
            let whole =
                |held: &Option<String>| held.as_ref().is_some_and(|h| !narrowed(h).is_empty());
            first.map(|first| all.find(|held| !whole(held)).unwrap_or(first))
        };
        names.iter().find_map(|name| match held(name) {
            None => Some(format!("there is no access policy {name}: add it, or correct the setting")),
            Some(None) => Some(format!(
                "the access policy {name} holds no rights, its tokens do: give it theirs, and issue \
                 the tokens anew"
            )),
            Some(Some(held)) if narrowed(held).is_empty() => Some(format!(
                "the access policy {name} could only write, and a policy without any right stops \
                 nothing: give it the right to read too"
            )),
            Some(Some(_)) => None,
        })
    }

    /// The metadata of a fence at `token`: it is written before the ACL, so that what is taken away
    /// is known whatever happens between.
    pub fn record_of(&self, names: &[String], token: Token) -> String {
        let before = self.record.as_ref().map(|(_, before)| before);
        let had = |name: &String| {
            let held = self.named(name)?.permission.clone()?;
            // What is narrow already had more once, if a record says so.
            let known = before.and_then(|before| before.get(name)).cloned();
            let whole = if narrowed(&held) == held { known.unwrap_or(held) } else { held };
            Some(format!("{name}={whole}"))
        };
        let mut words = vec![token.to_string()];
        words.extend(names.iter().filter_map(had));
        words.join(" ")
    }

    /// The ACL with the named policies narrowed.
    pub fn fenced(&self, names: &[String]) -> String {
        self.with(|found| {
            names.contains(&found.id).then(|| narrowed(found.permission.as_ref()?).into())
        })
    }

    /// The ACL with what the record says given back, where nobody changed it since.
    pub fn lifted(&self) -> String {
        let before = self.record.as_ref().map(|(_, before)| before.clone()).unwrap_or_default();
        self.with(|found| {
            let (held, had) = (found.permission.as_ref()?, before.get(&found.id)?);
            Some((narrowed(had) == *held).then(|| had.clone()))
        })
    }

    fn with(&self, change: impl Fn(&Identifier) -> Option<Option<String>>) -> String {
        let mut xml = "<?xml version=\"1.0\" encoding=\"utf-8\"?><SignedIdentifiers>".to_owned();
        for found in &self.identifiers {
            let raw = match (change(found).flatten(), &found.permission) {
                (Some(to), Some(from)) => {
                    let tagged = |held: &str| format!("<Permission>{held}</Permission>");
                    found.raw.replacen(&tagged(from), &tagged(&to), 1)
                }
                _ => found.raw.clone(),
            };
            xml.push_str(&format!("<SignedIdentifier>{raw}</SignedIdentifier>"));
        }
        xml.push_str("</SignedIdentifiers>");
        xml
    }
}

/// What is left of rights when all that write are taken away.
fn narrowed(held: &str) -> String {
    held.chars().filter(|right| HARMLESS.contains(*right)).collect()
}

/// The text of an element, as it stands there; names and rights need no escapes.
fn element(xml: &str, tag: &str) -> Option<String> {
    let (_, after) = xml.split_once(&format!("<{tag}>"))?;
    // What does not end is none: it could not be written back either.
    let (text, _) = after.split_once(&format!("</{tag}>"))?;
    Some(text.to_owned())
}

fn record(text: &str) -> Result<Option<Record>, String> {
    let mut words = text.split_whitespace();
    let Some(token) = words.next() else { return Ok(None) };
    let token = token.parse().map_err(|()| format!("the metadata {FENCE} holds no token"))?;
    let pairs = words.filter_map(|word| word.split_once('='));
    Ok(Some((token, pairs.map(|(name, had)| (name.to_owned(), had.to_owned())).collect())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const XML: &str = "<?xml version=\"1.0\"?><SignedIdentifiers><SignedIdentifier><Id>app</Id>\
        <AccessPolicy><Start>2026-01-01</Start><Expiry>2030-01-01</Expiry><Permission>racwdl\
        </Permission></AccessPolicy></SignedIdentifier><SignedIdentifier><Id>readers</Id>\
        <AccessPolicy><Permission>rl</Permission></AccessPolicy></SignedIdentifier>\
        <SignedIdentifier><Id>drop</Id><AccessPolicy><Permission>cw</Permission></AccessPolicy>\
        </SignedIdentifier><SignedIdentifier><Id>bare</Id><AccessPolicy></AccessPolicy>\
        </SignedIdentifier></SignedIdentifiers>";

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn rights_are_taken_away_and_given_back() {
        let app = names(&["app"]);
        let before = Acl::parse(XML, "").unwrap();
        assert!(!before.is_narrow(&app) && before.is_narrow(&names(&["readers"])));
        let record = before.record_of(&app, Token::new(2, 9));
        assert_eq!(record, "2.9 app=racwdl");
        let fenced = Acl::parse(&before.fenced(&app), &record).unwrap();
        assert!(fenced.is_narrow(&app));
        assert_eq!(fenced.named("app").unwrap().permission.as_deref(), Some("rl"));
        assert!(fenced.named("app").unwrap().raw.contains("<Expiry>2030-01-01</Expiry>"));
        // A later fence, and one whose ACL never followed its record, know what was there.
        assert_eq!(fenced.record_of(&app, Token::new(3, 1)), "3.1 app=racwdl");
        assert_eq!(Acl::parse(XML, &record).unwrap().record_of(&app, Token::new(2, 9)), record);
        let lifted = Acl::parse(&fenced.lifted(), "").unwrap();
        assert_eq!(lifted, before);
    }

    #[test]
    fn what_somebody_changed_since_is_theirs() {
        let changed = XML.replace("racwdl", "r");
        let found = Acl::parse(&changed, "2.9 app=racwdl").unwrap();
        assert_eq!(Acl::parse(&found.lifted(), "2.9 app=racwdl").unwrap(), found);
    }

    #[test]
    fn what_cannot_be_narrowed_is_named() {
        let acl = Acl::parse(XML, "").unwrap();
        for (name, said) in
            [("none", "no access policy"), ("drop", "only write"), ("bare", "tokens do")]
        {
            let why = acl.obstacle(&names(&["app", name])).unwrap();
            assert!(why.contains(said), "{why}");
        }
        assert_eq!(acl.obstacle(&names(&["app", "readers"])), None);
        assert!(Acl::parse("hunter2", "").is_err());
        assert!(Acl::parse(XML, "hunter2").is_err());
        assert_eq!(Acl::parse("<SignedIdentifiers />", "").unwrap(), Acl::default());
    }
}
