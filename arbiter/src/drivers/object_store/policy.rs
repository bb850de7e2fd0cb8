//! The fence in a bucket policy: one statement of ours among the user's own, which are kept.
//!
//! Knows policy documents. Never knows a server. A bucket policy denies neither replication, which
//! has actions of its own (`s3:ReplicateObject`, `s3:ReplicateDelete`), nor lifecycle rules, nor
//! the policy's own change, so that the fence can be lifted:
//! docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-policies.html.

use arbiter_core::Token;
use serde_json::{Map, Value, json};

/// What the id of our statement begins with; the token follows as `epoch-revision`.
const SID: &str = "ArbiterFence-";
/// Id of the statement of a rehearsal, and a key that nobody writes.
const REHEARSAL: &str = "ArbiterRehearsal";
/// Every action that changes an object of the bucket, other than replication's own.
const WRITES: [&str; 3] = ["s3:PutObject*", "s3:DeleteObject*", "s3:RestoreObject"];
/// Version of the policy language.
const VERSION: &str = "2012-10-17";

/// A bucket policy; none: the bucket has none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy(Option<Value>);

impl Policy {
    /// Read a document.
    ///
    /// # Errors
    /// What is wrong with it; nothing of it is quoted.
    pub fn parse(text: &str) -> Result<Self, String> {
        let value: Value =
            serde_json::from_str(text).map_err(|_| "the policy is no JSON".to_owned())?;
        if value.get("Statement").is_none_or(|found| !found.is_array() && !found.is_object()) {
            return Err("the policy has no statement".to_owned());
        }
        Ok(Self(Some(value)))
    }

    fn statements(&self) -> Vec<&Value> {
        match self.0.as_ref().and_then(|policy| policy.get("Statement")) {
            Some(Value::Array(all)) => all.iter().collect(),
            Some(one) => vec![one],
            None => Vec::new(),
        }
    }

    /// The highest token of our statements; none where the bucket has none of ours.
    pub fn token(&self) -> Option<Token> {
        self.statements().into_iter().filter_map(token).max()
    }

    /// Whether a statement of ours is there, whatever became of it.
    pub fn has_ours(&self) -> bool {
        self.statements().into_iter().any(is_ours)
    }

    /// Whether the fence stands there as it would be written at `token`, and no other of ours.
    pub fn holds(&self, arn: &str, admin: Option<&str>, token: Token) -> bool {
        let wanted = normal(&statement(arn, admin, token));
        let mut ours = self.statements().into_iter().filter(|statement| is_ours(statement));
        ours.next().is_some_and(|found| normal(found) == wanted) && ours.next().is_none()
    }

    /// The same, with the fence at `token` and no other of ours, as text.
    pub fn fenced(&self, arn: &str, admin: Option<&str>, token: Token) -> String {
        let mut policy =
            self.others().unwrap_or_else(|| json!({ "Version": VERSION, "Statement": [] }));
        if let Some(Value::Array(all)) = policy.get_mut("Statement") {
            all.push(statement(arn, admin, token));
        }
        policy.to_string()
    }

    /// The same without ours, as text; none where nothing is left.
    pub fn lifted(&self) -> Option<String> {
        self.others().map(|policy| policy.to_string())
    }

    /// A policy that denies what nobody does, as text.
    pub fn harmless(arn: &str, below: &str) -> String {
        let statement = json!({
            "Sid": REHEARSAL,
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:PutObject",
            "Resource": format!("{arn}/{below}/{REHEARSAL}"),
        });
        json!({ "Version": VERSION, "Statement": [statement] }).to_string()
    }

    fn others(&self) -> Option<Value> {
        let kept: Vec<Value> =
            self.statements().into_iter().filter(|found| !is_ours(found)).cloned().collect();
        let mut policy = self.0.clone()?;
        policy.as_object_mut()?.insert("Statement".to_owned(), Value::Array(kept.clone()));
        (!kept.is_empty()).then_some(policy)
    }
}

fn statement(arn: &str, admin: Option<&str>, token: Token) -> Value {
    let mut statement = json!({
        "Sid": format!("{SID}{}-{}", token.epoch, token.revision),
        "Effect": "Deny",
        "Principal": "*",
        "Action": WRITES,
        "Resource": format!("{arn}/*"),
    });
    if let Some(role) = admin {
        statement["Condition"] = json!({ "ArnNotEquals": { "aws:PrincipalArn": role } });
    }
    statement
}

