//! What is taken from a state: who it is, and which turn it is. Knows the head of Terraform's state
//! format, version 4, and of its lock; never a resource.

use serde::Deserialize;

/// Version of the state format that is understood.
const FORMAT: u64 = 4;
/// Characters of a word that somebody else wrote, as it is shown.
const WORD_CHARS_MAX: usize = 80;

/// What was found in a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The state.
    pub state: State,
    /// Who holds it.
    pub lock: Lock,
}

/// A state, without anything that stands in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Given when it was first made; never changed.
    pub lineage: String,
    /// One higher with each change.
    pub serial: u64,
    /// Terraform that wrote it last.
    pub terraform: String,
    /// CRC32C of all of it: two applies can come to the same serial.
    pub sum: u32,
    /// The backend's version mark of what was read; empty where it gives none.
    pub tag: String,
}

/// Whether somebody changes the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lock {
    /// Nobody.
    Free,
    /// Somebody; who, and the lock's id, as they wrote it.
    Held {
        /// Who, doing what, since when.
        who: String,
        /// What `terraform force-unlock` wants.
        id: String,
    },
    /// The backend does not tell; why.
    Unknown(String),
}

#[derive(Deserialize)]
struct Head {
    version: u64,
    #[serde(default)]
    terraform_version: String,
    serial: u64,
    lineage: String,
}

#[derive(Deserialize)]
struct LockInfo {
    #[serde(rename = "ID", default)]
    id: String,
    #[serde(rename = "Operation", default)]
    operation: String,
    #[serde(rename = "Who", default)]
    who: String,
    #[serde(rename = "Created", default)]
    created: String,
}

impl State {
    /// Read the head of a state.
    ///
    /// # Errors
    /// What is wrong; nothing of it is quoted.
    pub fn parse(bytes: &[u8], tag: &str) -> Result<Self, String> {
        let head: Head = serde_json::from_slice(bytes)
            .map_err(|_| "what stands there is no Terraform state".to_owned())?;
        if head.version != FORMAT {
            let version = head.version;
            return Err(format!("the state has format {version}, and {FORMAT} is understood"));
        }
        Ok(Self {
            lineage: word(&head.lineage),
            serial: head.serial,
            terraform: word(&head.terraform_version),
            sum: crc32c::crc32c(bytes),
            tag: tag.to_owned(),
        })
    }
}

impl Lock {
    /// A lock that is there, with what its holder wrote into it.
    pub fn held(info: &[u8]) -> Self {
        let Ok(info) = serde_json::from_slice::<LockInfo>(info) else {
            return Self::Held { who: "somebody who left no name".to_owned(), id: String::new() };
        };
        let LockInfo { id, operation, who, created } = info;
        let (operation, created) = (word(&operation), word(&created));
        Self::Held { who: format!("{} ({operation}, since {created})", word(&who)), id: word(&id) }
    }
}

impl std::fmt::Display for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Free => f.write_str("none"),
            Self::Held { who, .. } => write!(f, "held by {who}"),
            Self::Unknown(why) => write!(f, "unknown: {why}"),
        }
    }
}

/// A word of somebody else's: one line, of bounded length.
fn word(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(WORD_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: &str = r#"{"version":4,"terraform_version":"1.11.4","serial":7,"lineage":"abc",
        "outputs":{"password":{"value":"hunter2"}},"resources":[]}"#;

    #[test]
    fn only_the_head_of_a_state_is_kept() {
        let state = State::parse(STATE.as_bytes(), "t").unwrap();
        assert_eq!((state.serial, state.lineage.as_str()), (7, "abc"));
        assert!(!format!("{state:?}").contains("hunter2"));
        for wrong in ["hunter2", "{}", "[]", "{\"version\":3,\"serial\":1,\"lineage\":\"hunter2\"}"]
        {
            let said = State::parse(wrong.as_bytes(), "").unwrap_err();
            assert!(!said.contains("hunter2"), "{said}");
        }
    }

    #[test]
    fn a_lock_says_who_holds_it() {
        let info = br#"{"ID":"x-1","Operation":"OperationTypeApply","Who":"ann\n@host","Created":
            "2026-11-28"}"#;
        let Lock::Held { who, id } = Lock::held(info) else { panic!("free") };
        assert_eq!(who, "ann@host (OperationTypeApply, since 2026-11-28)");
        assert_eq!(id, "x-1");
        assert!(
            matches!(Lock::held(b"hunter2"), Lock::Held { who, .. } if !who.contains("hunter"))
        );
    }
}
