//! The direction of replication between two buckets: one rule of ours among the user's own.
//!
//! Knows the XML of S3's replication configuration. Never knows a server.
//! docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketReplication.html.

use super::settings::Direction;
use arbiter_core::Token;

/// What the id of our rule begins with; the token follows as `epoch-revision`.
const ID: &str = "ArbiterReplicate-";
const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// Replication out of one bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replication {
    role: String,
    /// Each rule as it stands there, tags and all.
    rules: Vec<String>,
}

impl Replication {
    /// Read a configuration; the empty text is none.
    ///
    /// # Errors
    /// It is not understood.
    pub fn parse(xml: &str) -> Result<Self, String> {
        if !xml.is_empty() && !xml.contains("<ReplicationConfiguration") {
            return Err("the replication configuration is not understood".to_owned());
        }
        let rules = xml.split("<Rule>").skip(1).filter_map(|part| part.split("</Rule>").next());
        Ok(Self {
            role: element(xml, "Role").unwrap_or_default().to_owned(),
            rules: rules.map(|rule| format!("<Rule>{rule}</Rule>")).collect(),
        })
    }

    /// Whether an enabled rule, whoever's, replicates to the bucket of this ARN.
    pub fn reaches(&self, to: &str) -> bool {
        self.rules.iter().any(|rule| is_enabled(rule) && element(rule, "Bucket") == Some(to))
    }

    /// Whether any enabled rule is there.
    pub fn runs(&self) -> bool {
        self.rules.iter().any(|rule| is_enabled(rule))
    }

    /// The token of our rule; none where there is none.
    pub fn token(&self) -> Option<Token> {
        let ids = self.rules.iter().filter_map(|rule| element(rule, "ID"));
        let ours = ids.filter_map(|id| id.strip_prefix(ID));
        ours.filter_map(|token| token.replacen('-', ".", 1).parse().ok()).max()
    }

    /// Whether a rule of ours is there, whatever became of it.
    pub fn has_ours(&self) -> bool {
        self.rules.iter().any(|rule| is_ours(rule))
    }

    /// The configuration with our rule at `token`.
    ///
    /// # Errors
    /// Other rules are replicated by another role, and a bucket has one for all.
    pub fn towards(&self, direction: &Direction, token: Token) -> Result<String, String> {
        let kept = self.others();
        if !kept.is_empty() && self.role != direction.role {
            return Err(format!(
                "rules of your own replicate by role {}: set replication_role to it, or add a rule \
                 to {} yourself",
                self.role, direction.to
            ));
        }
        let priority =
            kept.iter().filter_map(|rule| element(rule, "Priority")?.parse::<u32>().ok());
        let priority = priority.max().map_or(1, |highest| highest.saturating_add(1));
        let rule = format!(
            "<Rule><ID>{ID}{}-{}</ID><Priority>{priority}</Priority><Status>Enabled</Status>\
             <Filter><Prefix></Prefix></Filter><DeleteMarkerReplication><Status>Enabled</Status>\
             </DeleteMarkerReplication><Destination><Bucket>{}</Bucket></Destination></Rule>",
            token.epoch, token.revision, direction.to
        );
        Ok(configuration(&direction.role, kept.into_iter().chain([rule.as_str()])))
    }

    /// The configuration without our rule; none where nothing is left.
    pub fn turned_off(&self) -> Option<String> {
        let kept = self.others();
        (!kept.is_empty()).then(|| configuration(&self.role, kept.into_iter()))
    }

    fn others(&self) -> Vec<&str> {
        self.rules.iter().map(String::as_str).filter(|rule| !is_ours(rule)).collect()
    }
}

fn configuration<'a>(role: &str, rules: impl Iterator<Item = &'a str>) -> String {
    let rules: String = rules.collect();
    format!(
        "<ReplicationConfiguration xmlns=\"{NAMESPACE}\"><Role>{role}</Role>{rules}\
         </ReplicationConfiguration>"
    )
}

fn is_ours(rule: &str) -> bool {
    element(rule, "ID").is_some_and(|id| id.starts_with(ID))
}

/// The rule's own status stands beside those of its parts, which lie deeper.
fn is_enabled(rule: &str) -> bool {
    let mut flat = rule.to_owned();
    for deeper in ["DeleteMarkerReplication", "ExistingObjectReplication", "Destination"] {
        let (open, close) = (format!("<{deeper}>"), format!("</{deeper}>"));
        if let (Some(from), Some(to)) = (flat.find(&open), flat.find(&close))
            && from < to
        {
            flat.replace_range(from..to, "");
        }
    }
    element(&flat, "Status") == Some("Enabled")
}

fn element<'a>(xml: &'a str, tag: &str) -> Option<&'a str> {
    let after = xml.split(&format!("<{tag}>")).nth(1)?;
    Some(after.split(&format!("</{tag}>")).next()?.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "<ReplicationConfiguration><Role>arn:aws:iam::1:role/r</Role><Rule><ID>mine\
        </ID><Priority>7</Priority><DeleteMarkerReplication><Status>Enabled</Status>\
        </DeleteMarkerReplication><Status>Disabled</Status><Filter><Prefix>a&amp;b</Prefix></Filter>\
        <Destination><Bucket>arn:aws:s3:::peer</Bucket></Destination></Rule>\
        </ReplicationConfiguration>";

    fn direction() -> Direction {
        Direction { role: "arn:aws:iam::1:role/r".into(), to: "arn:aws:s3:::peer".into() }
    }

    #[test]
    fn our_rule_is_added_replaced_and_taken_out_and_the_rest_kept() {
        let users = Replication::parse(USERS).unwrap();
        assert!(!users.reaches("arn:aws:s3:::peer"), "the rule itself is disabled");
        let ours = users.towards(&direction(), Token::new(2, 9)).unwrap();
        let ours = Replication::parse(&ours).unwrap();
        assert!(ours.reaches("arn:aws:s3:::peer") && !ours.reaches("arn:aws:s3:::other"));
        assert_eq!((ours.token(), ours.rules.len()), (Some(Token::new(2, 9)), 2));
        assert!(ours.rules[1].contains("<Priority>8</Priority>"));
        assert_eq!(ours.rules[0], users.rules[0]);
        let later = ours.towards(&direction(), Token::new(3, 1)).unwrap();
        let later = Replication::parse(&later).unwrap();
        assert_eq!((later.token(), later.rules.len()), (Some(Token::new(3, 1)), 2));
        assert_eq!(Replication::parse(&later.turned_off().unwrap()).unwrap(), users);
    }

    #[test]
    fn without_rules_of_others_nothing_is_left() {
        let none = Replication::parse("").unwrap();
        assert!(!none.runs());
        let ours = none.towards(&direction(), Token::new(2, 9)).unwrap();
        assert_eq!(Replication::parse(&ours).unwrap().turned_off(), None);
        assert!(Replication::parse("hunter2").is_err());
    }

    #[test]
    fn a_bucket_has_one_role_for_all() {
        let users = Replication::parse(USERS).unwrap();
        let other = Direction { role: "arn:aws:iam::1:role/x".into(), ..direction() };
        assert!(users.towards(&other, Token::new(2, 9)).unwrap_err().contains("role/r"));
    }
}