fn sid(statement: &Value) -> Option<&str> {
    statement.get("Sid")?.as_str()?.strip_prefix(SID)
}

fn is_ours(statement: &Value) -> bool {
    sid(statement).is_some()
}

fn token(statement: &Value) -> Option<Token> {
    sid(statement)?.replacen('-', ".", 1).parse().ok()
}

/// One spelling for one meaning: services give lists of one as that one, lists in another order,
/// and `{"AWS": "*"}` for `"*"`.
fn normal(value: &Value) -> Value {
    match value {
        Value::Array(all) if all.len() == 1 => normal(&all[0]),
        Value::Array(all) => {
            let mut all: Vec<Value> = all.iter().map(normal).collect();
            all.sort_by_key(Value::to_string);
            Value::Array(all)
        }
        Value::Object(map) => {
            let map: Map<String, Value> =
                map.iter().map(|(key, value)| (key.clone(), normal(value))).collect();
            match map.get("AWS") {
                Some(everybody) if map.len() == 1 && everybody == "*" => everybody.clone(),
                _ => Value::Object(map),
            }
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:s3:::orders";
    const USERS: &str = r#"{"Version":"2012-10-17","Id":"mine","Statement":{"Sid":"Mine",
        "Effect":"Allow","Principal":{"AWS":"arn:aws:iam::1:role/app"},"Action":"s3:GetObject",
        "Resource":"arn:aws:s3:::orders/*"}}"#;

    fn at(epoch: u64, revision: u64) -> Token {
        Token::new(epoch, revision)
    }

    #[test]
    fn a_fence_is_added_replaced_and_lifted_and_the_rest_kept() {
        let users = Policy::parse(USERS).unwrap();
        let fenced = Policy::parse(&users.fenced(ARN, None, at(2, 9))).unwrap();
        assert_eq!((users.token(), fenced.token()), (None, Some(at(2, 9))));
        assert!(fenced.holds(ARN, None, at(2, 9)) && !fenced.holds(ARN, None, at(2, 10)));
        let higher = Policy::parse(&fenced.fenced(ARN, None, at(3, 1))).unwrap();
        assert_eq!((higher.token(), higher.statements().len()), (Some(at(3, 1)), 2));
        let lifted = Policy::parse(&higher.lifted().unwrap()).unwrap();
        assert_eq!(lifted.statements(), users.statements());
        assert_eq!(lifted.0.unwrap()["Id"], "mine");
    }

    #[test]
    fn a_bucket_without_a_policy_has_none_again() {
        let none = Policy::default();
        let fenced = Policy::parse(&none.fenced(ARN, Some("arn:aws:iam::1:role/a"), at(2, 9)));
        let fenced = fenced.unwrap();
        assert_eq!(fenced.lifted(), None);
        assert!(fenced.holds(ARN, Some("arn:aws:iam::1:role/a"), at(2, 9)));
        assert!(!fenced.holds(ARN, None, at(2, 9)), "another role may write");
    }

    #[test]
    fn what_means_the_same_is_the_same_and_what_was_turned_is_not() {
        let text = Policy::default().fenced(ARN, None, at(2, 9));
        let spelled = text.replace("\"Principal\":\"*\"", "\"Principal\":{\"AWS\":[\"*\"]}");
        let spelled = spelled.replace("\"arn:aws:s3:::orders/*\"", "[\"arn:aws:s3:::orders/*\"]");
        assert_ne!(spelled, text);
        assert!(Policy::parse(&spelled).unwrap().holds(ARN, None, at(2, 9)));
        for (from, to) in [("Deny", "Allow"), ("s3:DeleteObject*", "s3:Get*"), ("orders/*", "x/*")]
        {
            let turned = Policy::parse(&text.replace(from, to)).unwrap();
            assert!(!turned.holds(ARN, None, at(2, 9)), "{from}");
            assert!(turned.has_ours());
        }
        let twice = r#"{"Statement":[{"Sid":"ArbiterFence-2-9"},{"Sid":"ArbiterFence-1-1"}]}"#;
        assert_eq!(Policy::parse(twice).unwrap().token(), Some(at(2, 9)));
        assert!(Policy::parse("hunter2").unwrap_err().contains("no JSON"));
        assert!(Policy::parse("{}").is_err());
    }
}
